"""Whole models of random weights, timed beside the kernels: what all rates together miss.

Their shapes, mixtures of types and depths are those that people run, and none of those that the
rates come from. They are timed again and again, some time apart: an uneven machine shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.measured_runs import MeasuredRun
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.measure.correct_rates import DepthTimes, measured_run
from edgecomp.measure.kernel_timing import Asked, TimeModel, prefill_seconds, token_seconds
from edgecomp.measure.synthetic_model import SyntheticShape, matrix_types, synthetic_spec
from edgecomp.planning.speed import Load

DEPTHS = (128, 1536)
SMALL = SyntheticShape(
    layers=20, width=640, feed_forward=1792, heads=10, kv_heads=2, vocabulary=65536, context=2048
)
LARGER = SyntheticShape(
    layers=7, width=1536, feed_forward=5120, heads=12, kv_heads=2, vocabulary=65536, context=2048
)


class WholeModel(FrozenModel):
    """A model's shape and the types that its matrices take in turn."""

    shape: SyntheticShape
    kinds: tuple[str, ...]


class WholeModelTimes(FrozenModel):
    """A model, timed at one depth."""

    model: WholeModel
    times: DepthTimes


def time_whole_models(
    models: Sequence[WholeModel], time_model: TimeModel
) -> Iterator[WholeModelTimes]:
    """Time each at DEPTHS, once."""
    for model in models:
        found = time_model(Asked(model.shape, model.kinds, DEPTHS, 1))
        for depth, runs in zip(DEPTHS, found, strict=True):
            times = DepthTimes(
                depth=depth,
                decode_seconds=token_seconds(runs),
                prefill_seconds=prefill_seconds(runs) / depth,
            )
            yield WholeModelTimes(model=model, times=times)


def whole_model_runs(
    found: Sequence[WholeModelTimes],
    rates: KernelRates,
    device: DeviceProfile,
    micro_batch: int,
    *,
    every_logit: bool,
) -> list[MeasuredRun]:
    """The runs, with what `rates` predict of them."""
    known = device.model_copy(update={"kernel_rates": rates})
    runs = []
    for model, times in ((row.model, row.times) for row in found):
        spec = synthetic_spec(model.shape)
        load = Load(depth=times.depth, prompt_tokens=times.depth, micro_batch=micro_batch)
        weights = layered_weights(spec, matrix_types(model.shape, model.kinds))
        runs.append(measured_run(spec, weights, known, load, times, every_logit=every_logit))
    return runs
