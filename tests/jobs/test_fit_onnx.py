"""The main job for ONNX Runtime: on a tiny model end to end, and on the demo model's plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.bundles.bundle import verify_bundle
from edgecomp.bundles.compare import BundleComparison
from edgecomp.common.errors import CompressionSettingsInvalid, EdgecompError
from edgecomp.common.events import ignore
from edgecomp.common.tasks import Mix
from edgecomp.devices.finding import find_device
from edgecomp.jobs.evaluation import EvaluationRequest, evaluate_artifact
from edgecomp.jobs.fit import Fitted
from edgecomp.jobs.fit_several import named_runtimes
from edgecomp.jobs.measure import measure_artifact
from edgecomp.measure.request import MeasureRequest
from edgecomp.models.onnx_folder import read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.planning.plan import Plan
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.stages import StructuredStage, staged_model

PROCESS_SECONDS = 500


def run(model: str, out: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecomp.cli", "fit", model, "--device", "office-laptop-ddr4",
               "--items", "2", "--json", "-o", str(out), *arguments]  # fmt: skip
    environment = {**os.environ, "EDGECOMP_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=PROCESS_SECONDS
    )


@pytest.fixture(scope="module")
def both(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BundleComparison]:
    """A tiny model fitted for both runtimes, the ONNX artifact at 4 bits for want of room."""
    folder = tmp_path_factory.mktemp("both")
    limits = ("--context", "256", "--max-size", "600kB", "--items", "8")
    limits += ("--runtime", "both", "--task", "knowledge")
    done = run(str(tiny_model("llama-long")), folder / "out", folder / "cache", *limits)
    assert done.returncode == 0, done.stderr
    return folder / "out", BundleComparison.model_validate_json(done.stdout)


def test_both_runtimes_are_fitted_and_compared(both: tuple[Path, BundleComparison]) -> None:
    folder, comparison = both
    assert [row.runtime for row in comparison.variants] == ["llama.cpp", "onnx"]
    assert any("different bases" in notice for notice in comparison.notices)
    assert (folder / "comparison.html").is_file()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("both", ("llama.cpp", "onnx")),
        ("onnx", ("onnx",)),
        ("transformers, onnx", ("transformers", "onnx")),
    ],
)
def test_several_runtimes_are_named_in_one_word(text: str, names: tuple[str, ...]) -> None:
    assert named_runtimes(text) == names


@pytest.mark.parametrize(
    ("text", "said"), [("onnx,onnx", "named twice"), ("onnx,vllm", "no runtime called 'vllm'")]
)
def test_a_list_of_runtimes_that_none_could_mean_is_refused(text: str, said: str) -> None:
    with pytest.raises(EdgecompError, match=said):
        named_runtimes(text)


@pytest.mark.slow
def test_three_runtimes_get_one_artifact_each_by_the_same_questions(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    limits = ("--context", "256", "--items", "4", "--task", "knowledge")
    several = ("--runtime", "llama.cpp,onnx,transformers")
    done = run(
        str(tiny_model("llama-long")), tmp_path / "out", tmp_path / "cache", *several, *limits
    )
    assert done.returncode == 0, done.stderr
    comparison = BundleComparison.model_validate_json(done.stdout)
    assert [row.runtime for row in comparison.variants] == ["llama.cpp", "onnx", "transformers"]
    seeds = set()
    for runtime in ("llama.cpp", "onnx", "transformers"):
        assert verify_bundle(tmp_path / "out" / runtime).faults == ()
        report = json.loads((tmp_path / "out" / runtime / "report.json").read_text())
        seeds.add(json.dumps(report["recipe"]["evaluation"], sort_keys=True))
        assert report["divergence"]["kl_mean"] >= 0
    assert len(seeds) == 1
    floats = "Writing the float model (F16): done"
    assert done.stderr.count(floats) == done.stderr.count(f"{floats}, from the cache") + 1 == 2


def test_a_limit_of_size_makes_a_mixture_the_plan_of_onnx(tiny_model: Callable[..., Path]) -> None:
    model, device = read_model(tiny_model("llama-long")), find_device("office-laptop-ddr4")

    def planned(limit: int | None) -> Plan:
        constraints = Constraints(context=256, max_size_bytes=limit)
        return make_plan(model, device, constraints, choices=Choices(runtime="onnx"))

    assert all(row.format != "onnx-mix" for row in planned(None).candidates)
    smallest = next(row for row in planned(1).candidates if row.format == "onnx-mix")
    limit = smallest.file_bytes + 30_000
    found = next(row for row in planned(limit).candidates if row.format == "onnx-mix")
    assert smallest.file_bytes < found.file_bytes <= limit and not found.rejections
    assert found.budget_bytes == found.file_bytes
    assert found.expected_divergence_nats < smallest.expected_divergence_nats
    for layer in range(2):
        assert len({found.types[f"blk.{layer}.attn_{role}.weight"] for role in "qkv"}) == 1
    none = make_plan(
        model,
        device,
        Constraints(context=256, max_size_bytes=limit),
        choices=Choices(runtime="onnx", mix="none"),
    )
    assert all(row.format != "onnx-mix" for row in none.candidates)


def test_the_onnx_bundle_is_whole_and_starts(both: tuple[Path, BundleComparison]) -> None:
    bundle = both[0] / "onnx"
    verification = verify_bundle(bundle)
    assert verification.faults == ()
    report = json.loads((bundle / "report.json").read_text())
    names = [check["name"] for check in report["artifact"]["checks"]]
    assert names == ["token ids", "greedy text", "token ids", "size", "graph"]
    artifact = next(path for path in bundle.iterdir() if path.is_dir())
    assert read_onnx_folder(artifact).layers == 2
    started = subprocess.run(
        [sys.executable, str(bundle / "chat.py"), "Hello"],
        capture_output=True,
        timeout=PROCESS_SECONDS,
    )
    assert started.returncode == 0, started.stderr
    assert started.stdout.strip()
    limited = json.loads((artifact / "tokenizer.json").read_text())
    limits = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    (artifact / "tokenizer.json").write_text(json.dumps(limited | {"truncation": limits}))
    again = subprocess.run(started.args, capture_output=True, timeout=PROCESS_SECONDS)
    (artifact / "tokenizer.json").write_text(json.dumps(limited))
    assert again.stdout == started.stdout  # P18


def test_an_onnx_bundle_is_evaluated_beside_its_float_base(
    both: tuple[Path, BundleComparison],
) -> None:
    (base,) = (both[0].parent / "cache" / "stages").glob("onnx-export-*/onnx-fp32")
    request = EvaluationRequest(artifact=str(both[0] / "onnx"), base=str(base), limit=1)
    found = evaluate_artifact(request, ignore)
    assert found.divergence is not None and found.divergence.kl_mean > 0
    assert found.coherence.prompts == 8 and found.verdict is not None
    report = json.loads((both[0] / "onnx" / "report.json").read_text())
    assert report["divergence_by_capability"], "the questions fill a window of some capability"


def test_an_onnx_artifact_beside_a_gguf_base_gives_no_divergence_and_says_why(
    both: tuple[Path, BundleComparison],
) -> None:
    (base,) = (both[0] / "llama.cpp").glob("*.gguf")
    request = EvaluationRequest(artifact=str(both[0] / "onnx"), base=str(base), limit=1)
    found = evaluate_artifact(request, ignore)
    assert found.divergence is None and found.coherence.prompts == 8
    assert any("runs in llama.cpp and the artifact in onnx" in text for text in found.notices)


def test_a_lost_file_of_the_onnx_folder_is_named(both: tuple[Path, BundleComparison]) -> None:
    bundle = both[0] / "onnx"
    data = next(bundle.glob("*/model.onnx.data"))
    hidden = data.rename(bundle.parent / "hidden")
    try:
        faults = verify_bundle(bundle).faults
    finally:
        hidden.rename(data)
    assert any("model.onnx.data is missing" in fault for fault in faults)


@pytest.mark.parametrize("family", ["llama-long", "qwen2"])
def test_formats_whose_blocks_do_not_divide_are_out_with_the_reason(
    tiny_model: Callable[..., Path], family: str
) -> None:
    plan = make_plan(
        read_model(tiny_model(family)),
        find_device("office-laptop-ddr4"),
        Constraints(context=256),
        choices=Choices(runtime="onnx"),
    )
    out = {row.format: row.rejections[0].text for row in plan.candidates if row.rejections}
    assert "do not divide by blocks of 64" in out["onnx-int4-64"]
    assert "float16" in out["onnx-fp16"]
    assert plan.runtime == "onnx"
    assert plan.chosen is not None


def test_a_plan_for_onnx_is_of_the_model_that_its_stages_leave(
    tiny_model: Callable[..., Path],
) -> None:
    model, stages = read_model(tiny_model("llama-deep")), [StructuredStage(blocks="2")]
    whole, smaller = (
        make_plan(
            model,
            find_device("office-laptop-ddr4"),
            Constraints(context=256),
            choices=Choices(runtime="onnx", stages=asked),
        )
        for asked in ((), stages)
    )
    assert whole.chosen and smaller.chosen
    assert smaller.chosen.file_bytes < 0.7 * whole.chosen.file_bytes
    assert smaller.parameters == staged_model(model, stages).parameters


@pytest.mark.parametrize(
    ("constraints", "mix"),
    [(Constraints(kv_type="Q8_0"), None), (Constraints(), "attention-8-ffn-4")],
)
def test_what_only_llama_cpp_has_is_refused_for_onnx(
    tiny_model: Callable[..., Path], constraints: Constraints, mix: Mix | None
) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"is for llama\.cpp"):
        make_plan(
            read_model(tiny_model("llama-long")),
            find_device("office-laptop-ddr4"),
            constraints,
            choices=Choices(mix=mix, runtime="onnx"),
        )


@pytest.mark.demo
@pytest.mark.long
def test_the_demo_becomes_an_int4_onnx_artifact_whose_float_text_is_the_sources(
    tmp_path: Path,
) -> None:
    limits = ("--runtime", "onnx", "--max-size", "100MB", "--context", "2048")
    done = run("demo", tmp_path / "out", tmp_path / "cache", *limits)
    assert done.returncode == 0, done.stderr
    report = Fitted.model_validate_json(done.stdout).report
    assert report.chosen.format.startswith("onnx-int4")
    greedy = next(check for check in report.artifact.checks if check.name == "greedy text")
    assert greedy.passed
    assert "after 20 prompts" in greedy.detail
    assert report.divergence.kl_mean < 0.5


def test_an_onnx_bundle_serves_several_requests_at_a_time(
    both: tuple[Path, BundleComparison],
) -> None:
    request = MeasureRequest(concurrencies=(1, 3))
    found = measure_artifact(str(both[0] / "onnx"), request, ignore)
    assert [level.concurrency for level in found.levels] == [1, 3]
    assert all(level.requests >= level.concurrency for level in found.levels)
    assert found.runtime.startswith("onnx")
