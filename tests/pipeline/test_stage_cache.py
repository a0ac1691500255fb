"""Cached stages: taken again, made again when anything changes, never half-written."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgecomp
from edgecomp.common.atomic import new_folder
from edgecomp.common.digests import file_digest, tree_digest
from edgecomp.common.errors import RunBusy
from edgecomp.common.events import Event, Progress, StageFinished, StageProgress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.pipeline import stage_cache
from edgecomp.pipeline.stage_cache import StageLabel, StoredFile, run_stage, stage_key


class Made(FrozenModel):
    number: int


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(inputs: dict[str, object], events: list[Event], number: int = 1) -> Made:
    def work(folder: Path, progress: Progress) -> Made:
        progress(1, 2)
        return Made(number=number)

    return run_stage(
        StageLabel(name="stage", title="A stage", model="m"), Made, inputs, work, events.append
    )


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


def test_other_code_makes_every_stage_again(monkeypatch: pytest.MonkeyPatch) -> None:  # A10
    assert make({"a": 1}, []).number == 1
    monkeypatch.setattr(stage_cache, "code_digest", lambda: "of another code")
    assert make({"a": 1}, [], number=2).number == 2


def test_the_code_s_hash_is_that_of_every_file_that_makes_something(  # A10
    tmp_path: Path,
) -> None:
    package = Path(edgecomp.__file__).parent
    copy = tmp_path / "edgecomp"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("exporters", "tui", "device_profiles"):
        if not (copy / folder).exists():
            source = Path(importlib.import_module(f"edgecomp.{folder}").__file__ or "").parent
            shutil.copytree(source, copy / folder)
    program = "from edgecomp.pipeline.stage_cache import code_digest; print(code_digest())"

    def digest() -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path,
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout

    def changed(name: str) -> bool:
        before, file = digest(), copy / name
        kept = file.read_bytes()
        file.write_bytes(kept + b"\n# another line\n")
        after = digest()
        file.write_bytes(kept)
        return before != after

    assert digest() == digest()
    assert changed("compress/gptq.py") and changed("exporters/gguf.py")
    assert not changed("cli.py") and not changed("tui/app.py")


def stored(folder: Path, text: str) -> StoredFile:
    path = folder / "made.bin"
    path.write_text(text)
    return StoredFile(path=path, sha256=file_digest(path))


class Nested(FrozenModel):
    inner: dict[str, tuple[StoredFile, ...]]


@pytest.mark.parametrize("harm", ["gone", "cut", "changed within its time of writing"])
def test_a_stage_whose_file_is_no_longer_what_it_was_is_made_again(  # A10
    own_cache: Path, harm: str
) -> None:
    runs: list[int] = []

    def work(folder: Path, progress: Progress) -> Nested:
        runs.append(1)
        return Nested(inner={"a": (stored(folder, "0123456789"),)})

    def run() -> Nested:
        return run_stage(
            StageLabel(name="s", title="S", model="m"), Nested, {}, work, lambda event: None
        )

    (file,) = run().inner["a"]
    assert run().inner["a"] == (file,) and len(runs) == 1
    state = file.path.stat()
    if harm == "gone":
        file.path.unlink()
    elif harm == "cut":
        file.path.write_text("01234")
    else:
        file.path.write_text("012345678x")
        os.utime(file.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert run().inner["a"] == (file,) and len(runs) == 2
    assert file.path.read_text() == "0123456789"


def test_what_is_left_of_a_stage_that_was_finished_is_not_in_the_way(own_cache: Path) -> None:
    """Exporters refuse a folder that holds anything."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        with new_folder(folder / "made") as made:
            (made / "file").write_text("whole")
        return StoredFile(path=folder / "made", sha256=tree_digest(folder / "made"))

    def run() -> StoredFile:
        return run_stage(
            StageLabel(name="s", title="S", model="m"), StoredFile, {}, work, lambda event: None
        )

    first = run()
    (first.path / "file").write_text("harmed")
    assert run() == first and (first.path / "file").read_text() == "whole"


def test_a_failed_stage_leaves_its_lock_to_the_next_try() -> None:  # A10
    """The traceback of the failure, which a caller may keep, holds nothing."""

    def fail(folder: Path, progress: Progress) -> Made:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as kept:
        run_stage(StageLabel(name="stage", title="A stage", model="m"), Made, {}, fail, [].append)
    done = subprocess.run([sys.executable, "-c", HOLD.format(folder=_only_stage())])
    assert done.returncode == 0 and kept.value


HOLD = "from filelock import FileLock\nFileLock({folder!r} + '/.lock', timeout=0).acquire()"


def _only_stage() -> str:
    (folder,) = stage_cache.stages_folder().iterdir()
    return str(folder)


def test_a_failed_stage_keeps_nothing() -> None:
    def fail(folder: Path, progress: Progress) -> Made:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_stage(StageLabel(name="stage", title="A stage", model="m"), Made, {}, fail, [].append)
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

    run_stage(
        StageLabel(name="stage", title="A stage", model="m"), Made, {}, work, lambda event: None
    )


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
