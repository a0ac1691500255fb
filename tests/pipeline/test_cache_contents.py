"""`edgecomp cache`: what lies there by model, and what may be freed (A10)."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecomp.common.events import Progress
from edgecomp.common.folders import scratch_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.pipeline.cache_contents import UNKNOWN, prune_cache, read_contents
from edgecomp.pipeline.stage_cache import StageLabel, code_digest, run_stage, stages_folder


class Made(FrozenModel):
    number: int = 1


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _make(model: str, size: int, wait: Path | None = None) -> None:
    def work(folder: Path, progress: Progress) -> Made:
        (folder / "data").write_bytes(bytes(size))
        if wait:
            wait.touch()
            time.sleep(60)
        return Made()

    run_stage(
        StageLabel(name="stage", title=f"Making {model}", model=model),
        Made,
        {"of": model},
        work,
        lambda e: None,
    )


def make(model: str, size: int) -> None:
    """In a process that ends: nobody goes on from what it made."""
    process = multiprocessing.get_context("fork").Process(target=_make, args=(model, size))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_sizes_are_told_by_model_the_largest_first() -> None:
    make("small", 10_000)
    make("large", 90_000)
    contents = read_contents()
    assert [row.model for row in contents.models] == ["large", "small"]
    assert [row.stages for row in contents.models] == [1, 1]
    assert contents.models[0].size_bytes > 90_000 > contents.models[1].size_bytes > 10_000
    assert contents.models[0].outdated_bytes == 0
    assert [row.model for row in read_contents("small").models] == ["small"]


def test_what_other_code_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    make("m", 1000)
    record = next(stages_folder().glob("*/stage.json"))
    record.write_text(record.read_text().replace(code_digest(), "older"))
    make("n", 1000)
    record = next(path for path in stages_folder().glob("*/stage.json") if "n" in path.read_text())
    rows = {row.model: row for row in read_contents().models}
    assert rows["m"].outdated_bytes == rows["m"].size_bytes and rows["n"].outdated_bytes == 0


def test_one_model_s_stages_are_freed_and_the_others_stay() -> None:
    make("a", 50_000)
    make("b", 50_000)
    left = prune_cache("a")
    assert left.freed_bytes > 50_000 and not left.models
    assert [row.model for row in read_contents().models] == ["b"]
    make("a", 50_000)
    assert len(read_contents().models) == 2


def test_everything_goes_but_what_a_process_works_at(tmp_path: Path, own_cache: Path) -> None:
    make("done", 50_000)
    (own_cache / "stages" / "stage-of-an-older-edgecomp").mkdir()
    (own_cache / "digests").mkdir(exist_ok=True)
    (own_cache / "digests" / "x").write_text("y")
    begun = tmp_path / "begun"
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=_make, args=("busy", 1000, begun))
    worker.start()
    while not begun.exists():
        time.sleep(0.01)
    assert UNKNOWN in {row.model for row in read_contents().models}
    left = prune_cache()
    assert left.in_use == ("Making busy",)
    assert [row.model for row in left.models] == ["busy"]
    assert not list((own_cache / "digests").iterdir())
    worker.kill()
    worker.join()
    assert not prune_cache().models


def test_what_a_running_process_goes_on_from_stays() -> None:
    _make("mine", 1000)
    assert prune_cache().in_use == ("Making mine",)
    assert [row.model for row in read_contents().models] == ["mine"]


def test_scratch_of_a_killed_process_goes_and_that_of_a_living_one_stays(own_cache: Path) -> None:
    program = "import time\nfrom edgecomp.common.folders import scratch_folder\n"
    program += "with scratch_folder() as f: (f / 'x').write_bytes(bytes(9)); print(f, flush=True);"
    program += " time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as p:
        assert p.stdout
        left_behind = Path(p.stdout.readline().strip())
        prune_cache()
        assert left_behind.is_dir()
        p.kill()
    prune_cache()
    assert not left_behind.exists()
    with scratch_folder() as own:
        assert own.is_dir() and own.name.startswith(str(os.getpid()))
