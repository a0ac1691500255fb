"""Energy counters as the kernel lays them out: sums, a counter that starts again, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.measure import energy
from edgecomp.measure.energy import Counter, Counters, joules_used, read_counters

RANGE_MICROJOULES = 262_143_328_850


def domain(root: Path, folder: str, name: str, microjoules: int) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "name").write_text(f"{name}\n")
    (root / folder / "energy_uj").write_text(f"{microjoules}\n")
    (root / folder / "max_energy_range_uj").write_text(f"{RANGE_MICROJOULES}\n")


def test_packages_and_memory_are_counted_and_what_lies_within_them_is_not(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    domain(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    domain(tmp_path, "intel-rapl:0:1", "dram", 1_500_000)
    domain(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    found = read_counters(tmp_path).counters
    assert {name: row.joules for name, row in found.items() if "gpu" not in name} == {
        "package-0 0": 5.0,
        "dram 0:1": 1.5,
    }


def test_a_machine_without_counters_says_so_and_gives_no_figure(tmp_path: Path) -> None:
    found = read_counters(tmp_path / "nowhere")
    assert not [name for name in found.counters if not name.startswith("gpu")]
    assert any("RAPL" in reason and "is not there" in reason for reason in found.unreadable)
    assert "no counter" in " ".join(read_counters(tmp_path).unreadable)


def test_a_counter_that_cannot_be_read_is_named_and_not_estimated(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("not a number")
    found = read_counters(tmp_path)
    assert not found.counters.keys() - {"gpu 0"}
    assert any("intel-rapl:0" in reason for reason in found.unreadable)


@given(st.lists(st.floats(0, 900), min_size=1, max_size=30), st.floats(0, 999))
def test_joules_add_up_over_a_counter_that_starts_again(steps: list[float], start: float) -> None:
    total, readings = start, []
    for step in [0.0, *steps]:
        total += step
        counter = Counter(joules=total % 1000.0, range_joules=1000.0)
        readings.append(Counters(counters={"package-0": counter}, unreadable=()))
    assert joules_used(readings)["package-0"] == pytest.approx(sum(steps), abs=1e-6)


def test_a_single_reading_says_nothing(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    assert joules_used([read_counters(tmp_path)]) == {}


def test_cards_that_count_their_energy_are_read_and_others_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def consumption(card: int) -> int:
        if card == 1:
            raise energy.pynvml.NVMLError(energy.pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 7_500

    monkeypatch.setattr(energy.pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(energy.pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(energy.pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(energy.pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(energy.pynvml, "nvmlDeviceGetTotalEnergyConsumption", consumption)
    found = read_counters(tmp_path / "nowhere")
    assert {name: row.joules for name, row in found.counters.items()} == {"gpu 0": 7.5}


def test_a_driver_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing() -> None:
        raise energy.pynvml.NVMLError(energy.pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(energy.pynvml, "nvmlInit", missing)
    assert any("NVML" in reason for reason in read_counters(tmp_path / "nowhere").unreadable)
