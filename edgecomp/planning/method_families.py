"""What becomes of each family of methods, what a task must be tested on, and what to know first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgecomp.common.quantity import format_duration, format_size
from edgecomp.devices.profile import DeviceProfile
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.plan import Candidate, Family
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.stages import DistillStage, Stage

DISTILLATION_TOKENS = 100 * 10**6
"""A short recovery run; published students take a thousand times as many."""

TRAINING_TYPES = ("bf16", "fp16", "fp32")
EXTRAPOLATED_PARAMETERS = 70 * 10**9


def method_families(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    ranked: Sequence[Candidate],
    stages: Sequence[Stage] = (),
) -> tuple[Family, ...]:
    """Each family, kept or out with its reason (R2, R24). `stages`: what the user asked for."""
    training = format_duration(distillation_seconds(model, device))
    works = any(not row.rejections for row in ranked)
    return (
        Family(
            name="quantization",
            kept=works,
            reason=(
                "The best trade-off without training: 2-4 x smaller, its loss measured afterwards."
                if works
                else "No format meets the constraints."
            ),
        ),
        _asked("pruning", [s for s in stages if not isinstance(s, DistillStage)])
        or Family(
            name="pruning",
            kept=False,
            reason=(
                "Unstructured and N:M sparsity save neither memory nor time in GGUF runtimes, "
                "which have no kernels for it; removing whole layers or neurons needs "
                "distillation after."
            ),
        ),
        _asked("distillation", [s for s in stages if isinstance(s, DistillStage)])
        or Family(
            name="distillation",
            kept=False,
            reason=(
                f"It needs a training run, about {training} there for "
                f"{DISTILLATION_TOKENS / 1e6:.0f} M tokens, and no training budget is given."
            ),
        ),
    )


def _asked(name: Literal["pruning", "distillation"], stages: Sequence[Stage]) -> Family | None:
    """The family where the user asked for it."""
    if not stages:
        return None
    return Family(name=name, kept=True, reason=f"Asked for: {'; '.join(s.title for s in stages)}.")


def distillation_seconds(model: ModelSpec, device: DeviceProfile) -> float:
    """Time of a short distillation: 6 operations a student weight and token, 2 a teacher's."""
    student = 0.5 * model.parameters
    operations = (6 * student + 2 * model.parameters) * DISTILLATION_TOKENS
    peak = max(
        rate
        for processor in device.processors
        for kind, rate in processor.peak.items()
        if kind in TRAINING_TYPES
    )
    return operations / (0.4 * peak)


def notices(
    model: ModelSpec, device: DeviceProfile, ranked: Sequence[Candidate]
) -> tuple[str, ...]:
    """What the reader of the plan should know before believing it (R111-R116)."""
    texts = []
    half = 2 * model.parameters
    pools = [pool for pool in device.pools if pool.kind == "vram"] or [device.pools[0]]
    beside = min((row.memory.total_bytes - row.memory.weights_bytes for row in ranked), default=0)
    room = sum(pool.usable_bytes for pool in pools) - beside
    names = " and ".join(pool.name for pool in pools)
    if half > room > 0:
        texts.append(
            f"At 16 bits the weights take {format_size(half)}, and {names} has room for "
            f"{format_size(room)} beside the cache and the runtime: they must become at least "
            f"{half / room:.1f} x smaller, or part of them must stay outside it."
        )
    if model.quantization:
        texts.append(
            f"The source is already {model.quantization}: what is made from it is a second "
            "rounding, and losses are measured against this source, not against the original."
        )
    if model.layout == "unknown":
        texts.append(
            f"The architecture {model.architecture} is planned from its headers only; its weights "
            "cannot be rewritten here, and sizes may be off by a few kilobytes."
        )
    elif model.layout == "learned" and model.source == "huggingface":
        texts.append(
            f"llama.cpp's own converter writes {model.architecture}: sizes are planned from the "
            "checkpoint's headers, and may be off by a few percent until it has written the model."
        )
    if model.parameters > EXTRAPOLATED_PARAMETERS:
        texts.append("Above 70 B parameters the expected losses are extrapolated (R113).")
    if device.kind in ("phone", "board", "laptop", "desktop"):
        texts.append("Findings published for GPUs are not carried over: measure here (R114).")
    return tuple(texts)
