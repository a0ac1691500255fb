"""What each type would cost each tensor, measured on the calibration, block by block.

For a linear and a type, the layer's output error is tr(D H D^T), H = mean x x^T, D the rounding
error. What that does to the model depends on where the layer sits, so one type is tried for real:
the block runs with only this linear rounded, and the relative change of the block's output says
what the layer's error is worth. The experts of a layer are one GGUF tensor a kind, with one type:
their errors add up, and they are tried together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.events import Progress, ignore_progress
from edgecomp.formats import TENSOR_TYPES
from edgecomp.huggingface.model import gguf_names


def measure_sensitivities(
    checkpoint: Path,
    tokens: Tensor,
    types: Sequence[str],
    *,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> Sensitivities:
    """Measure what each of `types` costs each linear of a float checkpoint.

    tokens: int64 [samples, length]; a few thousand tokens do. Types whose block does not divide a
    tensor's columns are left out for that tensor. Raises what `walk` raises, and
    CompressionSettingsInvalid for a type without a solver.
    """
    name_of = gguf_names(checkpoint)
    coarsest_first = sorted(types, key=lambda kind: TENSOR_TYPES[kind].bits_per_weight)
    for kind in coarsest_first:
        gguf_grid(kind)
    found: list[TensorSensitivity] = []

    def measure(block: Block) -> None:
        plain = [block.run(batch) for batch in block.batches()]
        members: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for group, hessian in gather_hessians(block):
            for linear in group:
                name = name_of(block.weight_name(linear))
                if name is not None:
                    weight = block.linears[linear].weight
                    members.setdefault(name, []).append((weight, hessian))
        for name, matrices in members.items():
            losses = _losses(block, matrices, coarsest_first, plain)
            elements = sum(weight.numel() for weight, _ in matrices)
            found.append(TensorSensitivity(name=name, elements=elements, losses=losses))

    walk(checkpoint, tokens, measure, device=device, progress=progress)
    return Sensitivities(tensors=tuple(found))


def _losses(
    block: Block,
    matrices: Sequence[tuple[Tensor, Tensor]],
    types: Sequence[str],
    plain: Sequence[Tensor],
) -> dict[str, float]:
    """What each type costs one GGUF tensor: `matrices` are its weight and H, or those of every
    expert that lies in it."""
    columns = matrices[0][0].shape[1]
    usable = [kind for kind in types if columns % TENSOR_TYPES[kind].block_elements == 0]
    errors = dict.fromkeys(usable, 0.0)
    originals = [weight.clone() for weight, _ in matrices]
    for (weight, hessian), original in zip(matrices, originals, strict=True):
        for kind in usable:
            rounded = round_to_nearest(original, gguf_grid(kind), hessian.diagonal()).values
            change = rounded - original
            errors[kind] += float((change @ hessian * change).sum())
            if kind == usable[0]:  # the coarsest usable type is tried for real
                weight.copy_(rounded)
    change_of_block = _block_change(block, plain) if usable else 0.0
    for (weight, _), original in zip(matrices, originals, strict=True):
        weight.copy_(original)
    tiny = torch.finfo(torch.float32).tiny
    return {kind: e * change_of_block / max(errors[usable[0]], tiny) for kind, e in errors.items()}


def _block_change(block: Block, plain: Sequence[Tensor]) -> float:
    """The squared change of the block's output, relative to its square."""
    change = total = 0.0
    for batch, expected in zip(block.batches(), plain, strict=True):
        change += float((block.run(batch) - expected).double().square().sum())
        total += float(expected.double().square().sum())
    return change / total
