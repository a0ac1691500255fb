"""What the planner keeps, drops and chooses, and the reasons it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.constraints import Constraints
from edgecomp.device import DeviceProfile, find_device
from edgecomp.formats import PRESETS
from edgecomp.model import ModelSpec, read_model
from edgecomp.plan import Candidate, Plan
from edgecomp.planner import SOURCE, make_plan
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.tasks import TASKS


@pytest.fixture(scope="module")
def demo(demo_gguf: Path) -> ModelSpec:
    return read_model(demo_gguf)


@pytest.fixture(scope="module")
def laptop() -> DeviceProfile:
    return find_device("office-laptop-ddr4")


def row(plan: Plan, name: str) -> Candidate:
    return next(candidate for candidate in plan.candidates if candidate.format == name)


def causes(candidate: Candidate) -> set[str]:
    return {rejection.cause for rejection in candidate.rejections}


def test_every_format_is_either_kept_or_dropped_with_a_reason(
    demo: ModelSpec, laptop: DeviceProfile
) -> None:
    plan = make_plan(demo, laptop, Constraints(context=2048))
    assert {candidate.format for candidate in plan.candidates} == {SOURCE, *PRESETS}
    assert plan.chosen is not None and not plan.chosen.rejections
    assert all(r.text.endswith(".") for c in plan.candidates for r in c.rejections)


def test_contexts_are_planned_up_to_what_the_model_was_trained_for(
    demo: ModelSpec, laptop: DeviceProfile
) -> None:
    plan = make_plan(demo, laptop, Constraints())
    assert {candidate.context for candidate in plan.candidates} == {2048, 4096, 8192}
    longer = make_plan(demo, laptop, Constraints(context=16384))
    assert longer.chosen is None
    assert longer.nearest is not None and "--context 16384" in longer.nearest


@pytest.mark.parametrize("name", ["Q4_0", "Q8_0", "Q4_K_M", "Q3_K_M"])
def test_planned_sizes_are_those_of_llama_cpps_quantizer_to_the_byte(
    tiny_gguf: Path, tmp_path: Path, laptop: DeviceProfile, name: str
) -> None:
    plan = make_plan(read_model(tiny_gguf), laptop, Constraints())
    made = tmp_path / "made.gguf"
    runtime.quantize(tiny_gguf, made, name, threads=1, overrides={}, importance=None)
    assert row(plan, name).file_bytes == made.stat().st_size


def test_r37_a_more_sensitive_task_gets_a_less_lossy_artifact(
    tiny_gguf: Path, laptop: DeviceProfile
) -> None:
    """R4, R36, R37: no single default method."""
    model = read_model(tiny_gguf)
    chosen = {task: make_plan(model, laptop, Constraints(task=task)).chosen for task in TASKS}
    losses = {task: c.expected_divergence_nats for task, c in chosen.items() if c}
    assert losses["safety"] < losses["general"] <= losses["knowledge"]


@pytest.mark.parametrize(
    ("constraints", "cause", "said"),
    [
        (Constraints(max_size_bytes=10**6), "size", "--max-size 1 MB"),
        (Constraints(max_memory_bytes=10**7), "limit", "--max-memory 10 MB"),
        (Constraints(min_decode_tokens_per_second=10**9), "speed", "--min-speed"),
    ],
)
def test_an_impossible_constraint_is_named_with_the_nearest_that_works(
    demo: ModelSpec, laptop: DeviceProfile, constraints: Constraints, cause: str, said: str
) -> None:
    plan = make_plan(demo, laptop, constraints)
    assert plan.chosen is None
    assert all(causes(c) & {cause, "format"} for c in plan.candidates)
    assert plan.nearest is not None and said in plan.nearest


def test_the_nearest_size_that_is_named_does_work(demo: ModelSpec, laptop: DeviceProfile) -> None:
    smallest = min(
        c.file_bytes
        for c in make_plan(demo, laptop, Constraints(context=2048)).candidates
        if "format" not in causes(c)
    )
    assert make_plan(demo, laptop, Constraints(max_size_bytes=smallest)).chosen is not None
    assert make_plan(demo, laptop, Constraints(max_size_bytes=smallest - 1)).chosen is None


def test_formats_that_only_fall_back_are_dropped_for_the_one_they_equal(
    demo: ModelSpec, laptop: DeviceProfile
) -> None:
    """576 columns do not divide by 256: Q2_K becomes what Q3_K_S becomes."""
    plan = make_plan(demo, laptop, Constraints(context=2048))
    assert any("same type" in rejection.text for rejection in row(plan, "Q2_K").rejections)
    assert "Q4_0" in row(plan, "Q3_K_S").notes[0]


def test_a_requantized_source_is_warned_about(demo: ModelSpec, laptop: DeviceProfile) -> None:
    plan = make_plan(demo, laptop, Constraints())
    assert any("second rounding" in notice for notice in plan.notices)


def test_r2_r24_every_family_is_named_with_its_reason(
    demo: ModelSpec, laptop: DeviceProfile
) -> None:
    families = {f.name: f for f in make_plan(demo, laptop, Constraints()).families}
    assert set(families) == {"quantization", "pruning", "distillation"}
    assert "neither memory nor time" in families["pruning"].reason
    assert "training" in families["distillation"].reason


def test_r26_the_task_fixes_the_required_benchmarks(demo: ModelSpec, laptop: DeviceProfile) -> None:
    """R44, R65: code is judged by HumanEval and GSM8K, never by perplexity."""
    plan = make_plan(demo, laptop, Constraints(task="code"))
    assert {"humaneval", "gsm8k"} <= set(plan.required_benchmarks)


def test_r101_the_jobs_own_cost_is_shown_stage_by_stage(
    tiny_gguf: Path, laptop: DeviceProfile
) -> None:
    plan = make_plan(read_model(tiny_gguf), laptop, Constraints(max_size_bytes=2 * 10**6))
    assert plan.job is not None
    stages = {stage.stage for stage in plan.job.stages}
    assert stages == {"intake", "calibration", "compression", "evaluation"}
    assert plan.job.seconds > 0 and plan.job.disk_bytes > 0


def test_r108_a_format_without_kernels_there_is_not_put_on_a_gpu(demo: ModelSpec) -> None:
    phone = find_device("snapdragon-8-gen-3")
    plan = make_plan(demo, phone, Constraints(context=2048))
    on_gpu = [c for c in plan.candidates if c.placement.gpu and not c.rejections]
    assert on_gpu and {c.format for c in on_gpu} <= {"Q4_0", "Q8_0", "F16", "F32", "BF16"}
    out = next(c for c in plan.candidates if c.placement.gpu and c.format == "IQ3_XXS")
    assert any("no kernels" in rejection.text for rejection in out.rejections)
