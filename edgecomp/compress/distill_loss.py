"""What a student is trained by: its divergence from the teacher, and the match of its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from edgecomp.recipes.distillation import Distillation

STATES = ("middle", "last")
"""Halfway down, and before the head."""


class Outputs(NamedTuple):
    """Logits float32 [samples, length, vocabulary]; states float32 [samples, length, teacher's
    width], by name."""

    logits: Tensor
    states: dict[str, Tensor]


class Student(nn.Module):
    """The student, and linear maps from its states to the teacher's width where that is larger.

    One module, so that the gradients of both are averaged over the processes of a training.
    """

    def __init__(self, checkpoint: Path, teacher_width: int, *, matches_states: bool) -> None:
        super().__init__()
        self.model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        width = int(self.model.config.get_text_config().hidden_size)
        self.maps = nn.ModuleDict()
        if matches_states:
            same = width == teacher_width
            for name in STATES:
                self.maps[name] = nn.Identity() if same else nn.Linear(width, teacher_width)

    def forward(self, tokens: Tensor) -> Outputs:
        output = self.model(tokens, use_cache=False, output_hidden_states=bool(self.maps))
        if not self.maps:
            return Outputs(output.logits.float(), {})
        hidden = output.hidden_states
        of_teacher = {"middle": hidden[(len(hidden) - 1) // 2], "last": hidden[-1]}
        states = {name: self.maps[name](state.float()) for name, state in of_teacher.items()}
        return Outputs(output.logits.float(), states)


def divergence(logits: Tensor, ids: Tensor, log_probabilities: Tensor) -> Tensor:
    """KL of the student from the teacher, nats, [...]: over the teacher's top k, ids and
    log_probabilities [..., k], and one bucket for the rest; student logits [..., vocabulary]."""
    student = torch.log_softmax(logits, dim=-1).gather(-1, ids)
    teacher = log_probabilities.exp()
    top = (teacher * (log_probabilities - student)).sum(dim=-1)
    smallest = torch.finfo(logits.dtype).eps
    rest = (1 - teacher.sum(dim=-1)).clamp_min(0)
    student_rest = (1 - student.exp().sum(dim=-1)).clamp_min(smallest)
    return top + torch.where(
        rest > smallest, rest * (rest.clamp_min(smallest).log() - student_rest.log()), 0
    )


def distillation_loss(
    output: Outputs,
    tokens: Tensor,
    wanted: dict[str, Tensor],
    powers: dict[str, float],
    temperature: float,
    settings: Distillation,
) -> Tensor:
    """The loss of some samples, tokens int64 [samples, length]: a mean over them, so that however a
    step's samples are dealt out, its gradient is the same.

    `wanted`: their targets (distill_targets.py); `powers`: the mean square of the teacher's states.
    """
    apart = divergence(output.logits / temperature, wanted["ids"], wanted["log_probabilities"])
    loss: Tensor = settings.kl_weight * temperature**2 * apart.mean()
    for name, state in output.states.items():
        error = (state - wanted[name]).square().mean() / powers[name]
        loss = loss + settings.intermediate_weight / len(output.states) * error
    if settings.cross_entropy_weight:
        logits = output.logits[:, :-1].flatten(0, 1)
        loss = loss + settings.cross_entropy_weight * nn.functional.cross_entropy(
            logits, tokens[:, 1:].flatten()
        )
    return loss
