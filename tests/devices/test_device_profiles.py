"""The device profiles that ship: each loads, and each number says where it is from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from edgecomp.devices.profile import DeviceProfile, load_profile
from edgecomp.models.tensor_types import TENSOR_TYPES

FOLDER = Path(str(files("edgecomp.device_profiles")))
PATHS = sorted(FOLDER.glob("*.toml"))
REQUIRED = {
    "rtx-5090", "rtx-4090", "rtx-4080", "rtx-4070", "rtx-4060-8gb", "rtx-3090", "rtx-3060-12gb",
    "t4", "rx-7900-xtx", "rx-7600", "arc-b580", "apple-m1", "apple-m1-max", "apple-m2",
    "apple-m2-max", "apple-m3", "apple-m3-max", "apple-m4", "apple-m4-pro", "apple-m4-max",
    "core-ultra-7-155h", "core-ultra-7-258v", "ryzen-ai-9-hx-370", "ryzen-7-5800x",
    "office-laptop-ddr4", "steam-deck", "raspberry-pi-5-8gb", "jetson-orin-nano-8gb",
    "snapdragon-8-gen-3", "snapdragon-8-elite", "dimensity-9300", "pixel-9", "iphone-15-pro",
    "iphone-16-pro",
}  # fmt: skip
FAMILIES = {"float", "legacy", "k", "iq", "int4", "int8"}
ROUNDED = 0.02
"""Profiles write two or three digits, as the vendors do."""

each_profile = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def numbers(profile: DeviceProfile) -> Iterator[tuple[str, float]]:
    """Every number of a profile by its place in the file."""
    if profile.link is not None:
        yield "link", profile.link
    for pool in profile.pools:
        place = f"pools.{pool.name}"
        yield f"{place}.size", pool.size
        yield f"{place}.reserved", pool.reserved
        yield f"{place}.bandwidth", pool.bandwidth
    for processor in profile.processors:
        place = f"processors.{processor.name}"
        yield f"{place}.cores", processor.cores
        for kind, rate in processor.peak.items():
            yield f"{place}.peak.{kind}", rate


def test_all_promised_devices_ship_r5() -> None:
    assert {path.stem for path in PATHS} >= REQUIRED
    kinds = {load_profile(path).kind for path in PATHS}
    assert kinds == {"gpu", "apple", "laptop", "desktop", "board", "phone"}


@each_profile
def test_a_profile_loads_under_the_name_of_its_file_r23(path: Path) -> None:
    assert load_profile(path).name == path.stem


@each_profile
def test_every_number_has_a_source_and_every_source_a_number(path: Path) -> None:
    profile = load_profile(path)
    assert set(profile.sources) == {place for place, _ in numbers(profile)} | {"runtimes"}
    assert all(source.strip() for source in profile.sources.values())


@each_profile
def test_every_quantity_is_written_with_its_unit(path: Path) -> None:
    raw = tomllib.loads(path.read_text("utf-8"))
    quantities = [raw.get("link", "0 GB/s")]
    for pool in raw["pools"]:
        quantities += [pool["size"], pool["reserved"], pool["bandwidth"]]
    for processor in raw["processors"]:
        quantities += processor["peak"].values()
    assert all(isinstance(quantity, str) for quantity in quantities)


@each_profile
def test_the_fastest_pool_and_processor_come_first(path: Path) -> None:
    profile = load_profile(path)
    rates = [pool.bandwidth for pool in profile.pools]
    assert rates == sorted(rates, reverse=True)
    if profile.gpus:
        assert profile.processors[0].kind == "gpu"
        assert profile.processors[0].pool == profile.pools[0].name


@each_profile
def test_the_planner_finds_the_peaks_it_needs(path: Path) -> None:
    profile = load_profile(path)
    assert "fp32" in profile.cpu.peak
    assert all({"fp16", "fp32"} & set(gpu.peak) for gpu in profile.gpus)
    assert all(processor.peak for processor in profile.processors)


@each_profile
def test_peaks_do_not_fall_with_narrower_numbers(path: Path) -> None:
    for processor in load_profile(path).processors:
        known: dict[str, int] = {**processor.peak}
        rates = [known[kind] for kind in ("fp32", "fp16", "int8", "int4") if kind in known]
        assert rates == sorted(rates)


@each_profile
def test_derived_bandwidths_are_what_their_derivation_gives(path: Path) -> None:
    profile = load_profile(path)
    for pool in profile.pools:
        source = profile.sources[f"pools.{pool.name}.bandwidth"]
        found = re.search(
            r"derived: (?:(\d+) channels x )?(\d+) bit x ([\d.]+) (MT/s|Gbit/s)", source
        )
        if found:
            unit = {"MT/s": 1e6, "Gbit/s": 1e9}[found[4]]
            rate = int(found[1] or 1) * int(found[2]) / 8 * float(found[3]) * unit
            assert pool.bandwidth == pytest.approx(rate, rel=ROUNDED)


@each_profile
def test_derived_peaks_are_what_their_derivation_gives(path: Path) -> None:
    profile = load_profile(path)
    for place, number in numbers(profile):
        found = re.search(
            r"derived: (\d+) [A-Za-z ]*x (\d+) FLOP a cycle(?: \([^)]*\))? x ([\d.]+) GHz",
            profile.sources[place],
        )
        if found:
            rate = int(found[1]) * int(found[2]) * float(found[3]) * 1e9
            assert number == pytest.approx(rate, rel=ROUNDED)


@each_profile
def test_runtimes_name_formats_that_exist_r108(path: Path) -> None:
    profile = load_profile(path)
    for support in profile.runtimes:
        assert support.formats
        assert set(support.formats) <= FAMILIES | set(TENSOR_TYPES)
    assert any(support.runtime == "llama.cpp" for support in profile.runtimes)


@each_profile
def test_what_has_no_large_fan_says_what_heat_does(path: Path) -> None:
    profile = load_profile(path)
    if profile.kind in ("phone", "laptop", "board", "apple"):
        assert profile.thermal_note


def test_one_memory_for_both_is_one_unified_pool() -> None:
    for path in PATHS:
        profile = load_profile(path)
        if profile.gpus and profile.kind != "gpu":
            assert [pool.kind for pool in profile.pools] == ["unified"]


def test_a_qualcomm_gpu_claims_no_kernels_for_k_quants_r108() -> None:
    for name in ("snapdragon-8-gen-3", "snapdragon-8-elite"):
        profile = load_profile(FOLDER / f"{name}.toml")
        gpu = profile.gpus[0].name
        formats = {f for s in profile.runtimes if s.processor == gpu for f in s.formats}
        assert "Q4_0" in formats
        assert not formats & {"k", "iq", "legacy"}
