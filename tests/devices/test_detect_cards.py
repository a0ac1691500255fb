"""Graphics cards as their drivers' tools tell of them; the tools are scripts (A17)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.devices.detect import detect_device
from edgecomp.devices.finding import find_device

MIB = 2**20
ROWS = (
    "0, GPU-aaaa-1, NVIDIA GeForce RTX 4090, 24564, 23000\n"
    "1, GPU-bbbb-2, NVIDIA GeForce RTX 4060 Laptop GPU, 8188, 8000\n"
    "2, GPU-cccc-3, Some Card of Next Year, 49140, 1000\n"
)
Tool = Callable[[str, str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts a driver's tool on the PATH that prints a text."""

    def make(name: str, text: str) -> None:
        (tmp_path / "answer").write_text(text)
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/answer\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


def test_what_others_hold_of_a_card_is_not_to_be_had(tool: Tool) -> None:
    tool("nvidia-smi", ROWS)
    device = detect_device()
    first, _, third = (device.pool(gpu.pool) for gpu in device.gpus)
    assert first.size == 24564 * MIB and first.usable_bytes == 23000 * MIB
    assert third.usable_bytes == 1000 * MIB


def test_a_card_that_a_profile_describes_has_its_bandwidth(tool: Tool) -> None:
    tool("nvidia-smi", ROWS)
    known, laptop, unknown = (detect_device().pool(gpu.pool) for gpu in detect_device().gpus)
    described = find_device("rtx-4090")
    assert known.bandwidth == described.pool(described.gpus[0].pool).bandwidth
    assert laptop.bandwidth == unknown.bandwidth < known.bandwidth


@pytest.mark.parametrize(
    ("visible", "sizes"),
    [
        ("1,0", [8188, 24564]),
        ("GPU-cccc", [49140]),
        ("0,7,1", [24564]),
        ("", []),
        ("-1", []),
    ],
)
def test_only_the_cards_that_cuda_will_see_are_planned_for(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, visible: str, sizes: list[int]
) -> None:
    tool("nvidia-smi", ROWS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = detect_device()
    assert [device.pool(gpu.pool).size // MIB for gpu in device.gpus] == sizes


def test_an_amd_card_is_known_by_its_series_and_its_free_memory(tool: Tool) -> None:
    row = {"Card Series": "AMD Radeon RX 7900 XTX", "VRAM Total Memory (B)": str(24 * 2**30),
           "VRAM Total Used Memory (B)": str(2 * 2**30)}  # fmt: skip
    tool("rocm-smi", json.dumps({"card0": row}))
    device = detect_device()
    pool = device.pool(device.gpus[0].pool)
    described = find_device("rx-7900-xtx")
    assert pool.usable_bytes == 22 * 2**30
    assert pool.bandwidth == described.pool(described.gpus[0].pool).bandwidth


def test_a_tool_that_answers_nonsense_is_no_card(tool: Tool) -> None:
    tool("nvidia-smi", "No devices were found\n0, a, b\n")
    tool("rocm-smi", "not json")
    assert not detect_device().gpus
