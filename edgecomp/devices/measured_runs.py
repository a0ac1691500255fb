"""Runs that were measured on this machine, and what they correct of its kernel rates.

A calibration times kernels one by one on random models; a run has all of them together, at the
depths and in the mixtures that people use. The first runs are the calibration's own. Each run keeps
what the rates predicted of it, the weights' share of the time apart from attention's, beside the
time that it took. One factor for each share is fitted to all runs since the last calibration, and
the rates are divided by it; what the fit leaves is the spread that predictions are told with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from edgecomp.common.atomic import write_text
from edgecomp.common.folders import config_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.kernel_rates import KernelRates

MOST_RUNS = 200
"""Kept, the latest."""

PRIOR_RUNS = 0.05
"""Runs that the rates as calibrated count for, in the fit."""

LARGEST_FACTOR = 4.0
"""A share of the time is corrected by at most this factor."""

RANDOM_MODEL = "random weights"
"""The name of the models that a calibration runs itself."""

LEAST_RUNS, WIDTH = 3, 1.645
"""From so many figures on there is a spread; standard deviations on each side that hold 90 %."""


class TimedShare(FrozenModel):
    """A token's time: what the rates said of its parts, in seconds, and what it was."""

    weights_seconds: float
    attention_seconds: float
    measured_seconds: float


class MeasuredRun(FrozenModel):
    """One depth of one measured run."""

    measured_at: str
    calibrated_at: str
    """Of the rates that predicted it."""

    runtime: str
    model: str
    depth: int
    decode: TimedShare
    prefill: TimedShare


class MeasuredRuns(FrozenModel):
    """All that are kept."""

    schema_version: Literal[1] = 1
    runs: tuple[MeasuredRun, ...] = ()


def measured_runs_path() -> Path:
    """Where measured runs are kept."""
    return config_folder() / "measured_runs.json"


def stored_runs() -> tuple[MeasuredRun, ...]:
    """The runs measured here; none where the file is not there or cannot be read."""
    try:
        text = measured_runs_path().read_text(encoding="utf-8")
        return MeasuredRuns.model_validate_json(text).runs
    except (OSError, ValidationError, UnicodeDecodeError):
        return ()


def keep_runs(runs: Sequence[MeasuredRun]) -> None:
    """Add `runs` to those that are kept."""
    kept = MeasuredRuns(runs=(*stored_runs(), *runs)[-MOST_RUNS:])
    write_text(measured_runs_path(), kept.model_dump_json(indent=1))


def corrected(rates: KernelRates, runs: Sequence[MeasuredRun]) -> KernelRates:
    """The rates as the runs since their calibration correct them."""
    mine = [r for r in runs if (r.calibrated_at, r.runtime) == (rates.measured_at, rates.runtime)]
    onnx = corrected(rates.onnx, runs) if rates.onnx else None
    if not mine:
        return rates.model_copy(update={"onnx": onnx})
    weights, attention, decode_spread = _fit([run.decode for run in mine])
    read, read_attention, prefill_spread = _fit([run.prefill for run in mine])
    kernels = {
        kind: kernel.model_copy(
            update={
                "decode_bytes_per_second": kernel.decode_bytes_per_second / weights,
                "prefill_products_per_second": kernel.prefill_products_per_second / read,
            }
        )
        for kind, kernel in rates.kernels.items()
    }
    return rates.model_copy(
        update={
            "kernels": kernels,
            "shared_attention_seconds": rates.shared_attention_seconds * attention,
            "decode_row_seconds": rates.decode_row_seconds * weights,
            "prefill_row_seconds": rates.prefill_row_seconds * read,
            "layer_seconds": rates.layer_seconds * weights,
            "token_seconds": rates.token_seconds * weights,
            "decode_attention_per_second": rates.decode_attention_per_second / attention,
            "prefill_attention_per_second": rates.prefill_attention_per_second / read_attention,
            "corrected_at": max(
                (run.measured_at for run in mine if run.model != RANDOM_MODEL), default=None
            ),
            "decode_spread": decode_spread,
            "prefill_spread": prefill_spread,
            "onnx": onnx,
        }
    )


def _fit(rows: Sequence[TimedShare]) -> tuple[float, float, float | None]:
    """The factors of weights and attention with the least squared error, relative to what was
    predicted, and the factor within which nine of ten figures lie of what they then predict; None
    for fewer than LEAST_RUNS.

    Least squares with a small pull towards 1, in closed form: runs at one depth alone cannot tell
    the two apart.
    """
    pull = PRIOR_RUNS
    ww = wa = aa = w = a = 0.0
    for row in rows:
        predicted = row.weights_seconds + row.attention_seconds
        u, v = row.weights_seconds / predicted, row.attention_seconds / predicted
        measured = row.measured_seconds / predicted
        ww, wa, aa = ww + u * u, wa + u * v, aa + v * v
        w, a = w + u * measured, a + v * measured
    ww, aa, w, a = ww + pull, aa + pull, w + pull, a + pull
    determinant = ww * aa - wa * wa
    weights, attention = (w * aa - a * wa) / determinant, (a * ww - w * wa) / determinant
    weights, attention = (
        min(max(factor, 1 / LARGEST_FACTOR), LARGEST_FACTOR) for factor in (weights, attention)
    )
    if len(rows) < LEAST_RUNS:
        return weights, attention, None
    errors = [
        math.log(
            (weights * row.weights_seconds + attention * row.attention_seconds)
            / row.measured_seconds
        )
        for row in rows
    ]
    freedom = max(len(rows) - 2, 1)
    deviation = math.sqrt(sum(error * error for error in errors) / freedom)
    # Few figures know their own spread badly: Student's quantile, to a few percent.
    return weights, attention, math.exp(WIDTH * (1 + 1.5 / freedom) * deviation)
