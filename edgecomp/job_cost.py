"""What the job itself needs on the machine that does it: memory, time and disk, stage by stage.

Shown before work starts (R19, R101), and refused where the machine cannot do it. Rates come from
this machine's calibration where there is one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from edgecomp.calibrated import Calibration
from edgecomp.detect import stored_calibration
from edgecomp.folders import cache_folder
from edgecomp.formats import PRESETS
from edgecomp.model import ModelSpec
from edgecomp.onnx_formats import ONNX_FORMATS
from edgecomp.plan import Candidate, JobCost, StageCost
from edgecomp.quantity import format_size

CALIBRATION_TOKENS = 128 * 256
DIVERGENCE_TOKENS = 32 * 512
QUESTION_TOKENS, ANSWER_TOKENS = 90, 30
DEFAULT_QUESTIONS = 510
WRITTEN_SHARE = 0.3
"""Of the questions, so many are answered in text; the rest choose."""

CHECKED_TOKENS = 8 * 48
TORCH_SHARE = 0.6
"""Of the peak of a large matrix product that whole decoder blocks reach."""

INPUT_ROLES = ("attn_q", "attn_qkv", "attn_output", "ffn_up", "ffn_down")
"""One matrix for each input that matrices share."""

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
    stages = []
    if chosen.format != "source":
        stages = _making(model, chosen, calibration)
    stages.append(_evaluation(model, chosen, questions or DEFAULT_QUESTIONS))
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


def _making(
    model: ModelSpec, chosen: Candidate, calibration: Calibration | None
) -> list[StageCost]:
    """Intake, its check, calibration and compression: torch sees one block at a time."""
    basis = "calibrated" if calibration else "formula"
    flops = TORCH_SHARE * (
        calibration.float_operations_per_second if calibration else FLOAT_OPERATIONS_PER_SECOND
    )
    half, block = 2 * model.parameters, 4 * model.parameters // max(model.layers, 1)
    hidden = 2 * 4 * CALIBRATION_TOKENS * model.embedding_length
    onnx = chosen.format in ONNX_FORMATS
    kind = ONNX_FORMATS[chosen.format].type if onnx else PRESETS[chosen.format].base
    measured = calibration.kernels.get(kind) if calibration else None
    rate = measured.quantize_weights_per_second if measured else None
    largest = _largest_tensor_bytes(model)
    return [
        StageCost(
            stage="intake",
            seconds=(model.file_bytes + half) / DISK_BYTES_PER_SECOND + 1,
            peak_memory_bytes=WORKER_BYTES + largest,
            disk_bytes=2 * half if model.source == "gguf" else half,
            basis="formula",
        ),
        StageCost(
            stage="check",
            seconds=START_SECONDS + 2 * model.parameters * CHECKED_TOKENS / flops,
            peak_memory_bytes=TORCH_BYTES + 2 * block,
            disk_bytes=0,
            basis=basis,
        ),
        StageCost(
            stage="calibration",
            seconds=START_SECONDS + 2 * model.parameters * CALIBRATION_TOKENS / flops,
            peak_memory_bytes=TORCH_BYTES + 2 * block + hidden,
            disk_bytes=8 * CALIBRATION_TOKENS,
            basis=basis,
        ),
        StageCost(
            stage="rounding",
            seconds=START_SECONDS + _gptq_operations(model) / flops,
            peak_memory_bytes=TORCH_BYTES + 4 * block + hidden,
            disk_bytes=6 * model.parameters,
            basis=basis,
        ),
        StageCost(
            stage="compression",
            seconds=model.parameters / (rate or QUANTIZE_WEIGHTS_PER_SECOND) + 1,
            # The ONNX builder holds the float model, and the graph it makes of it.
            peak_memory_bytes=TORCH_BYTES + 8 * model.parameters
            if onnx
            else WORKER_BYTES + 3 * largest,
            disk_bytes=chosen.file_bytes + (4 * model.parameters if onnx else 0),
            basis="calibrated" if rate else "formula",
        ),
    ]


def _gptq_operations(model: ModelSpec) -> float:
    """Two passes of the calibration, X^T X of every matrix's input, and the sweep over columns."""
    passes = 4.0 * model.parameters * CALIBRATION_TOKENS
    matrices = [t for t in model.tensors if len(t.shape) == 2 and t.name.startswith("blk.")]
    hessians = sum(
        2.0 * CALIBRATION_TOKENS * t.shape[1] ** 2
        for t in matrices
        if any(f".{role}." in t.name for role in INPUT_ROLES)
    )
    return passes + hessians + sum(2.0 * t.shape[0] * t.shape[1] ** 2 for t in matrices)


def _evaluation(model: ModelSpec, chosen: Candidate, questions: int) -> StageCost:
    """Base and artifact both read everything; the float base is slower by its bytes."""
    speed, half = chosen.speed, 2 * model.parameters
    read = 2 * (questions * QUESTION_TOKENS + DIVERGENCE_TOKENS) / speed.prefill_tokens_per_second
    slower = max(1.0, half / chosen.file_bytes)
    written = WRITTEN_SHARE * questions * ANSWER_TOKENS * (1 + slower)
    return StageCost(
        stage="evaluation",
        seconds=read + written / speed.decode_tokens_per_second + 10,
        peak_memory_bytes=chosen.memory.total_bytes + half,
        disk_bytes=2 * 10**6,
        basis=speed.basis,
    )


def _largest_tensor_bytes(model: ModelSpec) -> int:
    return 4 * max(tensor.elements for tensor in model.tensors)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
