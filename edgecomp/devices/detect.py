"""This machine as a DeviceProfile: memory, processor, and graphics cards where their tools answer.

A calibration that was measured here before is part of the profile. Without one, speeds are guessed
from a cautious bandwidth, and the plan says so.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from edgecomp.common.folders import config_folder
from edgecomp.common.machine_limits import memory_limit_bytes, physical_cores, processor_quota
from edgecomp.common.package_versions import LLAMA_CPP_PACKAGE, named_version
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.measured_runs import corrected, stored_runs
from edgecomp.devices.profile import (
    DeviceProfile,
    MemoryPool,
    NumberType,
    Processor,
    RuntimeSupport,
    load_profile,
    profile_paths,
)

ASSUMED_BANDWIDTH = 20 * 10**9
"""Bytes a second of memory that was not measured: two channels of DDR4 give more in practice."""

ASSUMED_FLOPS_PER_CORE = 30 * 10**9
"""AVX2 at a low clock."""

ASSUMED_CARD_BANDWIDTH = 200 * 10**9
"""Half of a mid-range card's: promises stay on the safe side."""

ASSUMED_CARD_FLOPS = 10 * 10**12
CARD_VARIANTS = {"laptop", "mobile", "max", "ti", "super", "d", "xt", "xtx", "gre"}
"""Words that make another card of the same number."""

SYSTEM_RESERVE = 1 * 2**30
GPU_RESERVE = 512 * 2**20
TOOL_SECONDS = 5
CPU_FLAGS = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "f16c", "fma",
             "asimd", "asimddp", "i8mm", "sve")  # fmt: skip


def detect_device() -> DeviceProfile:
    """This machine. Takes well under a second; measures nothing."""
    kernel_rates = stored_kernel_rates()
    cards = [*_nvidia_cards(), *_amd_cards()]
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    bandwidth = round(kernel_rates.memory_bytes_per_second) if kernel_rates else ASSUMED_BANDWIDTH
    memory = MemoryPool(
        name="ram",
        kind="unified" if apple else "ram",
        size=memory_limit_bytes(),
        reserved=min(SYSTEM_RESERVE, memory_limit_bytes() // 4),
        bandwidth=bandwidth,
    )
    cores = physical_cores()
    flops = round(
        kernel_rates.float_operations_per_second if kernel_rates else ASSUMED_FLOPS_PER_CORE * cores
    )
    cpu = Processor(
        name="cpu",
        kind="cpu",
        pool="ram",
        backend="cpu",
        cores=cores,
        instruction_sets=_instruction_sets(),
        peak={"fp32": flops},
    )
    graphics = [processor for _, processor in cards]
    if apple:
        graphics.append(_apple_gpu())
    return DeviceProfile(
        schema_version=1,
        name="auto",
        title=f"this machine ({cpu_model()}, {cores} cores)",
        kind="apple" if apple else ("gpu" if cards else "laptop"),
        pools=(*(pool for pool, _ in cards), memory),
        processors=(*graphics, cpu),
        link=16 * 10**9 if cards else None,
        runtimes=(
            *(
                RuntimeSupport(
                    runtime="llama.cpp", processor=p.name, formats=("float", "legacy", "k", "iq")
                )
                for p in (*graphics, cpu)
            ),
            RuntimeSupport(runtime="onnx", processor="cpu", formats=("float", "int4", "int8")),
        ),
        sources={
            "pools": "operating system and driver",
            "bandwidth": "measured here" if kernel_rates else "assumed: not calibrated",
            "peak": "measured here" if kernel_rates else "assumed: not calibrated",
        },
        kernel_rates=kernel_rates,
    )


def cpu_model() -> str:
    """The processor's own name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", info.read_text(), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def kernel_rates_path() -> Path:
    """Where what was measured on this machine is kept."""
    return config_folder() / "calibration.json"


def read_kernel_rates(path: Path) -> KernelRates | None:
    """The kernel rates in a file; None where there is none that can be read."""
    try:
        return KernelRates.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def why_stale(kernel_rates: KernelRates) -> str:
    """Why kernel rates say nothing of this machine as it is now; empty where it does."""
    if kernel_rates.processor != cpu_model():
        return f"the processor is now {cpu_model()}"
    if kernel_rates.threads != physical_cores():
        return f"{physical_cores()} cores may now be used"
    if kernel_rates.processor_quota != processor_quota():
        return "the share of the processors that a control group allows has changed"
    runtime = named_version(LLAMA_CPP_PACKAGE)
    if kernel_rates.runtime != f"llama.cpp, {runtime}":
        return f"the runtime is now {runtime}"
    return ""


def stored_kernel_rates() -> KernelRates | None:
    """The kernel rates measured here before, as measured runs corrected them since; None where
    there is none or a stale one."""
    kernel_rates = calibrated_rates()
    return corrected(kernel_rates, stored_runs()) if kernel_rates else None


def calibrated_rates() -> KernelRates | None:
    """The same as calibrated."""
    kernel_rates = read_kernel_rates(kernel_rates_path())
    return kernel_rates if kernel_rates and not why_stale(kernel_rates) else None


def _instruction_sets() -> tuple[str, ...]:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return ()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", info.read_text(), re.M)
    flags = set(found[1].split()) if found else set()
    return tuple(flag for flag in CPU_FLAGS if flag in flags)


def _ask(*command: str) -> str:
    """What a driver's tool prints; empty where it is missing, fails or hangs."""
    if not shutil.which(command[0]):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _nvidia_cards() -> list[tuple[MemoryPool, Processor]]:
    """The cards that CUDA will see, in its order: what others hold of their memory is reserved."""
    fields = "index,uuid,name,memory.total,memory.free"
    answer = _ask("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines()]
    rows = [row for row in rows if len(row) == 5 and row[3].isdigit()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = []
    for index, (_, _, name, total, free) in enumerate(_visible(rows, visible)):
        held = int(total) - int(free) if free.isdigit() else 0
        cards.append(_card(f"gpu{index}", name, int(total) * 2**20, held * 2**20, "cuda"))
    return cards


def _visible(rows: list[list[str]], wanted: str | None) -> list[list[str]]:
    """The rows (index, UUID, ...) that CUDA_VISIBLE_DEVICES names, in its order: by index or by the
    beginning of a UUID; the first name that fits none ends the list, as in CUDA."""
    if wanted is None:
        return rows
    found: list[list[str]] = []
    for name in (part.strip() for part in wanted.split(",")):
        row = next((r for r in rows if name and (r[0] == name or r[1].startswith(name))), None)
        if row is None:
            break
        found.append(row)
    return found


def _amd_cards() -> list[tuple[MemoryPool, Processor]]:
    answer = _ask("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")
    try:
        rows = json.loads(answer) if answer else {}
        sizes = [
            (
                str(row.get("Card Series", row.get("Card series", ""))),
                int(row["VRAM Total Memory (B)"]),
                int(row.get("VRAM Total Used Memory (B)", 0)),
            )
            for row in rows.values()
            if isinstance(row, dict)
        ]
    except (ValueError, KeyError, AttributeError):
        return []
    return [
        _card(f"gpu{index}", title, size, held, "rocm")
        for index, (title, size, held) in enumerate(sizes)
    ]


def _card(
    name: str, title: str, size: int, held: int, backend: str
) -> tuple[MemoryPool, Processor]:
    """A card of `size` bytes, of which others hold `held`. The drivers' tools tell no bandwidth: it
    is that of the profile of a card of this title, or a cautious guess."""
    known = _profile_of_card(title)
    pool = MemoryPool(
        name=f"{name}-vram",
        kind="vram",
        size=size,
        reserved=min(size, max(held, GPU_RESERVE)),
        bandwidth=known[0].bandwidth if known else ASSUMED_CARD_BANDWIDTH,
    )
    peak = known[1].peak if known else {"fp16": ASSUMED_CARD_FLOPS}
    processor = Processor.model_validate(
        {
            "name": name, "kind": "gpu", "pool": pool.name, "backend": backend,
            "cores": known[1].cores if known else 1, "peak": peak,
            "vendor": known[1].vendor if known else None,
        }
    )  # fmt: skip
    return pool, processor


def _profile_of_card(title: str) -> tuple[MemoryPool, Processor] | None:
    """The card of the profile whose name says most of `title`: `rtx-4090` of "NVIDIA GeForce RTX
    4090". A laptop's card is slower than the one it is called after."""
    words = set(re.findall(r"[a-z0-9]+", title.lower()))
    best: tuple[int, str] = (0, "")
    for name in profile_paths():
        parts = [part for part in name.split("-") if not part.endswith("gb")]
        if set(parts) <= words and len(parts) > best[0]:
            best = (len(parts), name)
    if not best[0] or words & CARD_VARIANTS - set(best[1].split("-")):
        return None
    profile = load_profile(profile_paths()[best[1]])
    card = next(iter(profile.gpus), None)
    return (profile.pool(card.pool), card) if card else None


def _apple_gpu() -> Processor:
    peak: dict[NumberType, int] = {"fp16": 4 * 10**12, "fp32": 4 * 10**12}
    return Processor(name="gpu", kind="gpu", pool="ram", backend="metal", cores=1, peak=peak)
