"""Tuning after rounding: codes stay, block scales, norms and biases learn from the float model.

After "EfficientQAT" (Chen et al. 2024, arXiv 2407.11062, its second phase), whose step sizes are
trained end to end; here towards the float model's predictions instead of text, with norms and
biases, and in the float16 that GGUF's blocks hold. The loss is the divergence of distill_loss.py
over the float model's likeliest tokens, kept once (distill_targets.py). Adam, linear warm-up,
cosine decay, every parameter in steps that are shares of its own size, and smaller ones where
little was lost. The held-out rows, which are not trained on, choose between the rounded model and
what came out of each pass.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgecomp.common.errors import ArchitectureUnsupported, CompressionSettingsInvalid
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress.checkpoint import (
    copy_companions,
    find_stored,
    read_tensor,
    write_index,
    write_shard,
)
from edgecomp.compress.distill_loss import divergence
from edgecomp.compress.distill_targets import Targets
from edgecomp.compress.gguf_scales import SCALE_PLACES, dequantized
from edgecomp.compress.packed import FOLDER, read_packed, read_packed_index, write_packed_index
from edgecomp.compress.scaled_linear import ScaledEmbedding, ScaledLinear, ScaledMatrix
from edgecomp.compress.whole_model import load_whole
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.safetensors_header import StoredTensor, read_safetensors_header
from edgecomp.recipes.distillation import DivergenceAt
from edgecomp.recipes.tuning import Tuned, TuningSettings

BETAS = (0.9, 0.99)
"""Adam's: passes are short, and its usual 0.999 would still remember their beginning at the end."""


class Tuning(NamedTuple):
    """What is tuned, on what, towards what, and where the result goes."""

    rounded: Path
    """A checkpoint with packed codes beside it."""

    tokens: Tensor
    """int64 [rows, length]"""

    targets: Targets
    """Of the float model, on the same tokens."""

    destination: Path
    settings: TuningSettings


def tune(tuning: Tuning, *, device: str = "cpu", progress: Progress = ignore_progress) -> Tuned:
    """Fit the scales, norms and biases of a rounded checkpoint, and write it where its divergence
    on the held-out rows fell; `destination` is empty where it did not.

    `progress` counts rows. Raises CompressionSettingsInvalid where too few rows are left to train
    on, NotWritable, DiskFull.
    """
    shutil.rmtree(tuning.destination, ignore_errors=True)
    run = _Run(tuning, device, progress)
    best, points = None, [run.measured()]
    share = points[0].divergence / tuning.settings.rated_nats
    run.caution = min(1.0, math.sqrt(max(0.0, share)))
    for number in range(tuning.settings.passes):
        run.learn(number)
        points.append(run.measured())
        if points[-1].divergence < min(point.divergence for point in points[:-1]):
            best = {name: p.detach().clone() for name, p in run.trained.items()}
    if best is not None:
        with torch.no_grad():
            for name, parameter in run.trained.items():
                parameter.copy_(best[name])
        _write(tuning, run.student)
    return Tuned(points=tuple(points))


class Student(NamedTuple):
    """A rounded model that can be trained, and its matrices by their names in the checkpoint."""

    model: nn.Module
    matrices: dict[str, ScaledMatrix]
    vectors: dict[str, nn.Parameter]
    """Norms and biases, likewise."""


class _Run:
    """A tuning: the student, its optimizer, and which rows are held out."""

    def __init__(self, tuning: Tuning, device: str, progress: Progress) -> None:
        settings, rows = tuning.settings, len(tuning.tokens)
        self.tuning, self.device = tuning, device
        random = torch.Generator().manual_seed(settings.seed)
        shuffled = torch.randperm(rows, generator=random)
        held_out = max(1, round(settings.held_out_share * rows))
        self.held_out, self.training = shuffled[:held_out], shuffled[held_out:]
        if not len(self.training):
            raise CompressionSettingsInvalid(
                f"{rows} rows are too few to tune on and hold some out. Give more samples."
            )
        self.batch = min(settings.batch_rows, len(self.training))
        self.steps = settings.passes * (len(self.training) // self.batch)
        self.step = self.rows_seen = 0
        self.total = settings.passes * len(self.training) + (settings.passes + 1) * held_out
        self.progress, self.caution = progress, 1.0
        self.student = trainable(tuning.rounded, device)
        self.rates, self.trained = _rates(self.student, settings)
        groups = [{"params": [p], "lr": self.rates[name]} for name, p in self.trained.items()]
        self.optimizer = torch.optim.Adam(groups, lr=1.0, betas=BETAS)

    def learn(self, number: int) -> None:
        """One pass over the rows that are trained on, in an order of its own."""
        random = torch.Generator().manual_seed(self.tuning.settings.seed + 1 + number)
        order = self.training[torch.randperm(len(self.training), generator=random)]
        for first in range(0, len(order) - self.batch + 1, self.batch):
            for row in order[first : first + self.batch]:
                (self._divergence(row[None]).mean() / self.batch).backward()  # type: ignore[no-untyped-call]
            share = self.caution * self._share_of_rate()
            for group, rate in zip(self.optimizer.param_groups, self.rates.values(), strict=True):
                group["lr"] = rate * share
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1

    @torch.no_grad()
    def measured(self) -> DivergenceAt:
        """The mean divergence on the held-out rows, as things are."""
        found = [self._divergence(row[None]).double().mean() for row in self.held_out]
        return DivergenceAt(step=self.step, divergence=float(torch.stack(found).mean()))

    def _divergence(self, rows: Tensor) -> Tensor:
        """Nats at each position of some rows."""
        self.progress(self.rows_seen, self.total)
        self.rows_seen += len(rows)
        wanted = {n: t.to(self.device) for n, t in self.tuning.targets.batch(rows).items()}
        tokens = self.tuning.tokens[rows].to(self.device)
        logits = self.student.model(tokens, use_cache=False).logits.float()
        return divergence(logits, wanted["ids"], wanted["log_probabilities"])

    def _share_of_rate(self) -> float:
        warmup = max(1, round(self.tuning.settings.warmup_share * self.steps))
        if self.step < warmup:
            return (self.step + 1) / warmup
        share = (self.step - warmup) / max(1, self.steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * share))


def _rates(
    student: Student, settings: TuningSettings
) -> tuple[dict[str, float], dict[str, nn.Parameter]]:
    """The learning rates and parameters by name, of those that are trained; the others are told
    that they need no gradient."""
    student.model.requires_grad_(requires_grad=False)
    rates, trained = {}, {}
    if settings.scale_rate:
        for name, matrix in student.matrices.items():
            rates[name], trained[name] = settings.scale_rate, matrix.change
    if settings.norm_rate:
        for name, vector in student.vectors.items():
            size = float(vector.detach().square().mean().sqrt())
            rates[name], trained[name] = settings.norm_rate * size, vector
    for parameter in trained.values():
        parameter.requires_grad_()
    return rates, trained


def trainable(rounded: Path, device: str = "cpu") -> Student:
    """The model of a rounded checkpoint; its linears in a type with float16 scales, and a tied head
    that has codes, compute from codes and scales. All other matrices are as the checkpoint holds
    them. Raises what transformers raises for a model that it does not know."""
    model: Any = load_whole(rounded)
    stored, codes = stored_tensors(rounded), _codes(rounded)
    matrices: dict[str, ScaledMatrix] = {}
    # By name, so that nothing here keeps a float matrix alive once it is replaced.
    for name in [name for name, _ in model.named_modules()]:
        module = model.get_submodule(name)
        weight = _stored_name(stored, f"{name}.weight")
        if not isinstance(module, nn.Linear | nn.Embedding) or weight not in codes:
            continue
        matrices[weight] = matrix = ScaledMatrix(*codes.pop(weight))
        if isinstance(module, nn.Embedding):
            factor = getattr(module, "embed_scale", 1.0)
            _replace(model, module, ScaledEmbedding(matrix, factor))
            module = model.get_output_embeddings()  # Tied: no other embedding has codes.
        _replace(model, module, ScaledLinear(matrix, module.bias, gradient_type(device)))
    model.to(device)
    for matrix in matrices.values():
        matrix.to_device(device)
    found = ((_stored_name(stored, name), vector) for name, vector in model.named_parameters())
    vectors = {name: vector for name, vector in found if name and vector.ndim == 1}
    return Student(model, matrices, vectors)


def gradient_type(device: str) -> torch.dtype:
    """The type of gradients: bfloat16 where the device multiplies it faster than float32."""
    fast = (
        torch.cpu._is_avx512_bf16_supported()
        if device == "cpu"
        else torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return torch.bfloat16 if fast else torch.float32


def _codes(rounded: Path) -> dict[str, tuple[str, Tensor]]:
    """Types and bytes of the matrices that can be tuned, by their names in the checkpoint. Those of
    experts lie in one tensor, and stay."""
    index = read_packed_index(rounded)
    return {
        entry.tensor.partition(":")[2]: (entry.type, read_packed(rounded, entry))
        for entry in (index.tensors.values() if index else ())
        if entry.type in SCALE_PLACES and len(entry.shape) == 2
    }


def _stored_name(stored: Mapping[str, StoredTensor], name: str) -> str | None:
    try:
        return find_stored(stored, name).name
    except ArchitectureUnsupported:
        return None


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)


def _write(tuning: Tuning, student: Student) -> None:
    """Write the tuned checkpoint: what was trained as it now is, all else byte by byte."""
    rounded, folder = tuning.rounded, tuning.destination
    packed = {name: matrix.packed() for name, matrix in student.matrices.items()}
    for file in sorted((rounded / FOLDER).glob("*.safetensors")):
        entries = read_safetensors_header(file).items()
        rows = {key: packed.get(key.partition(":")[2], read_tensor(s)) for key, s in entries}
        write_shard(folder / FOLDER / file.name, rows)
    shards, size = {}, 0
    for file in sorted(rounded.glob("*.safetensors")):
        shards[file.name] = read_safetensors_header(file)
        tensors = {name: _tuned(student, packed, s) for name, s in shards[file.name].items()}
        write_shard(folder / file.name, tensors)
        size += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    write_packed_index(rounded, folder)
    copy_companions(rounded, folder, torch.float32)
    write_index(folder, shards, size)


def _tuned(student: Student, packed: Mapping[str, Tensor], stored: StoredTensor) -> Tensor:
    """What the tuned checkpoint holds of a tensor: of a matrix exactly what its bytes stand for."""
    vector, matrix = student.vectors.get(stored.name), student.matrices.get(stored.name)
    if vector is not None:
        return vector.detach().cpu()
    return dequantized(matrix.kind, packed[stored.name]) if matrix else read_tensor(stored)
