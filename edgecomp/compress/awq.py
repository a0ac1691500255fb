"""AWQ (Lin et al. 2023, arXiv 2306.00978): protect the columns that activations drive hard.

Scaling an input column by s_j before rounding and its input by 1/s_j leaves the layer's function as
it is, but makes the column's rounding error smaller by s_j (the paper's equations 4 and 5). The
inverse scales are folded into whatever produces the input (a norm, or rows of the layer before), so
the model stays a standard one.

Search: s = rms(x)^alpha, alpha in fifths from 0 to 1, then a tenth and a twentieth to either side
of the best (upstream tries all of 0, 0.05, ... 0.95), normalised by sqrt(max s min s) as upstream
(`llm-awq`, `auto_scale.py`); the loss is the layer's own output error tr(D H D^T), which H = mean
x x^T gives without running the layer. Upstream takes mean |x| for rms(x) and, for attention, the
error behind the whole attention. Its clip search is contained in the grids' choice of scales, which
tries shrunken ranges under the same activation weights (grids.py).

The experts of a mixture read rows of one norm's output, which the router reads whole: all of them,
and the router, take one scale, searched under the sum of the experts' H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn

from edgecomp.compress.blocks import Block, Method, attached_hooks
from edgecomp.compress.experts import StoredExpert
from edgecomp.compress.gptq import gptq
from edgecomp.compress.grids import Grid
from edgecomp.compress.hessian import TokenWeights, gather_hessians
from edgecomp.compress.ldl_factor import ldl_factor
from edgecomp.compress.packed_triangle import PackedTriangle
from edgecomp.compress.quantized import GridOf, Solver, by_grid, quantize_group
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.recipes.compression_limits import ROWS_SCALED

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
FINER = (0.1, 0.05)

PRODUCERS = {
    "self_attn.o_proj": ("v_proj", "qkv_proj"),
    "attn.c_proj": ("c_attn",),
    "down_proj": ("up_proj", "gate_up_proj"),
    "w2": ("w3",),
}
"""Linears whose inputs are, up to factors that do not depend on it, the last rows of another beside
them."""

Group = tuple[str, ...]
"""Linears that read one tensor."""


@dataclass(frozen=True)
class Fold:
    """How the inverse of a scale of a linear's input columns is put into what produces them."""

    apply: Callable[[Tensor], None]
    producer: str | None = None
    """The linear whose rows it divides; None where a norm takes it."""

    repeat: int = 1
    """Consecutive heads of columns that one producer's head feeds (grouped-query attention)."""

    head: int = 1
    """Columns of a head."""

    def tie(self, scale: Tensor) -> Tensor:
        """The scale with columns of one producer made equal (geometric mean), [columns]."""
        if self.repeat == 1:
            return scale
        heads = scale.view(-1, self.repeat, self.head)
        return heads.log().mean(dim=1, keepdim=True).exp().expand_as(heads).reshape(-1)


def search_scale(
    weights: Mapping[Grid, Tensor], hessian: PackedTriangle, tie: Callable[[Tensor], Tensor]
) -> Tensor:
    """The best scale s float32 [columns] for weights [rows, columns] that read one tensor, by the
    grid that each goes on; `tie` is applied to every candidate."""
    stride = ceil(sum(len(weight) for weight in weights.values()) / ROWS_SCALED)
    samples = {grid: weight[::stride] for grid, weight in weights.items()}
    means = hessian.diagonal()
    rms = means.clamp_min(0).sqrt()
    rms = rms.clamp_min(1e-4 * rms.max()).clamp_min(1e-12)

    def scale_of(alpha: float) -> Tensor:
        scale = tie(rms**alpha)
        return scale / (scale.max() * scale.min()).sqrt()

    def loss_of(alpha: float) -> float:
        scale = scale_of(alpha)
        loss = 0.0
        for grid, sample in samples.items():
            rounded = round_to_nearest(sample * scale, grid, means / scale.square())
            loss += hessian.quadratic(rounded.values / scale - sample)
        return loss

    losses = {alpha: loss_of(alpha) for alpha in ALPHAS}
    best = min(losses, key=lambda alpha: losses[alpha])
    for step in FINER:
        losses |= {alpha: loss_of(alpha) for alpha in (best - step, best + step) if 0 < alpha < 1}
        best = min(losses, key=lambda alpha: losses[alpha])
    return scale_of(best)


def awq_method(
    grid_of: GridOf,
    *,
    solver: Literal["rtn", "gptq"] = "rtn",
    is_kept: Callable[[str], bool] = lambda weight: False,
    weights: TokenWeights | None = None,
) -> Method:
    """The walker's method: scale and fold, then round to nearest or by GPTQ. Tokens count by their
    weights where there are some.

    Weights for which `is_kept` is true stay to the bit: no scale is searched that would be folded
    into one of them, whether into its columns or into its rows.
    """

    def method(block: Block) -> None:
        hessians = dict(gather_hessians(block, weights))
        # All scales are found and folded before anything is rounded: folding changes weights of
        # layers that may already have had their turn.
        for groups, fold in find_folds(block):
            names = [name for group in groups for name in group]
            changed = [*names, *([fold.producer] if fold.producer else [])]
            if any(is_kept(block.weight_name(name)) for name in changed):
                continue
            stacked = {
                grid: torch.cat([block.linears[name].weight for name in members])
                for grid, members in by_grid(block, names, grid_of).items()
            }
            if not stacked:
                continue
            own = [hessian for part, hessian in hessians.items() if not set(part).isdisjoint(names)]
            shared = reduce(PackedTriangle.plus, own)
            scale = search_scale(stacked, shared, fold.tie)
            fold.apply(scale)
            for name in names:
                block.linears[name].weight.mul_(scale)
            for hessian in own:
                hessian.divide_rows(scale)
                hessian.divide_columns(scale)
        for group in list(hessians):
            hessian = hessians.pop(group)
            grids = by_grid(block, group, grid_of)
            if grids:
                quantize_group(block, grids, _solver(solver, hessian, block.weight_name(group[0])))

    return method


def _solver(kind: Literal["rtn", "gptq"], hessian: PackedTriangle, name: str) -> Solver:
    """The solver under this H, which GPTQ uses up."""
    if kind == "gptq":
        return partial(gptq, factor=ldl_factor(hessian, name))
    return partial(round_to_nearest, importance=hessian.diagonal())


def find_folds(block: Block) -> list[tuple[list[Group], Fold]]:
    """The groups that take one scale, and where it can be folded; in the order they run."""
    norms = _norms_before(block)
    folds: list[tuple[list[Group], Fold]] = []
    after: dict[nn.Module, list[Group]] = {}
    for group in block.shared_inputs():
        norm = norms.get(_whole_reader(block, group[0]))
        producer = _producer(block, group[0])
        if norm is not None and norm in after:
            after[norm].append(group)
        elif norm is not None:
            others = [n for n, before in norms.items() if before is norm and n not in block.linears]
            weights = [block.module.get_parameter(f"{name}.weight") for name in others]
            after[norm] = [group]
            folds.append((after[norm], Fold(partial(_fold_into_norm, norm, weights))))
        elif producer is not None:
            folds.append(([group], _row_fold(block, group[0], producer)))
    return folds


def _whole_reader(block: Block, name: str) -> str:
    """Who reads the whole tensor that linear `name` reads rows of: before an expert, the router."""
    parent, _, leaf = name.rpartition(".")
    owner = block.module.get_submodule(parent)
    if isinstance(owner, StoredExpert) and leaf in owner.roles[:2]:
        return parent.rpartition(".experts.")[0] + ".gate"
    return name


def _producer(block: Block, name: str) -> str | None:
    parent = name.rpartition(".")[0]
    for consumer, producers in PRODUCERS.items():
        if f".{name}".endswith(f".{consumer}"):
            beside = (f"{parent}.{leaf}" for leaf in producers)
            return next((linear for linear in beside if linear in block.linears), None)
    return None


def _norms_before(block: Block) -> dict[str, nn.Module]:
    """The norm, by the name of each linear, router or gate that reads its output as it is."""
    outputs: dict[int, nn.Module] = {}
    found: dict[str, nn.Module] = {}
    kept: list[Tensor] = []

    def put_out(module: nn.Module, inputs: object, output: Tensor) -> None:
        kept.append(output)  # alive, so that no later tensor takes its address
        outputs[output.data_ptr()] = module

    def read(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0].data_ptr() in outputs:
                found[name] = outputs[inputs[0].data_ptr()]

        return hook

    norms = [m for m in block.module.modules() if type(m).__name__.endswith("Norm")]
    readers = [
        (name.removesuffix(".weight"), block.module.get_submodule(name.removesuffix(".weight")))
        for name, parameter in block.module.named_parameters()
        if name.endswith(".weight") and parameter.ndim == 2
    ]
    hooks = [norm.register_forward_hook(put_out) for norm in norms]
    hooks += [m.register_forward_pre_hook(read(name)) for name, m in readers]
    with attached_hooks(hooks):
        block.run(next(block.batches())[:1])
    return found


def _row_fold(block: Block, name: str, producer: str) -> Fold:
    columns, repeat, head = block.linears[name].weight.shape[1], 1, 1
    if "attn" in name:
        config = block.config
        head = columns // config.num_attention_heads
        repeat = config.num_attention_heads // (
            getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        )
    apply = partial(_fold_into_rows, block.linears[producer], repeat, head)
    return Fold(apply, producer, repeat, head)


def _fold_into_norm(norm: nn.Module, others: Sequence[Tensor], scale: Tensor) -> None:
    """`others`: weights that read the norm's output and are not rounded."""
    weight: Tensor = norm.get_parameter("weight")
    # Gemma's norms multiply by 1 + weight.
    unit = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
    weight.add_(unit).div_(scale).sub_(unit)
    bias = dict(norm.named_parameters()).get("bias")
    if bias is not None:
        bias.div_(scale)
    for weight in others:
        weight.mul_(scale)


def _fold_into_rows(producer: nn.Linear, repeat: int, head: int, scale: Tensor) -> None:
    """The last rows of a fused projection are the values, or the linear half of a gated FFN."""
    scale = scale.view(-1, repeat, head)[:, 0].reshape(-1)
    producer.weight[-len(scale) :].div_(scale[:, None])
    if producer.bias is not None:
        producer.bias[-len(scale) :].div_(scale)
