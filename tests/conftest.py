"""Shared fixtures: folders of the test's own, tiny real models, and the real demo model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.models.reading import demo_model_path

EVALUATION_DATA = os.environ.pop("EDGECOMP_DATA", None)
"""Taken away from the program, which would read it wherever a test names no data."""

pytest_plugins = [
    "shapes", "tiny_models", "two_cards", "ssh_server", "scripted_adb", "lasting_torch",
    "tiny_families",
]  # fmt: skip


# How long an example takes is the machine's business.
settings.register_profile("edgecomp", deadline=None)
settings.load_profile("edgecomp")


def take_one_core() -> None:
    """Give each process of a parallel run a core of its own.

    Native threads that share a core wait for one another in busy loops; the children of a test
    inherit its core and start one thread.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


# Before any other file of tests loads torch, which counts the cores once.
take_one_core()


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches, settings and results of the tests' own: nothing of the user's is read or written."""
    os.environ["EDGECOMP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["EDGECOMP_CONFIG"] = str(tmp_path_factory.mktemp("config"))
    os.environ["EDGECOMP_RESULTS"] = str(tmp_path_factory.mktemp("results"))
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real evaluation data; tests that need it skip where it is missing."""
    if not EVALUATION_DATA or not Path(EVALUATION_DATA).is_dir():
        pytest.skip("EDGECOMP_DATA names no folder of evaluation data")
    return Path(EVALUATION_DATA)


@pytest.fixture(scope="session")
def demo_gguf() -> Path:
    """The demo model's file."""
    return demo_model_path()


TINY = SyntheticShape(
    layers=2, width=256, feed_forward=512, heads=4, kv_heads=2, vocabulary=512, context=1024
)


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer model without a vocabulary, as float GGUF."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_synthetic(path, TINY)
    return path
