"""Where edgecomp keeps what outlives a command: finished stages, and the user's own settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

HUB_HEADERS = "hub-headers"
"""In the cache: models of the hub whose headers alone were fetched."""

RUNS = "runs"
SCRATCH = "scratch"
"""In the cache: large temporary files, in a folder for each process that writes some."""


def cache_folder() -> Path:
    """Finished stages of runs, safe to delete; EDGECOMP_CACHE overrides."""
    return Path(os.environ.get("EDGECOMP_CACHE") or platformdirs.user_cache_dir("edgecomp"))


def config_folder() -> Path:
    """The user's own device profiles and this machine's calibration; EDGECOMP_CONFIG overrides."""
    return Path(os.environ.get("EDGECOMP_CONFIG") or platformdirs.user_config_dir("edgecomp"))


def results_folder() -> Path:
    """What runs found out, to stay when caches go; EDGECOMP_RESULTS overrides."""
    return Path(os.environ.get("EDGECOMP_RESULTS") or platformdirs.user_data_dir("edgecomp"))


def nearest_existing(path: Path) -> Path:
    """`path`, or the nearest above it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def path_bytes(path: Path) -> int:
    """The size of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for large temporary files, which goes with the block. It lies beside the finished
    stages, for which there is room: a system's own folder for such files is often memory. It is
    called after this process, so that what a killed one leaves behind is known.

    Raises OSError.
    """
    parent = cache_folder() / SCRATCH
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=parent) as name:
        yield Path(name)
