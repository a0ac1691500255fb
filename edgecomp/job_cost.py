"""What the job itself needs on the machine that does it: memory, time and disk, stage by stage.

Shown before work starts (R19, R101), and refused where the machine cannot do it. Rates come from
this machine's calibration where there is one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from edgecomp.detect import stored_calibration
from edgecomp.folders import cache_folder
from edgecomp.formats import PRESETS
from edgecomp.model import ModelSpec
from edgecomp.plan import Candidate, JobCost, StageCost
from edgecomp.quantity import format_size

CALIBRATION_TOKENS = 128 * 256
DIVERGENCE_TOKENS = 40 * 512
QUESTION_TOKENS, ANSWER_TOKENS = 90, 30
DEFAULT_QUESTIONS = 420
DISK_BYTES_PER_SECOND = 300 * 10**6
QUANTIZE_WEIGHTS_PER_SECOND = 15 * 10**6
FLOAT_OPERATIONS_PER_SECOND = 50 * 10**9
TORCH_BYTES = 450 * 10**6
WORKER_BYTES = 100 * 10**6
START_SECONDS = 6.0
"""Of a process that imports torch and transformers."""


def estimate_job(model: ModelSpec, chosen: Candidate, questions: int | None = None) -> JobCost:
    """The cost of making and proving `chosen` here."""
    calibration = stored_calibration()
    basis = "calibrated" if calibration else "formula"
    flops = calibration.float_operations_per_second if calibration else FLOAT_OPERATIONS_PER_SECOND
    half, single = 2 * model.parameters, 4 * model.parameters
    stages = []
    if chosen.format != "source":
        block = single // max(model.layers, 1)
        hidden = 2 * 4 * CALIBRATION_TOKENS * model.embedding_length
        kind = PRESETS[chosen.format].base
        rate = (
            calibration.kernels[kind].quantize_weights_per_second
            if (calibration and kind in calibration.kernels)
            else None
        )
        stages = [
            StageCost(
                stage="intake",
                seconds=(model.file_bytes + half) / DISK_BYTES_PER_SECOND + 1,
                peak_memory_bytes=WORKER_BYTES + _largest_tensor_bytes(model),
                disk_bytes=half,
                basis="formula",
            ),
            StageCost(
                stage="calibration",
                seconds=START_SECONDS + 2 * model.parameters * CALIBRATION_TOKENS / (0.6 * flops),
                peak_memory_bytes=TORCH_BYTES + 2 * block + hidden,
                disk_bytes=half,
                basis=basis,
            ),
            StageCost(
                stage="compression",
                seconds=model.parameters / (rate or QUANTIZE_WEIGHTS_PER_SECOND) + 1,
                peak_memory_bytes=WORKER_BYTES + 3 * _largest_tensor_bytes(model),
                disk_bytes=chosen.file_bytes,
                basis=basis if rate else "formula",
            ),
        ]
    speed = chosen.speed
    asked = questions or DEFAULT_QUESTIONS
    # Base and artifact both read everything; the float base is slower by its bytes.
    read = 2 * (asked * QUESTION_TOKENS + DIVERGENCE_TOKENS) / speed.prefill_tokens_per_second
    slower = max(1.0, half / chosen.file_bytes)
    written = 0.3 * asked * ANSWER_TOKENS * (1 + slower) / speed.decode_tokens_per_second
    stages.append(
        StageCost(
            stage="evaluation",
            seconds=read + written + 10,
            peak_memory_bytes=chosen.memory.total_bytes + half,
            disk_bytes=2 * 10**6,
            basis=speed.basis,
        )
    )
    free_memory = int(psutil.virtual_memory().available)
    folder = _existing(cache_folder())
    free_disk = shutil.disk_usage(folder).free
    disk = sum(stage.disk_bytes for stage in stages)
    refusals = [
        f"The {stage.stage} needs {format_size(stage.peak_memory_bytes)} of memory and "
        f"{format_size(free_memory)} are free."
        for stage in stages
        if stage.peak_memory_bytes > free_memory
    ]
    if disk > free_disk:
        refusals.append(
            f"The job writes {format_size(disk)} and {format_size(free_disk)} are free at {folder}."
        )
    return JobCost(
        stages=tuple(stages),
        free_memory_bytes=free_memory,
        free_disk_bytes=free_disk,
        refusals=tuple(refusals),
    )


def _largest_tensor_bytes(model: ModelSpec) -> int:
    return 4 * max(tensor.elements for tensor in model.tensors)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
