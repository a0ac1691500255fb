"""What each type would cost each tensor, in nats of divergence from the model as it is.

For a linear and a type, the layer's output error is tr(D H D^T), H = mean x x^T over the tokens,
each relative to the block's output for it, D the rounding error. What that does to the block
depends on where the layer sits, so one type is tried for real: the block runs with only this linear
rounded, and the change of its output, token by token relative to the output, says what the layer's
error is worth. What that does to the model depends on the block: once a block all its linears are
rounded together, and what comes of it is followed to the head (carried.py). To second order the
divergences of independent errors add up, and each grows with the square of its error, so that those
of blocks, embedding and head can be weighed against each other.

The embedding's error is that of its rows under the tokens' frequencies, worth what it does at the
head; the head itself is tried with every type. A tied embedding costs both. The experts of a layer
are one GGUF tensor a kind, with one type: their errors add up, and they are tried together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.carried import Carried, head_of
from edgecomp.compress.decoder import Decoder
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.rtn import mean_squares, round_to_nearest
from edgecomp.events import Progress, ignore_progress
from edgecomp.formats import TENSOR_TYPES, usable_types
from edgecomp.huggingface.model import gguf_names
from edgecomp.model import ModelSpec, read_model

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
TRIED_BITS = 4
"""Of the type that is tried for real, at least: mixes lie about there."""

Changes = dict[str, float]
"""How much each type changes something, in a measure of that thing's own."""


def measure_sensitivities(
    checkpoint: Path,
    tokens: Tensor,
    types: Sequence[str],
    *,
    carried_rows: int = 4,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> Sensitivities:
    """Measure what each of `types` costs each linear of a float checkpoint, its embedding and its
    head.

    tokens: int64 [samples, length]; a few thousand tokens do. Divergence is measured on the first
    `carried_rows` samples, whose states are kept once a block. Types whose block does not divide a
    tensor's columns are left out for that tensor. Raises what `walk` raises, and
    CompressionSettingsInvalid for a type without a solver.
    """
    coarsest_first = sorted(types, key=lambda kind: TENSOR_TYPES[kind].bits_per_weight)
    for kind in coarsest_first:
        gguf_grid(kind)
    model = read_model(checkpoint)
    name_of = gguf_names(checkpoint)
    carried = Carried(carried_rows)
    changes: dict[str, dict[str, Changes]] = {}

    def measure(block: Block) -> None:
        plain = [block.run(batch) for batch in block.batches()]
        carried.advance(block)
        of_block, rounded = _changes_in(block, name_of, coarsest_first, plain)
        outputs = torch.cat(plain)[:carried_rows]
        if rounded:
            changes[block.name] = of_block
            carried.begin(block.name, *_rounded_block(block, rounded, outputs))
        if block.index == model.layers - 1:
            carried.finish(block, outputs)

    embedded = _rounded_embedding(checkpoint, tokens[:carried_rows], coarsest_first, device)
    if embedded:
        errors, states = embedded
        changes[EMBEDDING] = {EMBEDDING: errors}
        carried.begin(EMBEDDING, states, errors[_tried(errors)])
    walk(checkpoint, tokens, measure, device=device, progress=progress)
    losses = _losses(checkpoint, model, changes, carried, coarsest_first)
    elements = {tensor.name: tensor.elements for tensor in model.tensors}
    return Sensitivities(
        tensors=tuple(
            TensorSensitivity(name=name, elements=elements[name], losses=row)
            for name, row in losses.items()
        )
    )


def _losses(
    checkpoint: Path,
    model: ModelSpec,
    changes: dict[str, dict[str, Changes]],
    carried: Carried,
    types: Sequence[str],
) -> dict[str, Changes]:
    """The divergence that each type causes in each tensor, given what it changes in each part."""
    name = EMBEDDING if model.tied_embeddings else OUTPUT
    head = head_of(checkpoint, model, name)
    # llama.cpp weighs the errors of a head of its own, and not those of an embedding.
    importance = None if model.tied_embeddings else carried.mean_squares()
    rounders = {
        kind: partial(_rounded, kind=kind, importance=importance)
        for kind in usable_types(types, head.stored.shape[1])
    }
    worths, of_head = carried.at_the_head(head, rounders)
    losses = {
        tensor: {kind: change * worths[part] for kind, change in row.items()}
        for part, tensors in changes.items()
        for tensor, row in tensors.items()
    }
    if of_head:
        as_input = losses.get(name, {})
        losses[name] = {kind: as_input.get(kind, 0.0) + loss for kind, loss in of_head.items()}
    return losses


def _tried(types: Iterable[str]) -> str:
    """The type that is tried for real, of some that are sorted by their bits."""
    kinds = list(types)
    enough = (kind for kind in kinds if TENSOR_TYPES[kind].bits_per_weight >= TRIED_BITS)
    return next(enough, kinds[-1])


def _rounded(weight: Tensor, kind: str, importance: Tensor | None) -> Tensor:
    return round_to_nearest(weight, gguf_grid(kind), importance).values


def _changes_in(
    block: Block,
    name_of: Callable[[str], str | None],
    types: Sequence[str],
    plain: Sequence[Tensor],
) -> tuple[dict[str, Changes], dict[str, Tensor]]:
    """What each type of each GGUF tensor changes; and the linears' weights in the types that were
    tried, by the linear's name."""
    changes: dict[str, Changes] = {}
    rounded: dict[str, Tensor] = {}
    importance = mean_squares(block)
    weights = torch.cat(list(plain)).square().sum(dim=-1).reciprocal().flatten()
    tensors: dict[str, dict[str, Tensor]] = {}
    for group, hessian in gather_hessians(block, weights / weights.mean()):
        for linear in group:
            name = name_of(block.weight_name(linear))
            if name:
                tensors.setdefault(name, {})[linear] = hessian
    for name, hessians in tensors.items():
        kinds = usable_types(types, block.linears[next(iter(hessians))].weight.shape[1])
        if kinds:
            changes[name], kept = _changes_of(block, hessians, importance, kinds, plain)
            rounded |= kept
    return changes, rounded


def _changes_of(
    block: Block,
    hessians: Mapping[str, Tensor],
    importance: Mapping[str, Tensor],
    types: Sequence[str],
    plain: Sequence[Tensor],
) -> tuple[Changes, dict[str, Tensor]]:
    """What each type of one GGUF tensor, of a linear or of all experts of a kind, changes of the
    block's output; and the linears' weights in the type that was tried."""
    tried, errors = _tried(types), dict.fromkeys(types, 0.0)
    kept: dict[str, Tensor] = {}
    for linear in hessians:
        original = block.linears[linear].weight
        for kind in types:
            rounded = _rounded(original, kind, importance[linear])
            difference = rounded - original
            errors[kind] += float((difference @ hessians[linear] * difference).sum())
            if kind == tried:
                kept[linear] = rounded
    with _holding(block, kept):
        outputs = [block.run(batch) for batch in block.batches()]
    change = _relative_change(torch.cat(outputs), torch.cat(list(plain)))
    worth = change / max(errors[tried], torch.finfo(torch.float32).tiny)
    return {kind: error * worth for kind, error in errors.items()}, kept


def _rounded_block(
    block: Block, rounded: dict[str, Tensor], outputs: Tensor
) -> tuple[Tensor, float]:
    """What the block puts out with all these weights rounded, and how far that is from `outputs`,
    the first samples as they are."""
    with _holding(block, rounded):
        states = block.run(block.hidden[: len(outputs)].to(outputs.device))
    return states, _relative_change(states, outputs)


@contextmanager
def _holding(block: Block, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Run with other weights in some linears, by the linear's name."""
    originals = {linear: block.linears[linear].weight.clone() for linear in weights}
    for linear, weight in weights.items():
        block.linears[linear].weight.copy_(weight)
    yield
    for linear, weight in originals.items():
        block.linears[linear].weight.copy_(weight)


def _relative_change(outputs: Tensor, plain: Tensor) -> float:
    """The mean over tokens of the squared change relative to the square: what comes after divides
    each token by its own size, and a few tokens are hundreds of times larger than all others."""
    change = (outputs - plain).double().square().sum(dim=-1)
    return float((change / plain.double().square().sum(dim=-1)).mean())


@torch.no_grad()
def _rounded_embedding(
    checkpoint: Path, tokens: Tensor, types: Sequence[str], device: str
) -> tuple[Changes, Tensor] | None:
    """The squared error of the embedding's rows in each type, a mean over tokens; and what enters
    the first block where it is rounded to the type that is tried. None where no type suits it."""
    decoder = Decoder(checkpoint, tokens, device)
    rows = decoder.embedding
    kinds = usable_types(types, rows.shape[1])
    if not kinds:
        return None
    original, (_, counts) = rows.clone(), torch.unique(tokens, return_counts=True)
    frequencies = (counts / tokens.numel()).to(rows.device)
    errors: Changes = {}
    for kind in kinds:
        rounded = _rounded(original, kind, None)
        errors[kind] = float(((rounded - original).square().sum(dim=1) * frequencies).sum())
        if kind == _tried(kinds):
            rows.copy_(rounded)
    return errors, decoder.embed(slice(0, len(tokens)))
