"""Measuring this machine, and keeping what was measured where later plans find it."""

from __future__ import annotations

import time

from edgecomp.common.atomic import write_text
from edgecomp.common.events import (
    Listener,
    StageFinished,
    StageProgress,
    StageStarted,
    Warned,
    ignore,
)
from edgecomp.common.machine_limits import physical_cores, processor_quota
from edgecomp.devices.detect import (
    calibrated_rates,
    cpu_model,
    detect_device,
    kernel_rates_path,
)
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.measured_runs import keep_runs
from edgecomp.measure.machine import BUSY_SHARE, WATCHED_SECONDS, busy_processors
from edgecomp.measure.whole_models import whole_model_runs


def calibrate_here(runtime: str, listen: Listener = ignore) -> KernelRates:
    """Measure this machine in `runtime`, and keep the result where later plans find it.

    ONNX Runtime's figures are kept beside llama.cpp's, which are measured first where they are
    missing.
    """
    kept = calibrated_rates()
    if runtime == "onnx" and kept is None:
        kept = calibrate_here("llama.cpp", listen)
    stage = f"calibrate-{runtime}"
    listen(StageStarted(stage=stage, title=f"Measuring this machine's kernels in {runtime}"))
    began = time.perf_counter()
    busy = busy_processors(WATCHED_SECONDS)

    def progress(done: float, total: float) -> None:
        listen(StageProgress(stage=stage, done=done, total=total))

    if runtime == "onnx":
        from edgecomp.measure.calibrate_onnx import TIMED, calibrate_onnx

        assert kept is not None
        measured, whole = calibrate_onnx(kept, progress)
    else:
        from edgecomp.measure.calibrate import TIMED, calibrate

        measured, whole = calibrate(cpu_model(), physical_cores(), progress)
        kept_onnx = kept.onnx if kept else None
        measured = measured.model_copy(
            update={"onnx": kept_onnx, "processor_quota": processor_quota()}
        )
    busy = max(busy, busy_processors(WATCHED_SECONDS))
    measured = measured.model_copy(update={"busy_processors": busy})
    runs = whole_model_runs(
        whole, measured, detect_device(), TIMED.micro_batch, every_logit=TIMED.every_logit
    )
    if runtime == "onnx" and kept:
        measured = kept.model_copy(update={"onnx": measured})
    write_text(kernel_rates_path(), measured.model_dump_json(indent=1))
    keep_runs(runs)
    seconds = time.perf_counter() - began
    listen(StageFinished(stage=stage, cached=False, seconds=seconds))
    if busy > BUSY_SHARE * physical_cores():
        listen(
            Warned(
                text=f"Other work kept {busy:.1f} processors busy while this machine was measured: "
                "plans will promise too little speed. Run `edgecomp devices calibrate` when it is "
                "idle."
            )
        )
    return measured
