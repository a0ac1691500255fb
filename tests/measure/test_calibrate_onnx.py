"""ONNX Runtime calibrated: graphs like the builder's, rates of every type, plans that use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edgecomp.devices.detect import detect_device
from edgecomp.devices.kernel_rates import KernelRate, KernelRates
from edgecomp.formats.exporting import find_onnx_exporter
from edgecomp.measure import calibrate_onnx, kernel_timing, runtime_rates, whole_models
from edgecomp.measure.synthetic_model import SyntheticShape
from edgecomp.measure.synthetic_onnx import write_synthetic_onnx
from edgecomp.measure.whole_models import WholeModel
from edgecomp.models.onnx_folder import GRAPH
from edgecomp.models.reading import read_model
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints
from edgecomp.runtimes.onnx import runtime

TINY = SyntheticShape(
    layers=2,
    width=64,
    feed_forward=96,
    heads=4,
    kv_heads=2,
    head_size=32,
    vocabulary=600,
    context=256,
)
MACHINE = KernelRates(
    processor="none", threads=1, runtime="llama.cpp", measured_at="2026-01-01T00:00:00+00:00",
    kernels={}, layer_seconds=1.0, token_seconds=1.0, decode_attention_per_second=1.0,
    prefill_attention_per_second=1.0, worker_bytes=1, memory_bytes_per_second=1e10,
    float_operations_per_second=1e11,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "format_name"),
    [("F32", "onnx-fp32"), ("INT8_32", "onnx-int8"), ("INT4_32", "onnx-int4-32")],
)
def test_a_synthetic_graph_has_the_builders_operators(
    tiny_model: Callable[..., Path], tmp_path: Path, kind: str, format_name: str
) -> None:
    find_onnx_exporter().export_format(
        read_model(tiny_model("llama")), tmp_path / "built", format_name
    )
    (tmp_path / "own").mkdir()
    write_synthetic_onnx(tmp_path / "own", TINY, kind)

    def operators(name: str) -> list[str]:
        graph = onnx.load(tmp_path / name / GRAPH, load_external_data=False).graph
        own = ("Constant", "Identity")
        return sorted(node.op_type for node in graph.node if node.op_type not in own)

    ours, built = operators("own"), operators("built")
    if kind == "F32":
        # The float graph keeps queries, keys and values apart.
        ours, built = sorted(set(ours)), sorted(set(built))
    assert ours == built


def test_every_type_is_timed_and_what_is_the_machines_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = [WholeModel(shape=TINY, kinds=("INT4_32",))]
    monkeypatch.setattr(calibrate_onnx, "TIMED", calibrate_onnx.TIMED._replace(whole=small))
    for module, name in (
        (runtime_rates, "WIDE"),
        (kernel_timing, "WIDE"),
        (runtime_rates, "ATTENTIVE"),
    ):
        monkeypatch.setattr(module, name, TINY)
    shapes = [TINY.model_copy(update={"layers": layers}) for layers in (1, 2, 3, 4)]
    monkeypatch.setattr(runtime_rates, "FIXED_SHAPES", shapes)
    monkeypatch.setattr(runtime_rates, "ATTENTION_DEPTHS", (16, 24, 32, 64))
    monkeypatch.setattr(whole_models, "DEPTHS", (16, 32))
    monkeypatch.setattr(kernel_timing, "DECODE_TOKENS", 2)
    steps: list[float] = []
    found, whole = calibrate_onnx.calibrate_onnx(
        MACHINE, lambda done, total: steps.append(done / total)
    )
    assert [row.times.depth for row in whole] == [16, 32] * (1 + runtime_rates.ROUNDS)
    assert set(found.kernels) == {"F32", "INT8_32", "INT4_32", "INT4_64", "INT4_128"}
    assert all(rate.decode_bytes_per_second > 0 for rate in found.kernels.values())
    assert found.runtime == f"onnx, {runtime.version()}"
    assert found.memory_bytes_per_second == MACHINE.memory_bytes_per_second
    assert steps == sorted(steps) and steps[-1] == 1.0


def test_plans_for_onnx_are_predicted_from_its_own_kernels(
    header_only: Callable[[str], Path],
) -> None:
    model = read_model(header_only("SmolLM2-135M"))
    rates = {
        kind: KernelRate(decode_bytes_per_second=1e9, prefill_products_per_second=1e10)
        for kind in calibrate_onnx.TIMED.types
    }
    own = MACHINE.model_copy(update={"kernels": rates, "layer_seconds": 1e-5})
    device = detect_device()

    def chosen(calibration: KernelRates) -> dict[str, str]:
        plan = make_plan(
            model,
            device.model_copy(update={"kernel_rates": calibration}),
            Constraints(context=512),
            choices=Choices(runtime="onnx"),
        )
        return {row.format: row.speed.basis for row in plan.candidates}

    assert set(chosen(MACHINE).values()) == {"formula"}
    assert set(chosen(MACHINE.model_copy(update={"onnx": own})).values()) == {"calibrated"}
