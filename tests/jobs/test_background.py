"""A fit in a process of its own: watched, stopped, resumed, and its errors explained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from edgecomp.common.errors import RunBusy
from edgecomp.common.events import StageFinished, StageStarted
from edgecomp.devices.finding import find_device
from edgecomp.jobs.background import (
    BackgroundFit,
    FitRequest,
    is_running,
    read_events,
    read_outcome,
    run_folder,
)
from edgecomp.models.reading import read_model
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import recipe_for
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings

DEVICE = "office-laptop-ddr4"
WAIT_SECONDS = 120


@pytest.fixture
def request_made(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FitRequest:
    """A request for the smallest artifact of a tiny model, with a cache of its own."""
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = tiny_model("llama")
    constraints = Constraints(context=256)
    plan = make_plan(read_model(str(model)), find_device(DEVICE), constraints)
    chosen = next(row for row in plan.candidates if row.format == "Q8_0")
    recipe = recipe_for(str(model), DEVICE, constraints, chosen, EvaluationSettings(items=2))
    return FitRequest(recipe=recipe, output=tmp_path / "tiny-edge")


def stages(folder: Path) -> list[StageFinished]:
    return [event for event in read_events(folder)[0] if isinstance(event, StageFinished)]


def test_a_run_that_was_stopped_goes_on_from_its_last_finished_stage(
    request_made: FitRequest,
) -> None:
    run = BackgroundFit(request_made)
    ended: list[object] = []
    waiter = threading.Thread(target=lambda: ended.append(run.wait()))
    waiter.start()
    deadline = time.monotonic() + WAIT_SECONDS
    while not stages(run.folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_running(run.folder)
    with pytest.raises(RunBusy, match="is working on the same run"):
        BackgroundFit(request_made)
    finished = [event.stage for event in stages(run.folder)]
    run.stop()
    waiter.join(WAIT_SECONDS)
    assert ended == [None]
    assert not is_running(run.folder) and read_outcome(run.folder) is None
    assert not request_made.output.exists()

    outcome = BackgroundFit(request_made).wait()
    assert outcome and outcome.folder == request_made.output, outcome
    assert (request_made.output / "manifest.json").is_file()
    again = {event.stage: event for event in stages(run.folder)}
    assert all(again[name].cached for name in finished)
    assert read_outcome(run.folder) == outcome


def test_a_worker_that_is_killed_is_an_error_with_its_log(request_made: FitRequest) -> None:
    run = BackgroundFit(request_made)
    killer = threading.Timer(1.0, os.kill, (run.process_id, signal.SIGKILL))
    killer.start()
    outcome = run.wait()
    assert outcome and outcome.crashed and outcome.error == "ChildKilledByMemory"
    assert "was killed" in outcome.text


def test_an_explained_error_keeps_its_class_and_its_words(request_made: FitRequest) -> None:
    lost = request_made.recipe.model_copy(update={"model": "gone.gguf"})
    outcome = BackgroundFit(request_made.model_copy(update={"recipe": lost})).wait()
    assert outcome and not outcome.crashed
    assert outcome.error == "ModelNotFound" and "gone.gguf" in outcome.text


def test_events_are_read_whole_lines_at_a_time(request_made: FitRequest) -> None:
    folder = run_folder(request_made)
    folder.mkdir(parents=True)
    line = (StageStarted(stage="intake", title="Écrire").model_dump_json() + "\n").encode()
    file, start = folder / "events.jsonl", b'{"start": "one"}\n'
    file.write_bytes(start + line + line[:9])
    events, position = read_events(folder)
    assert [event.kind for event in events] == ["stage-started"]
    assert read_events(folder, position) == ([], position)
    file.write_bytes(start + 2 * line)
    assert len(read_events(folder, position)[0]) == 1


def test_a_run_that_was_started_again_is_read_from_its_beginning(  # A12
    request_made: FitRequest,
) -> None:
    """However much longer its file is by now."""
    folder = run_folder(request_made)
    folder.mkdir(parents=True)
    lines = [StageStarted(stage=f"s{n}", title="x" * 3 * n).model_dump_json() for n in range(9)]
    file = folder / "events.jsonl"
    file.write_text('{"start": "one"}\n' + "\n".join(lines[:2]) + "\n")
    _, position = read_events(folder)
    file.write_text('{"start": "two"}\n' + "\n".join(lines[2:]) + "\n")
    events, after = read_events(folder, position)
    assert [event.model_dump_json() for event in events] == lines[2:]
    assert read_events(folder, after) == ([], after)


STARTER = """
import sys, time
from pathlib import Path
from edgecomp.jobs.background import BackgroundFit, FitRequest
from edgecomp.common.errors import RunBusy
request = FitRequest.model_validate_json(Path(sys.argv[1]).read_text())
Path(sys.argv[2] + sys.argv[3]).touch()
while len(list(Path(sys.argv[2]).parent.glob("ready*"))) < 4:
    time.sleep(0.001)
try:
    run = BackgroundFit(request)
except RunBusy:
    print("busy")
else:
    print("started", flush=True)
    outcome = run.wait()
    print(outcome.folder or outcome.text)
"""


@pytest.mark.slow
def test_of_many_starters_one_starts_and_the_others_harm_nothing(  # A12
    request_made: FitRequest, tmp_path: Path
) -> None:
    wanted = tmp_path / "request.json"
    wanted.write_text(request_made.model_dump_json())
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(wanted), str(tmp_path / "ready"), str(n)],
            stdout=subprocess.PIPE, text=True,
        )
        for n in range(4)
    ]  # fmt: skip
    said = sorted(starter.communicate()[0].split() for starter in starters)
    assert said == [["busy"]] * 3 + [["started", str(request_made.output)]]
    folder = run_folder(request_made)
    outcome = read_outcome(folder)
    assert outcome and outcome.folder == request_made.output
    names = [event.stage for event in stages(folder)]
    assert names and len(names) == len(set(names))


def test_a_held_lock_means_that_the_run_is_worked_on(request_made: FitRequest) -> None:
    folder = run_folder(request_made)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert is_running(folder)
    assert not is_running(folder)


def test_another_recipe_is_another_run(request_made: FitRequest) -> None:
    other = request_made.recipe.model_copy(update={"importance": True})
    assert run_folder(request_made) != run_folder(request_made.model_copy(update={"recipe": other}))
    assert json.loads(request_made.model_dump_json())["schema_version"] == 1


def test_the_worker_ends_with_its_starter_and_leaves_a_run_to_resume(
    request_made: FitRequest, tmp_path: Path
) -> None:
    wanted = tmp_path / "request.json"
    wanted.write_text(request_made.model_dump_json())
    script = (
        "import sys; from pathlib import Path\n"
        "from edgecomp.jobs.background import BackgroundFit, FitRequest\n"
        f"BackgroundFit(FitRequest.model_validate_json(Path({str(wanted)!r}).read_text())).wait()"
    )
    folder = run_folder(request_made)
    with subprocess.Popen([sys.executable, "-c", script]) as starter:
        deadline = time.monotonic() + WAIT_SECONDS
        while not read_events(folder)[0] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert is_running(folder)
        starter.kill()
    while is_running(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(folder)
    assert read_outcome(folder) is None
