"""What each type would cost each tensor, in nats of divergence from the model as it is.

For a linear and a type, the layer's output error is tr(D H D^T), H = mean x x^T over the tokens,
each relative to the block's output for it, D the rounding error; some rows show how types compare.
What that does to the block depends on where the layer sits, so one type is tried for real: the
block runs with only this linear rounded, and the change of its output, token by token relative to
the output, says what the layer's error is worth. What that does to the model depends on the block:
once a block all its linears are rounded together, and what comes of it is followed to the head
(propagated_error.py). To second order the divergences of independent errors add up, and each grows
with the square of its error, so that those of blocks, embedding and head can be weighed against
each other.

The embedding's error is that of its rows under the tokens' frequencies, worth what it does at the
head; the head itself is tried with one type. A tied embedding costs both. The experts of a layer
are one GGUF tensor a kind, with one type: their errors add up, and they are tried together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.checkpoint import read_rows
from edgecomp.compress.decoder import Decoder
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.head_divergence import Head
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.packed_triangle import PackedTriangle
from edgecomp.compress.propagated_error import PropagatedError, head_of
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.huggingface.model import gguf_names, shared_name
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES, usable_types
from edgecomp.recipes.compression_limits import ROWS_COMPARED

TRIED_BITS = 4
"""Fewest bits of the type that is tried for real: mixes lie about there."""

ON_THE_GRID = 1e-3
"""Share of the largest error below which the weights lie on a type's own grid, so that trying it
tells nothing."""

SMALLEST = torch.finfo(torch.float32).tiny

Changes = dict[str, float]
"""How much each type changes something, in a measure of that thing's own."""


def measure_sensitivities(
    checkpoint: Path,
    tokens: Tensor,
    types: Sequence[str],
    *,
    carried_rows: int = 2,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> Sensitivities:
    """Measure what each of `types` costs each linear of a float checkpoint, its embedding and its
    head.

    tokens: int64 [samples, length]; some thousand tokens do. What is tried for real is tried on the
    first `carried_rows` samples, whose states are kept once a block. Types whose block does not
    divide a tensor's columns are left out for that tensor. Raises what `walk` raises, and
    CompressionSettingsInvalid for a type without a solver.
    """
    coarsest_first = sorted(types, key=lambda kind: TENSOR_TYPES[kind].bits_per_weight)
    for kind in coarsest_first:
        gguf_grid(kind)
    model = read_model(checkpoint)
    name_of = gguf_names(checkpoint)
    propagated = PropagatedError(carried_rows)
    changes: dict[str, dict[str, Changes]] = {}

    def measure(block: Block) -> None:
        plain = torch.cat([block.run(batch) for batch in block.batches()])
        outputs = plain[:carried_rows]
        propagated.advance(block)
        weights = plain.square().sum(dim=-1).reciprocal().flatten()
        of_block, rounded = _changes_in(block, name_of, coarsest_first, weights, outputs)
        if rounded:
            changes[block.name] = of_block
            states = _run_with(block, rounded, carried_rows)
            propagated.begin(block.name, states, _relative_change(states, outputs))
        if block.index == model.layers - 1:
            propagated.finish(block, outputs)
        block.replace(block.hidden, plain)
        block.advanced = True

    embedded = _rounded_embedding(checkpoint, tokens[:carried_rows], coarsest_first, device)
    if embedded:
        errors, states = embedded
        changes[EMBEDDING] = {EMBEDDING: errors}
        propagated.begin(EMBEDDING, states, errors[_type_to_try(errors)])
    walk(checkpoint, tokens, measure, device=device, progress=progress)
    losses = _losses(checkpoint, tokens, model, changes, propagated, coarsest_first)
    elements = {tensor.name: tensor.elements for tensor in model.tensors}
    elements |= {shared_name(tensor.source_name): tensor.elements for tensor in model.tensors}
    return Sensitivities(
        tensors=tuple(
            TensorSensitivity(name=name, elements=elements[name], losses=row)
            for name, row in losses.items()
        )
    )


def _losses(
    checkpoint: Path,
    tokens: Tensor,
    model: ModelSpec,
    changes: dict[str, dict[str, Changes]],
    propagated: PropagatedError,
    types: Sequence[str],
) -> dict[str, Changes]:
    """The divergence that each type causes in each tensor, given what it changes in each part."""
    name = model.head_name
    head, squares = head_of(checkpoint, model, name), propagated.mean_squares()
    # llama.cpp weighs the errors of a head of its own, and not those of an embedding.
    importance = None if model.tied_embeddings else squares
    errors = _head_errors(head, tokens, types, importance, squares)
    rounders = {}
    if errors:
        tried = _type_to_try(errors)
        rounders[tried] = partial(_round, kind=tried, importance=importance)
    worths, measured = propagated.at_the_head(head, rounders)
    losses = {
        tensor: {kind: change * worths[part] for kind, change in row.items()}
        for part, tensors in changes.items()
        for tensor, row in tensors.items()
    }
    if errors:
        as_input, worth = losses.get(name, {}), measured[tried] / max(errors[tried], SMALLEST)
        losses[name] = {kind: as_input.get(kind, 0.0) + errors[kind] * worth for kind in errors}
    return losses


def _head_errors(
    head: Head, tokens: Tensor, types: Sequence[str], importance: Tensor | None, squares: Tensor
) -> Changes:
    """The squared error of the logits in each type that divides the head's columns, over the rows
    of `tokens` by their frequency: a row's error counts by its token's probability, which that
    stands for. `squares`: of the columns that the head reads, float32 [columns]."""
    numbers, counts = torch.unique(tokens.cpu(), return_counts=True)
    rows = read_rows(head.stored, numbers).to(squares.device, torch.float32)
    counts = counts.to(squares)
    return {
        kind: float(counts @ ((_round(rows, kind, importance) - rows).square() @ squares))
        for kind in usable_types(types, rows.shape[1])
    }


def _type_to_try(errors: Changes) -> str:
    """The type that is tried for real, given the errors of all, sorted by their bits."""
    enough = [kind for kind in errors if TENSOR_TYPES[kind].bits_per_weight >= TRIED_BITS]
    telling = [kind for kind in enough if errors[kind] > ON_THE_GRID * max(errors.values())]
    return (telling or enough or list(errors)[-1:])[0]


def _round(weight: Tensor, kind: str, importance: Tensor | None) -> Tensor:
    return round_to_nearest(weight, gguf_grid(kind), importance).values


def _changes_in(
    block: Block,
    name_of: Callable[[str], str | None],
    types: Sequence[str],
    weights: Tensor,
    outputs: Tensor,
) -> tuple[dict[str, Changes], dict[str, Tensor]]:
    """What each type of each GGUF tensor changes; and the linears' weights in the types that were
    tried, by the linear's name.

    weights: float32 [tokens], how much each counts; outputs: of the first samples, as they are.
    """
    changes: dict[str, Changes] = {}
    rounded: dict[str, Tensor] = {}
    tensors: dict[str, dict[str, PackedTriangle]] = {}
    for group, hessian in gather_hessians(block, weights / weights.mean()):
        for linear in group:
            name = name_of(block.weight_name(linear))
            if name:
                tensors.setdefault(name, {})[linear] = hessian
    for name, hessians in tensors.items():
        kinds = usable_types(types, block.linears[next(iter(hessians))].weight.shape[1])
        if kinds:
            changes[name], kept = _changes_of(block, hessians, kinds, outputs)
            rounded |= kept
        block.count_work(solved_weights=sum(block.linears[n].weight.numel() for n in hessians))
    return changes, rounded


def _changes_of(
    block: Block, hessians: Mapping[str, PackedTriangle], types: Sequence[str], outputs: Tensor
) -> tuple[Changes, dict[str, Tensor]]:
    """What each type of one GGUF tensor, of a linear or of all experts of a kind, changes of the
    block's output; and the linears' weights in the type that was tried."""
    weights = {linear: block.linears[linear].weight for linear in hessians}
    step = ceil(sum(map(len, weights.values())) / ROWS_COMPARED)
    means = {linear: hessian.diagonal() for linear, hessian in hessians.items()}
    errors = dict.fromkeys(types, 0.0)
    for linear, hessian in hessians.items():
        sample = weights[linear][::step]
        for kind in types:
            errors[kind] += hessian.quadratic(_round(sample, kind, means[linear]) - sample)
    tried = _type_to_try(errors)
    kept = {linear: _round(weights[linear], tried, means[linear]) for linear in hessians}
    states = _run_with(block, kept, len(outputs))
    worth = _relative_change(states, outputs) / max(errors[tried], SMALLEST)
    return {kind: error * worth for kind, error in errors.items()}, kept


def _run_with(block: Block, weights: Mapping[str, Tensor], samples: int) -> Tensor:
    """What the block puts out for its first samples with other weights in some linears."""
    with _holding(block, weights):
        return block.run(block.hidden[:samples].to(next(iter(weights.values())).device))


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
    rounded = {kind: _round(original, kind, None) for kind in kinds}
    errors = {
        kind: float(((other - original).square().sum(dim=1) * frequencies).sum())
        for kind, other in rounded.items()
    }
    rows.copy_(rounded[_type_to_try(errors)])
    return errors, decoder.embed(slice(0, len(tokens)))
