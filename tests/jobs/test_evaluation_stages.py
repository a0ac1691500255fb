"""A base's predictions are kept in the cache under its model, and serve every artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from edgecomp.common.errors import ChildDied, DiskFull
from edgecomp.common.events import Event, StageProgress, ignore
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.jobs import evaluation_stages
from edgecomp.jobs.evaluation_stages import ModelUnderTest, divergence
from edgecomp.models.chat_template import read_chat_template
from edgecomp.pipeline.cache_contents import prune_cache, read_contents
from edgecomp.pipeline.stage_cache import USED_BY, stage_lock, stages_folder
from edgecomp.recipes.recipe import EvaluationSettings
from edgecomp.runtimes.llama_cpp.client import LlamaCpp

TEXT = " ".join(f"the quick brown fox number {i} jumps" for i in range(40))
WANTED = EvaluationSettings(windows=2, window_tokens=32)


class Recording(LlamaCpp):
    """llama.cpp that notes what it is asked, and fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing: dict[str, Exception] = {}

    def ask(self, request: str, *arguments: Any, **named: Any) -> Any:
        self.asked.append(request)
        if request in self.failing:
            raise self.failing[request]
        return super().ask(request, *arguments, **named)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """With a cache of the test's own."""
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    return Recording()


@pytest.fixture
def compared(runtime: Recording, demo_gguf: Path) -> Callable[..., DivergenceSummary]:
    """The divergence of the demo model with a KV cache of some type from itself."""

    def subject(
        who: Literal["base", "artifact"], kv_type: str, listen: Callable[[Event], None]
    ) -> ModelUnderTest:
        template = read_chat_template(demo_gguf)
        return ModelUnderTest(
            who, demo_gguf, "0" * 64, runtime, template, 1, listen, "demo", kv_type
        )

    def compare(
        kv_type: str, text: str = TEXT, listen: Callable[[Event], None] = ignore
    ) -> DivergenceSummary:
        base, artifact = subject("base", "F16", ignore), subject("artifact", kv_type, listen)
        return divergence(base, artifact, text, WANTED)

    return compare


def test_the_base_is_read_once_for_all_artifacts(
    runtime: Recording, compared: Callable[..., DivergenceSummary]
) -> None:  # A29
    coarse, fine = compared("Q4_0"), compared("Q8_0")
    assert runtime.asked == ["keep_predictions", "compare_kept", "compare_kept"]
    assert coarse.kl_mean > fine.kl_mean > 0
    compared("Q4_0", text=TEXT.replace("fox", "cat"))
    assert runtime.asked[3:] == ["keep_predictions", "compare_kept"]


def test_both_readings_are_one_stages_progress(
    compared: Callable[..., DivergenceSummary],
) -> None:
    told: list[Event] = []
    compared("Q8_0", listen=told.append)
    steps = [(row.done, row.total) for row in told if isinstance(row, StageProgress)]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_base_that_is_not_kept_is_read_with_each_artifact(
    runtime: Recording,
    compared: Callable[..., DivergenceSummary],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation_stages, "ROOM_TO_KEEP_BYTES", 10**18)
    assert compared("Q4_0").kl_mean > compared("Q8_0").kl_mean
    assert runtime.asked == ["compare", "compare"]


def prune() -> int:
    """As another process would, once this one has ended."""
    for mark in stages_folder().glob(f"*/{USED_BY}*"):
        mark.unlink()
    return prune_cache("demo").freed_bytes


def test_the_cache_lists_what_is_kept_under_the_bases_model_and_frees_it(
    runtime: Recording, compared: Callable[..., DivergenceSummary]
) -> None:
    first = compared("Q4_0")
    (kept,) = stages_folder().glob("base-predictions-*/predictions")
    size = sum(file.stat().st_size for file in kept.iterdir())
    (row,) = read_contents().models
    assert row.model == "demo" and row.stages == 2 and row.size_bytes > size > 10**6
    assert prune() > size
    assert not kept.exists()
    assert compared("Q4_0") == first
    assert runtime.asked.count("keep_predictions") == 2


def test_a_damaged_file_is_made_anew(
    runtime: Recording, compared: Callable[..., DivergenceSummary]
) -> None:
    compared("Q4_0")
    kept = next(stages_folder().glob("base-predictions-*/predictions/step-*"))
    kept.write_bytes(kept.read_bytes()[:-1])
    compared("Q8_0")
    assert runtime.asked.count("keep_predictions") == 2


def test_while_another_process_reads_the_base_it_is_read_here_as_well(
    runtime: Recording, compared: Callable[..., DivergenceSummary]
) -> None:
    compared("Q4_0")
    (folder,) = stages_folder().glob("base-predictions-*")
    (folder / "result.json").unlink()
    with stage_lock(folder, "held"):
        compared("Q8_0")
    assert runtime.asked[2:] == ["compare"]


def test_a_disk_that_fills_meanwhile_stops_nothing(
    runtime: Recording, compared: Callable[..., DivergenceSummary], tmp_path: Path
) -> None:
    runtime.failing = {"keep_predictions": DiskFull(tmp_path)}
    assert compared("Q4_0").kl_mean > 0
    assert runtime.asked == ["keep_predictions", "compare"]


def test_a_death_over_the_base_is_told_and_the_next_run_reads_it_anew(
    runtime: Recording, compared: Callable[..., DivergenceSummary]
) -> None:
    runtime.failing = {"keep_predictions": ChildDied("recorded death")}
    with pytest.raises(ChildDied, match="recorded"):
        compared("Q4_0")
    runtime.failing = {}
    assert compared("Q4_0").kl_mean > 0
