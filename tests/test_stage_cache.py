"""Cached stages: taken again, made again when anything changes, never half-written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from edgecomp import stage_cache
from edgecomp.errors import RunBusy
from edgecomp.events import Event, Progress, StageFinished, StageProgress
from edgecomp.stage_cache import file_digest, run_stage, stage_key
from edgecomp.value import Value


class Made(Value):
    number: int


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(inputs: dict[str, object], events: list[Event], number: int = 1) -> Made:
    def work(folder: Path, progress: Progress) -> Made:
        progress(1, 2)
        return Made(number=number)

    return run_stage("stage", "A stage", Made, inputs, work, events.append)


def test_a_second_identical_run_takes_the_result_and_says_so() -> None:
    events: list[Event] = []
    assert make({"a": 1}, events).number == 1
    assert make({"a": 1}, events, number=2).number == 1
    finished = [event for event in events if isinstance(event, StageFinished)]
    assert [event.cached for event in finished] == [False, True]
    assert sum(isinstance(event, StageProgress) for event in events) == 1


def test_any_changed_input_makes_the_stage_again() -> None:
    assert make({"a": 1}, []).number == 1
    assert make({"a": 2}, [], number=2).number == 2


def test_the_key_does_not_depend_on_the_order_of_inputs() -> None:
    assert stage_key("s", {"a": 1, "b": 2}) == stage_key("s", {"b": 2, "a": 1})


def test_another_version_of_edgecomp_makes_every_stage_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert make({"a": 1}, []).number == 1
    monkeypatch.setattr(stage_cache, "__version__", "0.0.0")
    assert make({"a": 1}, [], number=2).number == 2


def test_a_failed_stage_keeps_nothing() -> None:
    def fail(folder: Path, progress: Progress) -> Made:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_stage("stage", "A stage", Made, {}, fail, [].append)
    assert make({}, [], number=3).number == 3


def test_a_damaged_result_is_made_again(own_cache: Path) -> None:
    make({}, [])
    (result,) = own_cache.rglob("result.json")
    result.write_text("{")
    assert make({}, [], number=2).number == 2


def _sleep_in_stage(started: Path) -> None:
    def work(folder: Path, progress: Progress) -> Made:
        started.touch()
        time.sleep(60)
        return Made(number=1)

    run_stage("stage", "A stage", Made, {}, work, lambda event: None)


@pytest.fixture
def sleeper(tmp_path: Path) -> multiprocessing.process.BaseProcess:
    started = tmp_path / "started"
    process = multiprocessing.get_context("fork").Process(target=_sleep_in_stage, args=(started,))
    process.start()
    while not started.exists():
        time.sleep(0.01)
    return process


def test_two_processes_never_work_at_the_same_stage(
    sleeper: multiprocessing.process.BaseProcess,
) -> None:
    with pytest.raises(RunBusy, match="Another process"):
        make({}, [])
    sleeper.kill()
    sleeper.join()


def test_a_killed_process_leaves_a_stage_that_can_be_made(
    sleeper: multiprocessing.process.BaseProcess,
) -> None:
    assert sleeper.pid is not None
    os.kill(sleeper.pid, signal.SIGKILL)
    sleeper.join()
    assert make({}, [], number=2).number == 2


def test_a_changed_file_gets_a_new_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = file_digest(path)
    assert file_digest(path) == first
    path.write_bytes(b"three")
    assert file_digest(path) != first
