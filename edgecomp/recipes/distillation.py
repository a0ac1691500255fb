"""What a distillation is told, what it costs, and what it says when it is done.

The training itself is `edgecomp.compress.distill`; nothing here needs torch.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.spec import ModelSpec

LEAST_SHARE, MOST_SHARE = 0.4, 0.6
"""Share of the teacher's parameters that a student has (R41)."""

TARGET_BYTES = 4 + 2
"""Bytes of one token id and its log-probability in the cache."""

STATE_BYTES_PER_PARAMETER = 16
"""The weights, AdamW's two moments and the best weights seen, all float32."""


class Distillation(FrozenModel):
    """Settings of a distillation, which lasts so many steps or so many minutes."""

    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    """Made into steps by timing the first ones, so only `steps` give the same bytes again."""

    batch_samples: int = Field(default=4, gt=0)
    accumulation: int = Field(default=1, gt=0)
    """Batches whose gradients make one step, on however many devices."""

    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    kl_weight: float = 1.0
    intermediate_weight: float = 1.0
    cross_entropy_weight: float = 0.0
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    evaluate_every: int = Field(default=20, gt=0)
    """Steps between measurements of the held-out divergence, at which the state is saved."""

    patience: int = Field(default=5, gt=0)
    """Measurements without improvement after which training stops."""

    seed: int = 0

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give its budget once, as steps or as minutes")
        return self


class DivergenceAt(FrozenModel):
    """Held-out divergence from the teacher, nats a token, after so many steps."""

    step: int
    divergence: float


class History(FrozenModel):
    """What became of the held-out divergence."""

    schema_version: Literal[1] = 1
    points: tuple[DivergenceAt, ...]
    stopped_early: bool = False
    steps: int | None = None
    """The budget, once a budget in minutes has been made into steps."""


def check_share(teacher: ModelSpec, student: ModelSpec) -> None:
    """Raises CompressionSettingsInvalid unless the student has 40-60 % of the teacher's parameters
    (R41) and its vocabulary."""
    share = student.parameters / teacher.parameters
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise CompressionSettingsInvalid(
            f"The student has {share:.0%} of the teacher's parameters; distillation is known to "
            "work from 40 to 60 %. Prune it to that size first."
        )
    if teacher.vocabulary != student.vocabulary:
        raise CompressionSettingsInvalid(
            f"Teacher and student have vocabularies of {teacher.vocabulary:,} and "
            f"{student.vocabulary:,} tokens. They must share one tokenizer."
        )


def training_flops(student: ModelSpec, settings: Distillation, length: int) -> float:
    """Operations of a training of so many steps on rows of `length` tokens: 6 a parameter and token
    (Kaplan et al., arXiv 2001.08361)."""
    tokens = (settings.steps or 0) * settings.accumulation * settings.batch_samples * length
    return 6.0 * student.parameters * tokens


def target_bytes(teacher: ModelSpec, tokens: int, top_k: int) -> int:
    """Disk that the cached targets of so many tokens take: the top k, and two states in float16."""
    return tokens * (TARGET_BYTES * top_k + 2 * 2 * teacher.embedding_length)
