"""GPTQ against a slow, obvious transcription of the paper's algorithm."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import torch
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid, HessianSingular
from edgecomp.compress import quantized
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_grids import SIMPLE_GRIDS
from edgecomp.compress.gguf_k_grids import K_GRIDS
from edgecomp.compress.gguf_types import GGUF_GRIDS
from edgecomp.compress.gguf_vector_grids import VECTOR_GRIDS
from edgecomp.compress.gptq import gptq, gptq_method
from edgecomp.compress.grids import Grid, integer_grid
from edgecomp.compress.ldl_factor import DAMPING, factor_upper, ldl_factor
from edgecomp.compress.packed import read_packed, read_packed_index
from edgecomp.compress.packed_triangle import PANEL
from edgecomp.compress.quantized import Quantized, pack
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.recipes.compression_limits import WEIGHTS_SOLVED

from .conftest import MIXTURES, Save
from .test_grids import correlated
from .test_packed_triangle import dense, triangle_of

ROWS, COLUMNS = 24, 128


def weights(columns: int = COLUMNS) -> Tensor:
    return torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(7)) * 0.1


def hessian_of(kind: str, columns: int = COLUMNS) -> Tensor:
    if kind == "random":
        x = torch.randn(1000, columns, generator=torch.Generator().manual_seed(3))
    else:
        x = correlated(1000, columns)
    return x.T @ x / len(x)


def solve(
    weight: Tensor,
    hessian: Tensor,
    grid: Grid,
    *,
    act_order: bool = False,
    damping: float = DAMPING,
    name: str = "layer",
) -> Quantized:
    """By GPTQ, which uses its Hessian up."""
    factor = ldl_factor(triangle_of(hessian), name, damping=damping, by_activation=act_order)
    return gptq(weight, factor, grid, name=name)


def upper_factor(hessian: Tensor, damping: float) -> Tensor:
    panels = triangle_of(hessian)
    factor_upper(panels, "layer", damping)
    return dense(panels, symmetric=False)


def loss(weight: Tensor, values: Tensor, hessian: Tensor) -> float:
    change = (weight - values).double()
    return float((change @ hessian.double() * change).sum())


def paper_gptq(weight: Tensor, hessian: Tensor, step: Tensor, grid: Grid, damping: float) -> Tensor:
    """Algorithm 1 of arXiv 2210.17323 without blocks, in float64; step [rows] is given."""
    w, h = weight.double().clone(), hessian.double().clone()
    h.diagonal().add_(damping * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    q = torch.zeros_like(w)
    for i in range(w.shape[1]):
        code = (w[:, i] / step).round().clamp(grid.codes.low, grid.codes.high)
        q[:, i] = code * step
        error = (w[:, i] - q[:, i]) / u[i, i]
        w[:, i:] -= error[:, None] * u[i, i:][None]
    return q


@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_codes_equal_the_papers_algorithm(kind: str, bits: int) -> None:
    weight, hessian = weights(), hessian_of(kind)
    grid = integer_grid(bits, -1, symmetric=True)
    solved = solve(weight, hessian, grid)
    step = solved.scales[0].step[:, 0].double()
    expected = paper_gptq(weight, hessian, step, grid, 0.01)
    same = (solved.values.double() - expected).abs() < 1e-6
    # A value within rounding of a tie may fall either way and move those after it.
    assert same.float().mean() > 0.995
    assert loss(weight, solved.values, hessian) == pytest.approx(
        loss(weight, expected.float(), hessian), rel=5e-3
    )


@pytest.mark.parametrize("kind", ["random", "correlated"])
def test_order_of_activation_equals_the_paper_on_permuted_columns(kind: str) -> None:
    weight, hessian = weights(), hessian_of(kind)
    grid = integer_grid(3, -1, symmetric=True)
    solved = solve(weight, hessian, grid, act_order=True)
    order = hessian.diagonal().argsort(descending=True)
    step = solved.scales[0].step[:, 0].double()
    expected = torch.empty_like(weight)
    expected[:, order] = paper_gptq(
        weight[:, order], hessian[order][:, order], step, grid, 0.01
    ).float()
    assert ((solved.values - expected).abs() < 1e-6).float().mean() > 0.995


@pytest.mark.parametrize("kind", GGUF_GRIDS)
@pytest.mark.parametrize("act_order", [False, True])
def test_error_feedback_beats_rounding_on_every_gguf_type_and_packs_losslessly(
    kind: str, act_order: bool
) -> None:
    weight, hessian = weights(256), hessian_of("correlated", 256)
    grid = GGUF_GRIDS[kind]
    if act_order and kind in VECTOR_GRIDS:
        with pytest.raises(CompressionSettingsInvalid, match=f"layer cannot go to {kind} in the"):
            solve(weight, hessian, grid, act_order=True)
        return
    rounded = round_to_nearest(weight, grid, hessian.diagonal())
    solved = solve(weight, hessian, grid, act_order=act_order)
    assert loss(weight, solved.values, hessian) < 0.8 * loss(weight, rounded.values, hessian)
    packed = pack(grid, solved)
    assert packed is not None
    found = gguf.dequantize(packed.rows.numpy(), gguf.GGMLQuantizationType[kind])
    assert torch.equal(torch.from_numpy(found), solved.values)


@pytest.mark.parametrize("group", [32, 64, 100, -1])
@pytest.mark.parametrize("symmetric", [True, False])
def test_error_feedback_beats_rounding_with_any_group(group: int, symmetric: bool) -> None:
    weight, hessian = weights(), hessian_of("correlated")
    grid = integer_grid(4, group, symmetric=symmetric)
    rounded = round_to_nearest(weight, grid, hessian.diagonal())
    solved = solve(weight, hessian, grid)
    assert loss(weight, solved.values, hessian) < 0.8 * loss(weight, rounded.values, hessian)


def test_the_loss_is_the_sum_of_weighted_rounding_errors() -> None:
    """What sweep.py says of M: tr(D H D^T) = |D M|^2 with M upper triangular."""
    hessian = hessian_of("correlated")
    factor = upper_factor(hessian, damping=1e-6)
    torch.testing.assert_close(factor @ factor.T, hessian, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [1, PANEL - 1, PANEL, PANEL + 1, 3 * PANEL + 40])
@pytest.mark.parametrize("by_activation", [False, True])
def test_the_factor_of_several_panels_is_that_of_the_whole_in_the_same_memory(
    columns: int, by_activation: bool
) -> None:
    x = torch.randn(2 * columns, columns, generator=torch.Generator().manual_seed(5)).double()
    hessian = x.T @ (x * torch.linspace(2, 1, 2 * columns)[:, None])
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(columns)
    used = triangle_of(hessian)
    found = ldl_factor(used, "layer", by_activation=by_activation)
    assert by_activation or found.coupling is used
    order = torch.arange(columns) if found.order is None else found.order
    if by_activation:
        assert torch.equal(order, hessian.diagonal().argsort(descending=True, stable=True))
    factor = torch.linalg.cholesky(damped[order][:, order].flip(0, 1)).flip(0, 1)
    coupling = dense(found.coupling, symmetric=False)
    torch.testing.assert_close(coupling * found.importance.sqrt(), factor)


@pytest.mark.parametrize("panels", [1, 3])
def test_damping_that_did_not_do_leaves_no_trace(panels: int) -> None:
    """Raised in steps or given at once, the same factor: H is whole again before each attempt."""
    columns = (panels - 1) * PANEL + 60
    few = torch.randn(columns // 2, columns, generator=torch.Generator().manual_seed(5))
    hessian = few.T @ few
    # Not definite until damping outweighs this.
    hessian[columns // 3, columns // 3] -= 0.02 * hessian.diagonal().mean()
    raised = upper_factor(hessian, damping=1e-3)
    at_once = upper_factor(hessian, damping=1e-1)
    torch.testing.assert_close(raised, at_once, rtol=1e-4, atol=1e-4)


def test_a_column_that_is_never_driven_is_kept_and_rounded_by_itself() -> None:
    weight, hessian = weights(), hessian_of("correlated")
    hessian[5] = 0
    hessian[:, 5] = 0
    grid = integer_grid(8, -1, symmetric=True)
    solved = solve(weight, hessian, grid)
    step = solved.scales[0].step[:, 0]
    nearest = (weight[:, 5] / step).round().clamp(-128, 127) * step
    assert torch.equal(solved.values[:, 5], nearest)


def test_a_singular_hessian_is_damped_until_it_can_be_solved() -> None:
    few = correlated(3, COLUMNS)  # rank 3
    solved = solve(weights(), few.T @ few / 3, integer_grid(4, 64, symmetric=True), damping=1e-12)
    assert torch.isfinite(solved.values).all()


@pytest.mark.parametrize("fault", [0.0, float("nan"), float("inf")])
def test_unusable_statistics_name_the_layer(fault: float) -> None:
    with pytest.raises(HessianSingular, match=r"model\.layers\.3\.up"):
        solve(
            weights(),
            torch.full((COLUMNS, COLUMNS), fault),
            integer_grid(4, 64, symmetric=True),
            name="model.layers.3.up",
        )


def test_columns_that_do_not_divide_are_refused_by_name() -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"layer\.1 has 96 columns"):
        solve(weights(96), hessian_of("random", 96), K_GRIDS["Q4_K"], name="layer.1")


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2", *MIXTURES])
def test_the_sidecar_holds_the_bytes_of_the_checkpoints_weights(
    family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model(family)
    out = tmp_path / "out"

    def grid_of(name: str) -> Grid:
        return SIMPLE_GRIDS["Q5_1" if is_down(name) else "Q4_0"]

    def is_down(name: str) -> bool:
        return "down" in name or ".w2." in name

    walk(
        folder,
        tokens,
        gptq_method(grid_of),
        destination=Destination(folder=out, dtype=torch.float32),
    )
    written = {name: read_tensor(stored) for name, stored in stored_tensors(out).items()}
    index = read_packed_index(out)
    assert index is not None
    assert "blk.0.attn_output.weight" in index.tensors
    for entry in index.tensors.values():
        packed = read_packed(out, entry)
        found = torch.from_numpy(
            gguf.dequantize(packed.numpy(), gguf.GGMLQuantizationType[entry.type])
        )
        name = entry.tensor.partition(":")[2]
        experts = [name.replace(".experts.", f".experts.{e}.") for e in range(6)]
        weight = (
            torch.stack([written[expert] for expert in experts])
            if name not in written
            else written[name]
        )
        assert found.shape == entry.shape
        assert torch.equal(found, weight.T if family == "gpt2" else weight)
        assert entry.type == ("Q5_1" if is_down(name) else "Q4_0")
    assert ("blk.0.ffn_up_exps.weight" in index.tensors) == (family in MIXTURES)


@pytest.mark.parametrize("act_order", [False, True])
def test_rows_solved_a_few_at_a_time_are_those_solved_together(
    act_order: bool, save_model: Save, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = save_model("llama")
    solve_block = gptq_method(lambda name: SIMPLE_GRIDS["Q4_0"], act_order=act_order)

    def both_ways(block: Block) -> None:
        weights = {name: linear.weight.clone() for name, linear in block.linears.items()}
        inputs, found = block.hidden.clone(), []
        # Five rows of 64 columns: no matrix is whole, and some parts hold rows of two.
        for together in (WEIGHTS_SOLVED, 5 * 64):
            monkeypatch.setattr(quantized, "WEIGHTS_SOLVED", together)
            for name, weight in weights.items():
                block.linears[name].weight.copy_(weight)
            block.hidden.copy_(inputs)
            block.packed = {}
            solve_block(block)
            found.append(block.packed)
        whole, parts = found
        assert whole.keys() == parts.keys() == weights.keys()
        for name, packed in whole.items():
            assert packed.rows.shape == parts[name].rows.shape
            # Sums of another order may tip a value that lies between two codes, and those after it.
            assert (packed.rows == parts[name].rows).float().mean() > 0.98, name

    walk(folder, tokens, both_ways)
