"""A measured run kept for the machine's rates: what they predict of it, by parts, and its time."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.detect import calibrated_rates, detect_device
from edgecomp.devices.measured_runs import MeasuredRun, TimedShare, keep_runs, stored_runs
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.layered_weights import LayeredWeights
from edgecomp.measure.latency import Measurement
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import Load, estimate_speed, load_of

BOUNDLESS = 1e30
"""A rate at which attention takes no time."""


class DepthTimes(FrozenModel):
    """Seconds a token, decoded and in a prompt, at one depth."""

    depth: int
    decode_seconds: float
    prefill_seconds: float


def correct_rates(
    model: ModelSpec, weights: LayeredWeights, measurement: Measurement, runtime: str
) -> None:
    """Let a run of `model`, measured here on the CPU, correct the rates that later plans predict
    with.

    A run on a busy machine says nothing, and neither does one without a calibration or one that was
    kept before.
    """
    kept = calibrated_rates()
    rates = kept.onnx if kept and runtime == "onnx" else kept
    if rates is None or measurement.machine.busy or measurement.settings.gpu_layers:
        return
    device = detect_device().model_copy(update={"kernel_rates": rates})
    known = {(run.model, run.depth, run.decode.measured_seconds) for run in stored_runs()}
    runs = [
        run
        for run in _runs(model, weights, device, measurement, every_logit=runtime == "onnx")
        if (run.model, run.depth, run.decode.measured_seconds) not in known
    ]
    if runs:
        keep_runs(runs)


def _runs(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    measurement: Measurement,
    *,
    every_logit: bool,
) -> Iterator[MeasuredRun]:
    """One a depth."""
    for row in measurement.depths:
        load = load_of(measurement.settings, row.depth)
        times = DepthTimes(
            depth=row.depth,
            decode_seconds=1 / row.decode_tokens_per_second.median,
            prefill_seconds=1 / row.prefill_tokens_per_second.median,
        )
        yield measured_run(model, weights, device, load, times, every_logit=every_logit)


def measured_run(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    load: Load,
    times: DepthTimes,
    *,
    every_logit: bool,
) -> MeasuredRun:
    """What the device's kernel rates predict of a model at one depth, by parts, beside the time
    that it took."""
    rates = device.kernel_rates
    assert rates is not None
    boundless = rates.model_copy(
        update={
            "decode_attention_per_second": BOUNDLESS,
            "prefill_attention_per_second": BOUNDLESS,
            "shared_attention_seconds": 0.0,
        }
    )
    whole, apart = (
        estimate_speed(
            model,
            weights,
            device.model_copy(update={"kernel_rates": known}),
            Placement(),
            load,
            every_logit=every_logit,
        )
        for known in (rates, boundless)
    )
    return MeasuredRun(
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        calibrated_at=rates.measured_at,
        runtime=rates.runtime,
        model=model.name,
        depth=times.depth,
        decode=_share(
            whole.decode_tokens_per_second, apart.decode_tokens_per_second, times.decode_seconds
        ),
        prefill=_share(
            whole.prefill_tokens_per_second, apart.prefill_tokens_per_second, times.prefill_seconds
        ),
    )


def _share(whole: float, apart: float, measured_seconds: float) -> TimedShare:
    """From tokens a second, predicted with attention and apart from it."""
    return TimedShare(
        weights_seconds=1 / apart,
        attention_seconds=1 / whole - 1 / apart,
        measured_seconds=measured_seconds,
    )
