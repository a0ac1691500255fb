"""This machine as a DeviceProfile: memory, processor, and graphics cards where their tools answer.

A calibration that was measured here before is part of the profile. Without one, speeds are guessed
from a cautious bandwidth, and the plan says so.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from edgecomp.atomic import write_text
from edgecomp.calibrated import Calibration
from edgecomp.device import DeviceProfile, MemoryPool, Processor, RuntimeSupport
from edgecomp.events import Listener, StageFinished, StageProgress, StageStarted, ignore
from edgecomp.folders import config_folder
from edgecomp.machine_limits import memory_limit_bytes, physical_cores, processor_quota
from edgecomp.runtimes.protocol import find_runtime

ASSUMED_BANDWIDTH = 20 * 10**9
"""Of a laptop's memory where nothing was measured: two channels of DDR4 in practice give more."""

ASSUMED_FLOPS_PER_CORE = 30 * 10**9
"""AVX2 at a low clock."""

SYSTEM_RESERVE = 1 * 2**30
GPU_RESERVE = 512 * 2**20
TOOL_SECONDS = 5
CPU_FLAGS = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "f16c", "fma",
             "asimd", "asimddp", "i8mm", "sve")  # fmt: skip


def detect_device() -> DeviceProfile:
    """This machine. Takes well under a second; measures nothing."""
    calibration = stored_calibration()
    cards = [*_nvidia_cards(), *_amd_cards()]
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    bandwidth = round(calibration.memory_bytes_per_second) if calibration else ASSUMED_BANDWIDTH
    memory = MemoryPool(
        name="ram",
        kind="unified" if apple else "ram",
        size=memory_limit_bytes(),
        reserved=min(SYSTEM_RESERVE, memory_limit_bytes() // 4),
        bandwidth=bandwidth,
    )
    cores = physical_cores()
    flops = round(
        calibration.float_operations_per_second if calibration else ASSUMED_FLOPS_PER_CORE * cores
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
            "bandwidth": "measured here" if calibration else "assumed: not calibrated",
            "peak": "measured here" if calibration else "assumed: not calibrated",
        },
        calibration=calibration,
    )


def cpu_model() -> str:
    """The processor's own name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", info.read_text(), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def calibration_path() -> Path:
    """Where this machine's calibration is kept."""
    return config_folder() / "calibration.json"


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file; None where there is none that can be read."""
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def why_stale(calibration: Calibration) -> str:
    """Why a calibration says nothing of this machine as it is now; empty where it does."""
    if calibration.processor != cpu_model():
        return f"the processor is now {cpu_model()}"
    if calibration.threads != physical_cores():
        return f"{physical_cores()} cores may now be used"
    if calibration.processor_quota != processor_quota():
        return "the share of the processors that a control group allows has changed"
    runtime = find_runtime("llama.cpp")
    if calibration.runtime != f"{runtime.name}, {runtime.version()}":
        return f"the runtime is now {runtime.version()}"
    return ""


def stored_calibration() -> Calibration | None:
    """The calibration measured here before; None where there is none or a stale one."""
    calibration = read_calibration(calibration_path())
    return calibration if calibration and not why_stale(calibration) else None


def calibrate_here(runtime: str, listen: Listener = ignore) -> Calibration:
    """Measure this machine in `runtime`, and keep the result where later plans find it.

    ONNX Runtime's figures are kept beside llama.cpp's, which are measured first where they are
    missing.
    """
    kept = stored_calibration()
    if runtime == "onnx" and kept is None:
        kept = calibrate_here("llama.cpp", listen)
    stage = f"calibrate-{runtime}"
    listen(StageStarted(stage=stage, title=f"Measuring this machine's kernels in {runtime}"))
    began = time.perf_counter()

    def progress(done: float, total: float) -> None:
        listen(StageProgress(stage=stage, done=done, total=total))

    if runtime == "onnx":
        from edgecomp.measure.calibrate_onnx import calibrate_onnx

        assert kept is not None
        measured = kept.model_copy(update={"onnx": calibrate_onnx(kept, progress)})
    else:
        from edgecomp.measure.calibrate import calibrate

        measured = calibrate(cpu_model(), physical_cores(), progress)
        kept_onnx = kept.onnx if kept else None
        measured = measured.model_copy(
            update={"onnx": kept_onnx, "processor_quota": processor_quota()}
        )
    write_text(calibration_path(), measured.model_dump_json(indent=1))
    seconds = time.perf_counter() - began
    listen(StageFinished(stage=stage, cached=False, seconds=seconds))
    return measured


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
    fields = "name,memory.total,memory.reserved,clocks.max.memory"
    cards = []
    answer = _ask("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    for index, line in enumerate(answer.splitlines()):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4 or not parts[1].isdigit():
            continue
        reserved = int(parts[2]) if parts[2].isdigit() else 0
        cards.append(_card(f"gpu{index}", int(parts[1]) * 2**20, reserved * 2**20, "cuda"))
    return cards


def _amd_cards() -> list[tuple[MemoryPool, Processor]]:
    answer = _ask("rocm-smi", "--showmeminfo", "vram", "--json")
    try:
        rows = json.loads(answer) if answer else {}
        sizes = [
            int(row["VRAM Total Memory (B)"]) for row in rows.values() if isinstance(row, dict)
        ]
    except (ValueError, KeyError, AttributeError):
        return []
    return [_card(f"gpu{index}", size, 0, "rocm") for index, size in enumerate(sizes)]


def _card(name: str, size: int, reserved: int, backend: str) -> tuple[MemoryPool, Processor]:
    # The drivers' tools tell no bandwidth; half of a mid-range card's keeps promises on the safe
    # side until `devices calibrate` or a profile by name says better.
    pool = MemoryPool(
        name=f"{name}-vram",
        kind="vram",
        size=size,
        reserved=max(reserved, GPU_RESERVE),
        bandwidth=200 * 10**9,
    )
    processor = Processor.model_validate(
        {
            "name": name, "kind": "gpu", "pool": pool.name, "backend": backend, "cores": 1,
            "peak": {"fp16": 10 * 10**12},
        }
    )  # fmt: skip
    return pool, processor


def _apple_gpu() -> Processor:
    return Processor(
        name="gpu", kind="gpu", pool="ram", backend="metal", cores=1, peak={"fp16": 4 * 10**12}
    )
