"""What each type would cost each tensor, measured on the calibration, block by block.

For a linear and a type, the layer's output error is tr(D H D^T), H = mean x x^T, D the rounding
error. What that does to the model depends on where the layer sits, so one type is tried for real:
the block runs with only this linear rounded, and the relative change of the block's output says
what the layer's error is worth.
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
from edgecomp.model import read_model


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
    names = {tensor.source_name: tensor.name for tensor in read_model(checkpoint).tensors}
    coarsest_first = sorted(types, key=lambda kind: TENSOR_TYPES[kind].bits_per_weight)
    for kind in coarsest_first:
        gguf_grid(kind)
    found: list[TensorSensitivity] = []

    def measure(block: Block) -> None:
        plain = [block.run(batch) for batch in block.batches()]
        for group, hessian in gather_hessians(block):
            for linear in group:
                name = block.weight_name(linear)
                if name in names:
                    losses = _losses(block, linear, hessian, coarsest_first, plain)
                    elements = block.linears[linear].weight.numel()
                    found.append(
                        TensorSensitivity(name=names[name], elements=elements, losses=losses)
                    )

    walk(checkpoint, tokens, measure, device=device, progress=progress)
    return Sensitivities(tensors=tuple(found))


def _losses(
    block: Block, linear: str, hessian: Tensor, types: Sequence[str], plain: Sequence[Tensor]
) -> dict[str, float]:
    weight = block.linears[linear].weight
    original = weight.clone()
    columns = weight.shape[1]
    errors: dict[str, float] = {}
    worth = 0.0
    for kind in types:
        if columns % TENSOR_TYPES[kind].block_elements:
            continue
        rounded = round_to_nearest(original, gguf_grid(kind), hessian.diagonal()).values
        change = rounded - original
        errors[kind] = float((change @ hessian * change).sum())
        if len(errors) == 1:  # the coarsest usable type is tried for real
            weight.copy_(rounded)
            worth = _block_change(block, plain) / max(errors[kind], torch.finfo(torch.float32).tiny)
            weight.copy_(original)
    return {kind: error * worth for kind, error in errors.items()}


def _block_change(block: Block, plain: Sequence[Tensor]) -> float:
    """The squared change of the block's output, relative to its square."""
    change = total = 0.0
    for batch, expected in zip(block.batches(), plain, strict=True):
        change += float((block.run(batch) - expected).double().square().sum())
        total += float(expected.double().square().sum())
    return change / total
