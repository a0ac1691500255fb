"""A tiny model, a fixed device, and reports made from the real classes with figures set here."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.worker import Worker, WorkerState

from edgecomp.artifact_checks import CheckResult
from edgecomp.background import FitRequest, run_folder
from edgecomp.bundle import BundledFile, Manifest
from edgecomp.constraints import Constraints
from edgecomp.device import DeviceProfile, find_device
from edgecomp.evaluate.coherence import Coherence
from edgecomp.evaluate.comparison import Comparison, compare_results
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.evaluate.items import Category, ItemResult
from edgecomp.events import Event, StageFinished, StageProgress, StageStarted, Warned
from edgecomp.launchers import llama_server_script
from edgecomp.making import Artifact
from edgecomp.measure.latency import Measurement, compare_with_plan, summarise_measurement
from edgecomp.measure.machine import MachineState
from edgecomp.measure.process_memory import ProcessMemory
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.model import ModelSpec, read_model
from edgecomp.pipeline import StoredFile
from edgecomp.plan import Candidate, Plan
from edgecomp.planner import make_plan
from edgecomp.recipe import recipe_for
from edgecomp.report import ModelFacts, Report
from edgecomp.runtimes.protocol import DepthRuns, DivergenceSamples, RawMeasurement, TimedRun
from edgecomp.tui import constraints_form, recipe_screen
from edgecomp.tui.app import EdgecompApp
from edgecomp.verdict import Efficiency, Evidence, judge

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
    """An empty folder to work in, with the model in it and settings and a cache of its own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / MODEL).symlink_to(model_file)
    monkeypatch.chdir(work)
    monkeypatch.setenv("EDGECOMP_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
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
def bundles(here: Path, model: ModelSpec, plan: Plan) -> list[Path]:
    """Three bundles' reports: a small lossy one, the middle, and a large exact one."""
    folders = []
    for format_name, kl in (("Q4_0", 0.03), ("Q5_K_M", 0.01), ("Q8_0", 0.001)):
        report = make_report(model, plan, format_name, kl)
        folder = here / f"{format_name.lower()}-edge"
        write_manifest(report, folder)
        os.utime(folder / "report.json", (0, report.artifact.size_bytes))
        folders.append(folder)
    return folders


def write_manifest(report: Report, folder: Path) -> None:
    """The small files of a bundle, and an artifact of a few bytes in place of a model."""
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(b"GGUF")
    (folder / "report.json").write_text(report.model_dump_json())
    settings = report.recipe.settings
    (folder / "serve.sh").write_text(llama_server_script("tiny.gguf", settings))
    (folder / "Modelfile").write_text("FROM ./tiny.gguf\n")
    files = {
        path.name: BundledFile(
            size_bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.iterdir())
        if path.name != "report.json"
    }
    manifest = Manifest(
        artifact="tiny.gguf",
        files=files,
        recipe=report.recipe,
        device=report.device_title,
        source=report.model.source,
        source_sha256=report.model.source_sha256,
        calibration_sha256=None,
        versions={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())


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
    lines = [event.model_dump_json() + "\n" for event in events]
    (folder / "events.jsonl").write_text("".join(lines))
    return request_made


@pytest.fixture
def report(model: ModelSpec, plan: Plan) -> Report:
    return make_report(model, plan, "Q4_0")


def make_report(model: ModelSpec, plan: Plan, format_name: str, kl: float = 0.03) -> Report:
    """A report of one candidate; `kl` in nats scales what it lost."""
    chosen = next(row for row in plan.candidates if row.format == format_name)
    recipe = recipe_for(MODEL, DEVICE, plan.constraints, chosen)
    comparison, divergence = _comparison(kl), _divergence(kl)
    measurement = _measurement(chosen)
    verdict = judge(
        Evidence(
            comparison=comparison,
            divergence=divergence,
            efficiency=Efficiency(
                base_bytes=2 * model.parameters,
                artifact_bytes=chosen.file_bytes,
                decode_tokens_per_second=chosen.speed.decode_tokens_per_second,
                peak_memory_bytes=measurement.peak_memory_bytes,
            ),
            calibration=recipe.calibration,
        )
    )
    file = StoredFile(path=Path("artifact.gguf"), sha256="ab" * 32)
    return Report(
        model=ModelFacts(
            name=model.name,
            architecture=model.architecture,
            parameters=model.parameters,
            source=MODEL,
            source_sha256="cd" * 32,
            source_bits_per_weight=model.bits_per_weight,
            licence=None,
        ),
        device_title=plan.device_title,
        recipe=recipe,
        chosen=chosen,
        others=(),
        job_predicted=None,
        artifact=Artifact(
            file=file,
            size_bytes=chosen.file_bytes,
            types={},
            fallbacks={},
            checks=(CheckResult(name="size", passed=True, detail="as planned"),),
            calibration=None,
            base=file,
        ),
        predictions=compare_with_plan(chosen, measurement),
        measurement=measurement,
        divergence=divergence,
        coherence=Coherence(coherent=True, prompts=8, findings=(), remedy=None),
        comparison=comparison,
        verdict=verdict,
        notices=(),
        versions={"edgecomp": "0"},
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


def _divergence(kl: float) -> DivergenceSummary:
    drawn = random.Random(2)
    windows = [[drawn.expovariate(1 / kl) for _ in range(32)] for _ in range(8)]
    nll = [[2.0 + value for value in window] for window in windows]
    return summarise(
        DivergenceSamples(
            kl=tuple(map(tuple, windows)),
            agree=tuple(tuple(float(v < 3 * kl) for v in window) for window in windows),
            base_nll=tuple((2.0,) * 32 for _ in windows),
            artifact_nll=tuple(map(tuple, nll)),
        )
    )


def _measurement(chosen: Candidate) -> Measurement:
    seconds = 1.1 / chosen.speed.decode_tokens_per_second
    peak = round(1.03 * chosen.memory.total_bytes)

    def memory(size: int) -> ProcessMemory:
        return ProcessMemory(
            peak_bytes=size, resident_bytes=size, anonymous_bytes=size, file_backed_bytes=0
        )

    run = TimedRun(tokenize_seconds=0.001, prefill_seconds=0.5, token_seconds=(seconds,) * 8)
    raw = RawMeasurement(
        load_seconds=0.2,
        started_memory=memory(56_000_000),
        loaded_memory=memory(peak),
        peak_memory=memory(peak),
        memory_timeline=((0.0, 56_000_000, 0), (1.0, peak, 0)),
        buffer_bytes={"weights": chosen.memory.weights_bytes},
        depths=(DepthRuns(depth=512, runs=(run,) * 3),),
    )
    state = MachineState(
        system="Linux",
        processor="a fixed processor",
        cores=4,
        memory_bytes=8 * 10**9,
        governor="performance",
        frequency_mhz=2400.0,
        load_before=0.1,
        python="3.11",
    )
    return summarise_measurement(raw, chosen.settings, "llama.cpp", state)
