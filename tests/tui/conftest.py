"""A tiny model, a fixed device, and bundles of its candidates with figures set here."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from canned_reports import canned_report, write_canned_bundle
from textual.pilot import Pilot
from textual.worker import Worker, WorkerState

from edgecomp.common.events import Event, StageFinished, StageProgress, StageStarted, Warned
from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile
from edgecomp.evaluate.comparison import Comparison, compare_results
from edgecomp.evaluate.items import Category, ItemResult
from edgecomp.jobs.background import FitRequest, run_folder
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.plan import Plan
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import recipe_for
from edgecomp.recipes.constraints import Constraints
from edgecomp.reporting.report import Report
from edgecomp.tui import constraints_form, recipe_screen
from edgecomp.tui.app import EdgecompApp

DEBOUNCE_SECONDS = 0.02
QUIET_ROUNDS = 4
DEVICE = "raspberry-pi-5-8gb"
MODEL = "a-model-with-quite-a-long-name.gguf"
SHAPE = SyntheticShape(
    layers=4, width=256, feed_forward=512, heads=4, kv_heads=2, vocabulary=2048, context=4096
)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / MODEL
    write_synthetic(path, SHAPE)
    return path


@pytest.fixture
def here(tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the model in it, and settings, a cache and results of its
    own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / MODEL).symlink_to(model_file)
    monkeypatch.chdir(work)
    monkeypatch.setenv("EDGECOMP_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGECOMP_RESULTS", str(tmp_path / "results"))
    for module in (constraints_form, recipe_screen):
        monkeypatch.setattr(module, "DEBOUNCE_SECONDS", DEBOUNCE_SECONDS)
    return work


@pytest.fixture
def model(here: Path) -> ModelSpec:
    return read_model(MODEL)


@pytest.fixture(scope="session")
def device() -> DeviceProfile:
    return find_device(DEVICE)


@pytest.fixture
def plan(model: ModelSpec, device: DeviceProfile) -> Plan:
    return make_plan(model, device, Constraints())


@pytest.fixture
def app(model: ModelSpec, device: DeviceProfile) -> EdgecompApp:
    """An app with the model and the device chosen, before any plan."""
    made = EdgecompApp()
    made.session.model_name, made.session.model = MODEL, model
    made.session.device_name, made.session.device = DEVICE, device
    return made


@pytest.fixture
def settle() -> Callable[[Pilot[None]], Awaitable[None]]:
    """Wait until the app has nothing more to show."""
    return _settled


async def _settled(pilot: Pilot[None], limit_seconds: float = 60.0) -> None:
    """Until nothing works through some rounds that are longer than a field's debouncing.

    What ends in one round often starts something in the next: a timer a worker, a worker a screen.
    """
    deadline = time.monotonic() + limit_seconds
    quiet = 0
    while quiet < QUIET_ROUNDS:
        await pilot.pause(1.5 * DEBOUNCE_SECONDS)
        quiet = 0 if any(map(_is_busy, pilot.app.workers)) else quiet + 1
        if time.monotonic() > deadline:
            raise TimeoutError([str(worker) for worker in pilot.app.workers])
    await pilot.pause()


def _is_busy(worker: Worker[Any]) -> bool:
    """Whether it works; a folder tree's loader waits for work for as long as the tree lives."""
    return worker.group != "_loader" and worker.state in (WorkerState.PENDING, WorkerState.RUNNING)


@pytest.fixture
def bundles(here: Path, model: ModelSpec) -> list[Path]:
    """Three bundles' reports: a small lossy one, the middle, and a large exact one."""
    folders = []
    for format_name, kl in (("Q4_0", 0.03), ("Q5_K_M", 0.01), ("Q8_0", 0.001)):
        report = make_report(model, format_name, kl)
        folder = write_canned_bundle(report, here / f"{format_name.lower()}-edge")
        os.utime(folder / "report.json", (0, report.artifact.size_bytes))
        folders.append(folder)
    return folders


@pytest.fixture
def request_made(plan: Plan, here: Path) -> FitRequest:
    """A request for the plan's first candidate."""
    assert plan.chosen
    recipe = recipe_for(MODEL, DEVICE, plan.constraints, plan.chosen)
    return FitRequest(recipe=recipe, output=here / "out-edge")


@pytest.fixture
def stopped_run(request_made: FitRequest) -> FitRequest:
    """A run that was stopped in its fourth stage: its files as a worker left them."""
    folder = run_folder(request_made)
    folder.mkdir(parents=True)
    events: list[Event] = [
        Warned(text="The source is already Q4_1: what is made from it is a second rounding."),
        StageStarted(stage="intake", title="Writing the float model (F16)"),
        StageFinished(stage="intake", cached=False, seconds=2.25),
        StageStarted(stage="check-base", title="Checking the float model against its source"),
        StageFinished(stage="check-base", cached=True, seconds=0.01),
        StageStarted(stage="importance", title="Computing the importance matrix"),
        StageFinished(stage="importance", cached=False, seconds=41.5),
        StageStarted(stage="answers-base", title="Asking the base 420 questions"),
        StageProgress(stage="answers-base", done=105, total=420),
    ]
    # The first line says which start of the run the events are of.
    lines = ['{"start": "0"}\n', *(event.model_dump_json() + "\n" for event in events)]
    (folder / "events.jsonl").write_text("".join(lines))
    return request_made


def make_report(model: ModelSpec, format_name: str, kl: float) -> Report:
    """A report of one candidate; `kl` in nats scales what it lost."""
    return canned_report(
        model, format_name, _comparison(kl), kl=kl, device_name=DEVICE, constraints=Constraints()
    )


def _comparison(kl: float) -> Comparison:
    drawn = random.Random(1)
    base, artifact = [], []
    categories: tuple[Category, ...] = (
        "knowledge", "reasoning", "multilingual", "instruction", "code", "truthfulness", "refusal",
        "over-refusal",
    )  # fmt: skip
    for category in categories:
        for number in range(60):
            right = drawn.random() < 0.7
            stays = right and drawn.random() > 4 * kl
            for results, score in ((base, right), (artifact, stays)):
                results.append(_result(category, number, float(score)))
    return compare_results(base, artifact)


def _result(category: Category, number: int, score: float) -> ItemResult:
    return ItemResult(
        benchmark=f"{category}-set",
        id=str(number),
        category=category,
        score=score,
        chance=0.25,
    )
