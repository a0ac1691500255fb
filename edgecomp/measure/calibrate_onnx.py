"""Measure how fast this machine's kernels are in ONNX Runtime: MatMulNBits, MatMul, attention."""

from __future__ import annotations

import datetime

from edgecomp.common.events import Progress
from edgecomp.common.folders import scratch_folder
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.measure.kernel_timing import DEEP, Asked, decode_times
from edgecomp.measure.runtime_rates import Timed, time_runtime
from edgecomp.measure.synthetic_onnx import write_synthetic_onnx
from edgecomp.measure.whole_models import LARGER, SMALL, WholeModel, WholeModelTimes
from edgecomp.planning.onnx_mixtures import ONNX_MICRO_BATCH
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.onnx import runtime
from edgecomp.runtimes.protocol import TimedRun

TIMED = Timed(
    types=("F32", "INT8_32", "INT4_32", "INT4_64", "INT4_128"),
    fixed_types=("INT4_32", "INT8_32"),
    batch_tokens=ONNX_MICRO_BATCH,
    micro_batch=ONNX_MICRO_BATCH,
    every_logit=True,
    whole=(
        WholeModel(shape=SMALL, kinds=("INT8_32",)),
        WholeModel(shape=LARGER, kinds=("INT4_32",)),
    ),
)


def calibrate_onnx(
    machine: KernelRates, progress: Progress
) -> tuple[KernelRates, list[WholeModelTimes]]:
    """Time ONNX Runtime on the machine that `machine` describes, and whole models in it; what is
    not a runtime's own is taken from there."""
    settings = RunSettings(
        context=DEEP, threads=machine.threads, micro_batch=TIMED.micro_batch, kv_type="F32"
    )

    def time_model(asked: Asked) -> list[list[TimedRun]]:
        with scratch_folder() as folder:
            write_synthetic_onnx(folder, asked.shape, asked.kinds[0])
            return decode_times(runtime, folder, settings, asked)

    found = time_runtime(TIMED, time_model, progress)
    rates = machine.model_copy(
        update={
            "runtime": f"{runtime.name}, {runtime.version()}",
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **found.fields,
            "worker_bytes": runtime.measure_idle().peak_bytes,
            "onnx": None,
        }
    )
    return rates, found.whole
