"""Profiles as files: what is read from them, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import DeviceUnknown, ProfileInvalid
from edgecomp.devices.finding import device_list, find_device
from edgecomp.devices.profile import load_profile, profile_paths

PROFILE = """
schema_version = 1
name = "toaster"
title = "A toaster with a graphics card"
kind = "gpu"
link = "16 GB/s"

[[pools]]
name = "vram"
kind = "vram"
size = "8 GiB"
reserved = "500 MB"
bandwidth = "288.5 GB/s"

[[pools]]
name = "ram"
kind = "ram"
size = "16 GB"
reserved = "1.5 GiB"
bandwidth = "38_400 MB/s"

[[processors]]
name = "gpu"
kind = "gpu"
pool = "vram"
backend = "vulkan"
cores = 20
peak = { fp16 = "12.5 TFLOPS", int8 = "900 GOPS" }

[[processors]]
name = "cpu"
kind = "cpu"
pool = "ram"
backend = "cpu"
cores = 4
peak = { fp32 = "300 GFLOPS" }

[[runtimes]]
runtime = "llama.cpp"
processor = "gpu"
formats = ["float", "Q4_0"]

[sources]
"pools.vram.size" = "its label"
"""


def written(folder: Path, old: str = "", new: str = "", name: str = "toaster") -> Path:
    assert not old or old in PROFILE
    path = folder / f"{name}.toml"
    path.write_text(PROFILE.replace(old, new, 1), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProfileInvalid) as caught:
        load_profile(path)
    return str(caught.value)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECOMP_CONFIG", str(tmp_path))
    folder = tmp_path / "devices"
    folder.mkdir()
    return folder


def test_quantities_are_held_in_bytes_and_per_second_r23(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path))
    vram, ram = profile.pools
    assert (vram.size, vram.reserved, vram.bandwidth) == (8 * 2**30, 500 * 10**6, 288_500_000_000)
    assert (ram.size, ram.reserved, ram.bandwidth) == (16 * 10**9, 3 * 2**29, 38_400_000_000)
    assert profile.gpus[0].peak == {"fp16": 12_500_000_000_000, "int8": 900_000_000_000}
    assert profile.link == 16 * 10**9


def test_what_is_usable_leaves_out_what_is_reserved(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path))
    assert profile.pools[0].usable_bytes == 8 * 2**30 - 500 * 10**6
    assert profile.system_pool.name == "ram"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('link = "16 GB/s"', 'link = "16 GB/s"\ncolour = "red"', "colour"),
        ("cores = 20", "cores = 20\nwatts = 300", "watts"),
        ('size = "8 GiB"', 'size = "8 gallons"', "pools.0.size"),
        ('size = "8 GiB"', 'size = "8"', "pools.0.size"),
        ('bandwidth = "288.5 GB/s"', 'bandwidth = "288.5 GB"', "pools.0.bandwidth"),
        ('fp16 = "12.5 TFLOPS"', 'fp16 = "12.5 GHz"', "processors.0.peak.fp16"),
        ('fp16 = "12.5 TFLOPS"', 'fp8 = "12.5 TFLOPS"', "fp8"),
        ('reserved = "500 MB"', 'reserved = "9 GiB"', "vram"),
        ('reserved = "500 MB"', 'reserved = "8 GiB"', "vram"),
        ("cores = 4", "cores = 0", "processors.1.cores"),
        ('pool = "vram"', 'pool = "attic"', "attic"),
        ('name = "ram"', 'name = "vram"', "same name"),
        ('processor = "gpu"', 'processor = "fpga"', "fpga"),
        ('runtime = "llama.cpp"', 'runtime = "excel"', "runtimes.0.runtime"),
        ('link = "16 GB/s"', "", "link"),
        ("schema_version = 1", "schema_version = 2", "schema_version"),
        ('kind = "gpu"', 'kind = "toy"', "kind"),
        ('title = "A toaster with a graphics card"', "", "title"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    path = written(tmp_path, old, new)
    message = refusal(path)
    assert named in message
    assert str(path) in message


def test_a_unit_that_is_not_known_is_answered_with_those_that_are(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, 'size = "8 GiB"', 'size = "8 gallons"'))
    assert "8 gallons" in message and "GiB" in message


def test_a_profile_under_another_name_is_refused(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, name="kettle"))
    assert "toaster" in message and "kettle" in message


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe\x00", b""])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "toaster.toml"
    path.write_bytes(content)
    assert str(path) in refusal(path)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("rtx-4091", "rtx-4090"), ("RTX 4090", "rtx-4090"), ("m4-max", "apple-m4-max"),
     ("raspberry-pi-5", "raspberry-pi-5-8gb"), ("iphone16pro", "iphone-16-pro")],
)  # fmt: skip
def test_a_near_miss_is_answered_with_the_nearest_names(typed: str, meant: str) -> None:
    with pytest.raises(DeviceUnknown, match=rf"Did you mean .*{meant}"):
        find_device(typed)


def test_a_name_like_no_other_gets_no_suggestion(own_folder: Path) -> None:
    with pytest.raises(DeviceUnknown) as caught:
        find_device("qqqqqqqq")
    assert "Did you mean" not in str(caught.value)
    assert "devices list" in str(caught.value)


def test_a_profile_of_the_users_own_is_found_and_listed(own_folder: Path) -> None:
    written(own_folder)
    assert find_device("toaster").title == "A toaster with a graphics card"
    assert device_list().devices["toaster"] == "A toaster with a graphics card"


def test_a_profile_of_the_users_own_wins_over_the_one_that_ships(own_folder: Path) -> None:
    shipped = find_device("rtx-4090")
    path = written(own_folder, 'name = "toaster"', 'name = "rtx-4090"', name="rtx-4090")
    assert profile_paths()["rtx-4090"] == path
    assert find_device("rtx-4090") != shipped


def test_the_list_names_this_machine_first(own_folder: Path) -> None:
    names = list(device_list().devices)
    assert names[0] == "auto"
    assert names[1:] == sorted(names[1:])
