"""Measured runs correct a machine's rates, and say how far predictions are to be trusted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgecomp.devices.kernel_rates import KernelRate, KernelRates
from edgecomp.devices.measured_runs import (
    MOST_RUNS,
    MeasuredRun,
    TimedShare,
    corrected,
    keep_runs,
    measured_runs_path,
    stored_runs,
)

RATES = KernelRates(
    processor="one", threads=2, runtime="llama.cpp, 1", measured_at="2026-11-28T00:00:00+00:00",
    kernels={"Q4_0": KernelRate(decode_bytes_per_second=1e9, prefill_products_per_second=1e10)},
    layer_seconds=1e-5, token_seconds=1e-4, decode_attention_per_second=1e9,
    prefill_attention_per_second=1e10, worker_bytes=10**7, memory_bytes_per_second=1e10,
    float_operations_per_second=1e11,
)  # fmt: skip


def run(
    weights: float, attention: float, factors: tuple[float, float], noise: float = 1.0
) -> MeasuredRun:
    measured = noise * (factors[0] * weights + factors[1] * attention)
    share = TimedShare(
        weights_seconds=weights, attention_seconds=attention, measured_seconds=measured
    )
    return MeasuredRun(
        measured_at="2026-11-28T01:00:00+00:00", calibrated_at=RATES.measured_at,
        runtime=RATES.runtime, model="m", depth=512, decode=share, prefill=share,
    )  # fmt: skip


def test_weights_and_attention_are_told_apart_by_their_depths() -> None:
    runs = [
        run(1.0, depth, (1.4, 0.7)) for depth in (0.05, 0.2, 0.5, 1.0, 2.0, 4.0) for _ in "12345"
    ]
    found = corrected(RATES, runs)
    assert found.kernels["Q4_0"].decode_bytes_per_second == pytest.approx(1e9 / 1.4, rel=0.02)
    assert found.decode_attention_per_second == pytest.approx(1e9 / 0.7, rel=0.02)
    assert found.layer_seconds == pytest.approx(1.4e-5, rel=0.02)
    assert found.corrected_at == "2026-11-28T01:00:00+00:00"


def test_one_depth_alone_corrects_the_whole_and_not_one_part_wildly() -> None:
    found = corrected(RATES, [run(1.0, 0.1, (1.5, 1.5))])
    weights = 1e9 / found.kernels["Q4_0"].decode_bytes_per_second
    attention = 1e9 / found.decode_attention_per_second
    assert weights + 0.1 * attention == pytest.approx(1.65, rel=0.06)
    assert 0.9 < attention < 1.6
    assert found.decode_spread is None


def test_the_spread_holds_nine_of_ten_of_what_comes_after() -> None:
    source = random.Random(0)

    def some(count: int) -> list[MeasuredRun]:
        return [
            run(1.0, source.choice((0.1, 0.5, 1.0, 2.0)), (1.2, 0.9), source.lognormvariate(0, 0.1))
            for _ in range(count)
        ]

    held = total = 0
    for _ in range(60):
        found = corrected(RATES, some(9))
        weights = 1e9 / found.kernels["Q4_0"].decode_bytes_per_second
        attention = 1e9 / found.decode_attention_per_second
        for later in some(20):
            row = later.decode
            predicted = weights * row.weights_seconds + attention * row.attention_seconds
            ratio = row.measured_seconds / predicted
            assert found.decode_spread is not None
            held += 1 / found.decode_spread <= ratio <= found.decode_spread
            total += 1
    assert 0.86 < held / total < 0.97


def test_runs_of_another_calibration_or_runtime_correct_nothing() -> None:
    other = run(1.0, 1.0, (2.0, 2.0)).model_copy(update={"calibrated_at": "before"})
    foreign = run(1.0, 1.0, (2.0, 2.0)).model_copy(update={"runtime": "onnx, 1"})
    assert corrected(RATES, [other, foreign]) == RATES


def test_an_absurd_run_corrects_by_a_bounded_factor() -> None:
    found = corrected(RATES, [run(1.0, 1.0, (1000.0, 1000.0))])
    assert found.kernels["Q4_0"].decode_bytes_per_second == pytest.approx(1e9 / 4)


def test_runs_are_kept_the_latest_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_CONFIG", str(tmp_path))
    assert stored_runs() == ()
    for count in range(3):
        keep_runs([run(1.0, float(count), (1.0, 1.0))] * (MOST_RUNS // 2))
    assert len(stored_runs()) == MOST_RUNS
    assert {row.decode.attention_seconds for row in stored_runs()} == {1.0, 2.0}
    measured_runs_path().write_text("{", encoding="utf-8")
    assert stored_runs() == ()
