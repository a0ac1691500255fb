"""A user's own profile with two cards, as a TOML file in the folder of their settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile

CARD = """
[[pools]]
name = "vram{n}"
kind = "vram"
size = "24 GiB"
reserved = "600 MiB"
bandwidth = "936 GB/s"

[[processors]]
name = "gpu{n}"
kind = "gpu"
pool = "vram{n}"
backend = "cuda"
cores = 82
peak = {{ fp16 = "71 TFLOPS", fp32 = "35.6 TFLOPS" }}

[[runtimes]]
runtime = "llama.cpp"
processor = "gpu{n}"
formats = ["float", "legacy", "k", "iq"]
"""
HOST = """
[[pools]]
name = "ram"
kind = "ram"
size = "64 GiB"
reserved = "4 GiB"
bandwidth = "89.6 GB/s"

[[processors]]
name = "cpu"
kind = "cpu"
pool = "ram"
backend = "cpu"
cores = 8
peak = { fp32 = "1152 GFLOPS" }

[[runtimes]]
runtime = "llama.cpp"
processor = "cpu"
formats = ["float", "legacy", "k", "iq"]

[sources]
"pools" = "a test"
"""
TOP = """
schema_version = 1
name = "two-rtx-3090"
title = "2 x RTX 3090"
kind = "gpu"
link = "31.5 GB/s"
"""


@pytest.fixture(scope="session")
def two_cards(own_folders: None) -> DeviceProfile:
    """Two RTX 3090 in one machine, found by name."""
    folder = Path(os.environ["EDGECOMP_CONFIG"]) / "devices"
    folder.mkdir(exist_ok=True)
    file = folder / "two-rtx-3090.toml"
    file.write_text(TOP + CARD.format(n=0) + CARD.format(n=1) + HOST, encoding="utf-8")
    found = find_device("two-rtx-3090")
    # Other tests list the profiles that ship.
    file.unlink()
    return found
