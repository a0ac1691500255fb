"""A machine that is busy while it is measured is told of, then and by the doctor."""

from __future__ import annotations

import pytest

from edgecomp.common.events import Event, Warned
from edgecomp.common.machine_limits import physical_cores
from edgecomp.devices.detect import cpu_model, stored_kernel_rates
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.jobs.doctor import examine
from edgecomp.measure import calibrate, calibrate_here, calibrate_onnx
from edgecomp.measure.calibrate import TIMED
from edgecomp.measure.correct_rates import DepthTimes
from edgecomp.measure.whole_models import WholeModelTimes
from edgecomp.runtimes.llama_cpp.client import LlamaCpp


@pytest.fixture
def own_config(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("EDGECOMP_CONFIG", str(tmp_path_factory.mktemp("config")))


def rates(
    processor: str, threads: int, progress: object
) -> tuple[KernelRates, list[WholeModelTimes]]:
    """What minutes of timing would give."""
    found = KernelRates(
        processor=processor, threads=threads, runtime=f"llama.cpp, {LlamaCpp().version()}",
        measured_at="2026-01-01T00:00:00+00:00", kernels={}, layer_seconds=1.0, token_seconds=1.0,
        decode_attention_per_second=1.0, prefill_attention_per_second=1.0, worker_bytes=1,
        memory_bytes_per_second=1e10, float_operations_per_second=1e11,
    )  # fmt: skip
    times = DepthTimes(depth=128, decode_seconds=40.0, prefill_seconds=1.0)
    return found, [WholeModelTimes(model=TIMED.whole[0], times=times)]


@pytest.mark.parametrize("busy", [0.0, 1.5])
def test_other_work_during_a_calibration_is_told(
    monkeypatch: pytest.MonkeyPatch, own_config: None, busy: float
) -> None:
    def watched(seconds: float) -> float:
        return busy * physical_cores()

    monkeypatch.setattr(calibrate_here, "busy_processors", watched)
    monkeypatch.setattr(calibrate, "calibrate", rates)
    heard: list[Event] = []
    calibrate_here.calibrate_here("llama.cpp", heard.append)
    assert any(isinstance(event, Warned) for event in heard) == bool(busy)
    kept = stored_kernel_rates()
    assert kept and kept.processor == cpu_model()
    (check,) = [row for row in examine(None).checks if row.name == "calibration"]
    assert check.state == ("warning" if busy else "works")
    assert ("busy meanwhile" in check.found) == bool(busy)


def test_a_quiet_onnx_calibration_does_not_hide_a_busy_one_of_llama_cpp(
    monkeypatch: pytest.MonkeyPatch, own_config: None
) -> None:
    monkeypatch.setattr(calibrate, "calibrate", rates)
    monkeypatch.setattr(
        calibrate_onnx, "calibrate_onnx", lambda machine, progress: rates("none", 1, progress)
    )
    for runtime, busy in (("llama.cpp", 2.0), ("onnx", 0.0)):
        monkeypatch.setattr(calibrate_here, "busy_processors", lambda seconds, busy=busy: busy)
        calibrate_here.calibrate_here(runtime)
    kept = stored_kernel_rates()
    assert kept and kept.onnx
    assert (kept.busy_processors, kept.onnx.busy_processors) == (2.0, 0.0)
