"""Distillation: a smaller model learns from a larger one (Hinton et al. 2015, arXiv 1503.02531).

loss = kl_weight T^2 KL(teacher || student at temperature T)
     + intermediate_weight (MSE of the states halfway down and before the head, over their power)
     + cross_entropy_weight (next token)

The KL runs over the teacher's k likeliest tokens and one bucket for all others: a lower bound of
the full KL that meets it as k grows. Where the student is narrower, a linear map that is trained
along and thrown away stands between its states and the teacher's. AdamW, linear warm-up, cosine
decay.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from edgecomp.atomic import write_text
from edgecomp.compress.checkpoint import copy_companions, write_shard
from edgecomp.compress.distill_targets import Targets
from edgecomp.distillation import Distillation, DivergenceAt, History
from edgecomp.errors import CompressionSettingsInvalid
from edgecomp.events import Progress, ignore_progress
from edgecomp.huggingface.model import read_json, stored_tensors

STATE, HISTORY = "distillation.safetensors", "distillation.json"


def distill(
    student: Path,
    tokens: Tensor,
    targets: Targets,
    destination: Path,
    settings: Distillation,
    *,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> History:
    """Train the checkpoint `student` on tokens int64 [samples, length] towards `targets` of the
    same tokens, and write the best model seen to `destination`.

    Weights that are zero in the student stay zero, so that a pruned one stays pruned. A killed run
    goes on from the last measurement. `progress` counts steps. Raises CompressionSettingsInvalid
    where too few samples are left to train on, NotWritable, DiskFull.
    """
    run = _Run(student, tokens, targets, destination, settings, device)
    run.resume()
    steps = run.budget()
    while run.step < steps and not run.history.stopped_early:
        progress(run.step, steps)
        if run.step % settings.evaluate_every == 0:
            run.measure()
        run.learn()
    if not run.history.stopped_early:
        run.measure()
    run.finish()
    progress(steps, steps)
    return run.history


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


def _keep_zeros(alive: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * alive


class _Run:
    """A training run: the model, its optimizer, and what has been measured."""

    def __init__(
        self,
        student: Path,
        tokens: Tensor,
        targets: Targets,
        destination: Path,
        settings: Distillation,
        device: str,
    ) -> None:
        self.source, self.destination, self.settings = student, destination, settings
        self.tokens, self.targets, self.device = tokens, targets, device
        held_out = max(1, round(settings.held_out_share * len(tokens)))
        if len(tokens) - held_out < 1:
            raise CompressionSettingsInvalid(
                f"{len(tokens)} samples are too few to train on and hold some out. Give more."
            )
        self.training, self.held_out = len(tokens) - held_out, held_out
        torch.manual_seed(settings.seed)
        model: Any = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
        self.model: Any = model.to(device).train()
        teacher_width = targets.batch(torch.tensor([0]))["last"].shape[-1]
        width = int(self.model.config.get_text_config().hidden_size)
        self.maps = nn.ModuleList(
            nn.Identity() if width == teacher_width else nn.Linear(width, teacher_width)
            for _ in ("middle", "last")
        ).to(device)
        self.parameters = [*self.model.named_parameters(), *self.maps.named_parameters("maps")]
        self.optimizer = torch.optim.AdamW(
            [parameter for _, parameter in self.parameters], lr=1.0, weight_decay=0.0
        )
        for parameter in self.model.parameters():
            if (parameter == 0).any():
                parameter.register_hook(_keep_zeros(parameter.detach() != 0))
        self.step = 0
        self.history = History(points=(), steps=settings.steps)

    def budget(self) -> int:
        """The steps there will be. A budget in minutes is made into steps once, by timing a step
        and its share of the measurements, so that the schedule knows its end and a resumed run
        keeps it."""
        if self.history.steps is None:
            settings = self.settings
            for _ in range(2):  # the first one warms up
                begun = time.monotonic()
                torch.autograd.backward(self._loss(self._samples(0)))
                batch_seconds = time.monotonic() - begun
            self.optimizer.zero_grad()
            # A forward pass is a third of a training step.
            measuring = batch_seconds * self.held_out / settings.batch_samples / 3
            step_seconds = (
                batch_seconds * settings.accumulation + measuring / settings.evaluate_every
            )
            steps = max(1, round(60 * (settings.minutes or 0) / step_seconds))
            self.history = self.history.model_copy(update={"steps": steps})
        assert self.history.steps is not None
        return self.history.steps

    def learn(self) -> None:
        """One step of the optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        for part in range(self.settings.accumulation):
            loss = self._loss(self._samples(part)) / self.settings.accumulation
            torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([parameter for _, parameter in self.parameters], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

    def _learning_rate(self) -> float:
        steps = self.budget()
        warmup = max(1, round(self.settings.warmup_share * steps))
        if self.step < warmup:
            return self.settings.learning_rate * (self.step + 1) / warmup
        share = (self.step - warmup) / max(1, steps - warmup)
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def _samples(self, part: int) -> Tensor:
        """Which samples a step sees depends on the seed and the step alone, so that a resumed run
        sees the same."""
        number = (self.step * self.settings.accumulation + part) * self.settings.batch_samples
        chosen = []
        for i in range(number, number + self.settings.batch_samples):
            epoch, place = divmod(i, self.training)
            random = torch.Generator().manual_seed(self.settings.seed + epoch)
            chosen.append(int(torch.randperm(self.training, generator=random)[place]))
        return torch.tensor(chosen)

    def _forward(self, samples: Tensor) -> tuple[Any, dict[str, Tensor], Tensor]:
        tokens = self.tokens[samples].to(self.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device != "cpu"):
            output = self.model(tokens, use_cache=False, output_hidden_states=True)
        wanted = {n: t.to(self.device) for n, t in self.targets.batch(samples).items()}
        scaled = output.logits.float() / self.targets.temperature
        return output, wanted, divergence(scaled, wanted["ids"], wanted["log_probabilities"])

    def _loss(self, samples: Tensor) -> Tensor:
        settings = self.settings
        output, wanted, apart = self._forward(samples)
        loss: Tensor = settings.kl_weight * self.targets.temperature**2 * apart.mean()
        if settings.intermediate_weight:
            states = output.hidden_states
            for map_, state, name in zip(
                self.maps, (states[(len(states) - 1) // 2], states[-1]), ("middle", "last"),
                strict=True,
            ):  # fmt: skip
                power = wanted[name].square().mean()
                error = (map_(state.float()) - wanted[name]).square().mean() / power
                loss = loss + 0.5 * settings.intermediate_weight * error
        if settings.cross_entropy_weight:
            following = self.tokens[samples, 1:].to(self.device).flatten()
            logits = output.logits[:, :-1].float().flatten(0, 1)
            loss = loss + settings.cross_entropy_weight * nn.functional.cross_entropy(
                logits, following
            )
        return loss

    @torch.no_grad()
    def measure(self) -> None:
        """Measure the held-out divergence, save the state, note whether it still falls."""
        if self.history.points and self.history.points[-1].step == self.step:
            return  # resumed from here
        self.model.eval()
        samples = torch.arange(self.training, self.training + self.held_out)
        batches = torch.split(samples, self.settings.batch_samples)
        parts = [self._forward(part)[2] for part in batches]
        self.model.train()
        point = DivergenceAt(step=self.step, divergence=float(torch.cat(parts).mean()))
        points = (*self.history.points, point)
        best = min(points, key=lambda p: p.divergence)
        since = sum(p.step > best.step for p in points)
        self.history = self.history.model_copy(
            update={"points": points, "stopped_early": since >= self.settings.patience}
        )
        self._save(best is point)

    def _save(self, best: bool) -> None:
        """The state of the optimizer as plain tensors; what is best so far beside it."""
        tensors = {}
        for name, parameter in self.parameters:
            tensors[f"weight.{name}"] = parameter.detach()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value
        if best:
            best_weights = self.model.named_parameters()
            tensors |= {f"best.{name}": p.detach().clone() for name, p in best_weights}
        else:
            old = load_file(self.destination / STATE)
            tensors |= {n: t for n, t in old.items() if n.startswith("best.")}
        tensors["step"] = torch.tensor(self.step)
        write_shard(self.destination / STATE, tensors)
        write_text(self.destination / HISTORY, self._record())

    def _record(self) -> str:
        said = {
            "settings": self.settings.model_dump(),
            "history": self.history.model_dump(mode="json"),
        }
        return json.dumps(said, indent=2) + "\n"

    @torch.no_grad()
    def resume(self) -> None:
        """Take up a run with these settings, if the destination holds one."""
        state, record = self.destination / STATE, self.destination / HISTORY
        if not (state.is_file() and record.is_file()):
            return
        said = read_json(record)
        if said.get("settings") != self.settings.model_dump():
            return
        tensors = load_file(state)
        history = History.model_validate(said["history"])
        self.step = int(tensors["step"])
        # The state is written before its record: a kill between the two loses one measurement.
        kept = tuple(point for point in history.points if point.step <= self.step)
        self.history = history.model_copy(update={"points": kept})
        for name, parameter in self.parameters:
            parameter.copy_(tensors[f"weight.{name}"])
            self.optimizer.state[parameter] = {
                key: tensors[f"{key}.{name}"].to(parameter.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in tensors
            }

    def finish(self) -> None:
        """Write the best model as a checkpoint with the student's names."""
        tensors = load_file(self.destination / STATE)
        weights = {
            name: tensors[f"best.{name}"]
            for name in stored_tensors(self.source)
            if f"best.{name}" in tensors
        }
        write_shard(self.destination / "model.safetensors", weights)
        copy_companions(self.source, self.destination, torch.float32)
        (self.destination / STATE).unlink()
