"""Measure how fast this machine's kernels are in ONNX Runtime: MatMulNBits, MatMul, attention."""

from __future__ import annotations

from edgecomp.common.events import Progress
from edgecomp.common.folders import scratch_folder
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.measure.kernel_timing import (
    ATTENTIVE,
    DEEP,
    NARROW,
    NARROW_LAYERS,
    ONE,
    SHALLOW,
    WIDE_LAYERS,
    attention_rates,
    decode_times,
    fixed_costs,
    kernel_rate,
    token_seconds,
)
from edgecomp.measure.synthetic_model import SyntheticShape
from edgecomp.measure.synthetic_onnx import write_synthetic_onnx
from edgecomp.runtimes.onnx import runtime
from edgecomp.runtimes.protocol import TimedRun

MEASURED_TYPES = ("F32", "INT8_32", "INT4_32", "INT4_64", "INT4_128")
STEPS = len(MEASURED_TYPES) + 2
BATCH = 128
"""The micro batch of plans for ONNX Runtime."""


def calibrate_onnx(machine: KernelRates, progress: Progress) -> KernelRates:
    """Time ONNX Runtime on the machine that `machine` describes; what is not a runtime's own is
    taken from there."""
    threads = machine.threads
    shallow = [
        token_seconds(_time(NARROW.model_copy(update={"layers": layers}), threads, [SHALLOW])[0])
        for layers in NARROW_LAYERS
    ]
    layer_seconds, fixed_seconds = fixed_costs(shallow)
    progress(1, STEPS)
    attentive = ATTENTIVE.model_copy(update={"layers": WIDE_LAYERS})
    attention = attention_rates(*_time(attentive, threads, [SHALLOW, DEEP // 2, DEEP]))
    progress(2, STEPS)
    kernels = {}
    wide = ONE.model_copy(update={"layers": WIDE_LAYERS})
    for index, kind in enumerate(MEASURED_TYPES):
        decoded, batch = _time(wide, threads, [SHALLOW, BATCH], kind)
        fixed = WIDE_LAYERS * layer_seconds + fixed_seconds
        kernels[kind] = kernel_rate(kind, decoded, batch, BATCH, fixed)
        progress(3 + index, STEPS)
    return machine.model_copy(
        update={
            "runtime": f"{runtime.name}, {runtime.version()}",
            "kernels": kernels,
            "layer_seconds": layer_seconds,
            "token_seconds": fixed_seconds,
            "decode_attention_per_second": attention[0],
            "prefill_attention_per_second": attention[1],
            "worker_bytes": runtime.measure_idle().peak_bytes,
        }
    )


def _time(
    shape: SyntheticShape, threads: int, depths: list[int], kind: str = "INT4_32"
) -> list[list[TimedRun]]:
    with scratch_folder() as folder:
        write_synthetic_onnx(folder, shape, kind)
        return decode_times(runtime, folder, threads, depths, BATCH)
