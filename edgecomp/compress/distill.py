"""Distillation: a smaller model learns from a larger one (Hinton et al. 2015, arXiv 1503.02531).

loss = kl_weight T^2 KL(teacher || student at temperature T)
     + intermediate_weight (MSE of the states halfway down and before the head, over their power)
     + cross_entropy_weight (next token)

The KL runs over the teacher's k likeliest tokens and one bucket for all others: a lower bound of
the full KL that meets it as k grows. Where the student is narrower, a linear map that is trained
along and thrown away stands between its states and the teacher's. AdamW, linear warm-up, cosine
decay. Several processes, one a device, share each step's samples (accelerate averages their
gradients), so that their number changes how long a step takes and nothing of what it does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress.distill_loss import Outputs, Student, distillation_loss, divergence
from edgecomp.compress.distill_state import save_record, save_state, take_up, write_best
from edgecomp.compress.distill_targets import Targets
from edgecomp.compress.ranks import joined
from edgecomp.recipes.distillation import Distillation, DivergenceAt, History


class Training(NamedTuple):
    """What is trained, on what, towards what, and where the best model seen goes."""

    student: Path
    tokens: Tensor
    """int64 [samples, length]"""

    targets: Targets
    """Of the same tokens."""

    destination: Path
    settings: Distillation


def distill(
    training: Training,
    *,
    device: str = "cpu",
    devices: int = 1,
    progress: Progress = ignore_progress,
) -> History:
    """Train a checkpoint towards its teacher's targets.

    Of the machine's `devices` of the kind `device`, each with a process of its own, as many are
    used as share a step's samples evenly. Weights that are zero in the student stay zero, so that a
    pruned one stays pruned. A killed run goes on from the last measurement. `progress` counts
    steps. Raises CompressionSettingsInvalid where too few samples are left to train on,
    NotWritable, DiskFull.
    """
    count = processes(training.settings, devices)
    student, tokens, targets, destination, settings = training
    rest = (student, tokens.numpy(), targets.folder, destination, settings, device)
    with joined(count, _train_beside, *rest):
        return _train(training, device, progress)


def processes(settings: Distillation, devices: int) -> int:
    """The most processes, at most one a device, that share a step's samples evenly."""
    samples = settings.batch_samples * settings.accumulation
    return max(count for count in range(1, max(devices, 1) + 1) if samples % count == 0)


def _train_beside(
    student: Path,
    tokens: Any,
    targets: Path,
    destination: Path,
    settings: Distillation,
    device: str,
) -> None:
    """What every rank but the first does: the same, and writes and reports nothing."""
    rows = torch.from_numpy(tokens)
    training = Training(student, rows, Targets(targets), destination, settings)
    _train(training, device, ignore_progress)


def _train(training: Training, device: str, progress: Progress) -> History:
    run = _Run(training, device)
    run.resume()
    steps = run.budget()
    while run.step < steps and not run.history.stopped_early:
        progress(run.step, steps)
        if run.step % training.settings.evaluate_every == 0:
            run.measure()
        run.learn()
    if not run.history.stopped_early:
        run.measure()
    run.finish()
    progress(steps, steps)
    return run.history


def _keep_zeros(alive: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * alive


class _Run:
    """A training run: the model, its optimizer, and what has been measured."""

    def __init__(self, training: Training, device: str) -> None:
        student, tokens, targets, destination, settings = training
        self.source, self.destination, self.settings = student, destination, settings
        self.tokens, self.targets = tokens, targets
        held_out = max(1, round(settings.held_out_share * len(tokens)))
        if len(tokens) - held_out < 1:
            raise CompressionSettingsInvalid(
                f"{len(tokens)} samples are too few to train on and hold some out. Give more."
            )
        self.training, self.held_out = len(tokens) - held_out, held_out
        torch.manual_seed(settings.seed)
        width = targets.batch(torch.tensor([0]))["last"].shape[-1]
        matches_states = bool(settings.intermediate_weight)
        self.student = Student(student, width, matches_states=matches_states).train()
        self.powers = self._powers()
        self.parameters = [
            *self.student.model.named_parameters(),
            *self.student.maps.named_parameters("maps"),
        ]
        self._accelerate(device)
        for parameter in self.student.model.parameters():
            if (parameter == 0).any():
                parameter.register_hook(_keep_zeros(parameter.detach() != 0))
        self.step = 0
        self.history = History(points=(), steps=settings.steps)

    def _accelerate(self, device: str) -> None:
        """Put the student on this process's device, its gradients averaged with the others'."""
        cpu, settings = device == "cpu", self.settings
        # Cards that only emulate bfloat16 are slower with it.
        exact = cpu or not torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "no" if exact else "bf16"
        self.accelerator = Accelerator(cpu=cpu, mixed_precision=precision)
        self.share = (
            settings.batch_samples * settings.accumulation // self.accelerator.num_processes
        )
        self.batches = -(-self.share // settings.batch_samples)
        self.accelerator.gradient_accumulation_steps = self.batches
        weights = [parameter for _, parameter in self.parameters]
        adam = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0)
        # A name of its own: what is measured and saved is the student without its wrapping.
        self.trained, self.optimizer = self.accelerator.prepare(self.student, adam)

    def _powers(self) -> dict[str, float]:
        """The mean square of the teacher's states, on the held-out samples: the same for every
        batch, so that a step's loss is a mean over its samples."""
        wanted = self.targets.batch(self._held_out())
        return {name: float(wanted[name].square().mean()) for name in self.student.maps}

    def budget(self) -> int:
        """The steps there will be. A budget in minutes is made into steps once, by timing a step
        and its share of the measurements, so that the schedule knows its end and a resumed run
        keeps it."""
        if self.history.steps is None:
            settings = self.settings
            samples = self._samples()[: settings.batch_samples]
            for _ in range(2):  # the first one warms up
                begun = time.monotonic()
                self.accelerator.backward(self._loss(samples))
                if self.accelerator.device.type != "cpu":
                    torch.accelerator.synchronize()  # a card has only been told what to do
                batch_seconds = time.monotonic() - begun
            self.optimizer.zero_grad()
            # A forward pass is a third of a training step.
            held_out = self.held_out / self.accelerator.num_processes
            measuring = batch_seconds * held_out / settings.batch_samples / 3
            step_seconds = batch_seconds * self.batches + measuring / settings.evaluate_every
            # Each process has timed its own: all go by the first one's.
            steps = [max(1, round(60 * (settings.minutes or 0) / step_seconds))]
            broadcast_object_list(steps)
            self.history = self.history.model_copy(update={"steps": steps[0]})
        assert self.history.steps is not None
        return self.history.steps

    def learn(self) -> None:
        """One step of the optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        for samples in torch.tensor_split(self._samples(), self.batches):
            with self.accelerator.accumulate(self.trained):
                # The means of batches and of processes become the mean over the step's samples.
                weight = len(samples) * self.batches / self.share
                self.accelerator.backward(weight * self._loss(samples))
                if self.accelerator.sync_gradients:
                    weights = [parameter for _, parameter in self.parameters]
                    self.accelerator.clip_grad_norm_(weights, 1.0)
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

    def _samples(self) -> Tensor:
        """This process's samples of the step. All of a step's depend on the seed and the step
        alone, so that a resumed run sees the same."""
        number = self.step * self.share * self.accelerator.num_processes
        number += self.share * self.accelerator.process_index
        chosen = []
        for i in range(number, number + self.share):
            epoch, place = divmod(i, self.training)
            random = torch.Generator().manual_seed(self.settings.seed + epoch)
            chosen.append(int(torch.randperm(self.training, generator=random)[place]))
        return torch.tensor(chosen)

    def _held_out(self) -> Tensor:
        return torch.arange(self.training, self.training + self.held_out)

    def _batch(self, samples: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Tokens and targets of some samples, on this process's device."""
        device = self.accelerator.device
        wanted = self.targets.batch(samples)
        return self.tokens[samples].to(device), {n: t.to(device) for n, t in wanted.items()}

    def _loss(self, samples: Tensor) -> Tensor:
        tokens, wanted = self._batch(samples)
        output = Outputs(*self.trained(tokens))
        temperature = self.targets.temperature
        return distillation_loss(output, tokens, wanted, self.powers, temperature, self.settings)

    def _held_out_divergence(self) -> float:
        """The mean over the held-out samples, of which each process measures its share."""
        samples = torch.tensor_split(self._held_out(), self.accelerator.num_processes)
        total = torch.zeros(2, dtype=torch.float64)
        for part in torch.split(
            samples[self.accelerator.process_index], self.settings.batch_samples
        ):
            if len(part):
                tokens, wanted = self._batch(part)
                scaled = self.student(tokens).logits / self.targets.temperature
                apart = divergence(scaled, wanted["ids"], wanted["log_probabilities"])
                total += torch.tensor([float(apart.double().sum()), apart.numel()])
        summed, count = self.accelerator.reduce(total.to(self.accelerator.device)).tolist()
        return float(summed / count)

    @torch.no_grad()
    def measure(self) -> None:
        """Measure the held-out divergence, save the state, note whether it still falls."""
        if self.history.points and self.history.points[-1].step == self.step:
            return  # resumed from here
        self.student.eval()
        found = self._held_out_divergence()
        self.student.train()
        point = DivergenceAt(step=self.step, divergence=found)
        points = (*self.history.points, point)
        best = min(points, key=lambda p: p.divergence)
        since = sum(p.step > best.step for p in points)
        self.history = self.history.model_copy(
            update={"points": points, "stopped_early": since >= self.settings.patience}
        )
        if self.accelerator.is_main_process:
            weights = self.student.model.named_parameters() if best is point else None
            save_state(self.destination, self.parameters, self.optimizer, self.step, weights)
            save_record(self.destination, self.settings, self.history)

    def resume(self) -> None:
        """Take up a run with these settings, if the destination holds one."""
        found = take_up(self.destination, self.settings, self.parameters, self.optimizer)
        if found:
            self.step, self.history = found

    def finish(self) -> None:
        """Write the best model as a checkpoint with the student's names."""
        if self.accelerator.is_main_process:
            write_best(self.destination, self.source)
        self.accelerator.end_training()
