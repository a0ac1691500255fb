"""A measured run kept for the machine's rates: what they predict of it, by parts, and its time."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from edgecomp.devices.detect import calibrated_rates, detect_device
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.measured_runs import MeasuredRun, TimedShare, keep_runs, stored_runs
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.layered_weights import LayeredWeights
from edgecomp.measure.latency import DepthLatency, Measurement
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import Load, SpeedEstimate, estimate_speed

BOUNDLESS = 1e30
"""A rate at which attention takes no time."""


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
        for run in _runs(model, weights, device, rates, measurement, every_logit=runtime == "onnx")
        if (run.model, run.depth, run.decode.measured_seconds) not in known
    ]
    if runs:
        keep_runs(runs)


def _runs(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    rates: KernelRates,
    measurement: Measurement,
    *,
    every_logit: bool,
) -> Iterator[MeasuredRun]:
    """One a depth."""
    boundless = rates.model_copy(
        update={"decode_attention_per_second": BOUNDLESS, "prefill_attention_per_second": BOUNDLESS}
    )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for row in measurement.depths:
        load = Load(
            depth=row.depth,
            prompt_tokens=row.depth,
            micro_batch=measurement.settings.micro_batch,
            flash_attention=measurement.settings.flash_attention,
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
        decode, prefill = _shares(whole, apart, row)
        yield MeasuredRun(
            measured_at=now,
            calibrated_at=rates.measured_at,
            runtime=rates.runtime,
            model=model.name,
            depth=row.depth,
            decode=decode,
            prefill=prefill,
        )


def _shares(
    whole: SpeedEstimate, apart: SpeedEstimate, row: DepthLatency
) -> tuple[TimedShare, TimedShare]:
    """Decoding and prefill, predicted with attention and apart from it, beside the measured."""
    figures = (
        (
            whole.decode_tokens_per_second,
            apart.decode_tokens_per_second,
            row.decode_tokens_per_second.median,
        ),
        (
            whole.prefill_tokens_per_second,
            apart.prefill_tokens_per_second,
            row.prefill_tokens_per_second.median,
        ),
    )
    decode, prefill = (
        TimedShare(
            weights_seconds=1 / without,
            attention_seconds=1 / every - 1 / without,
            measured_seconds=1 / measured,
        )
        for every, without, measured in figures
    )
    return decode, prefill
