"""Grids: what a runtime dequantizes is what was chosen, and the scales are as good as can be."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from ggml_rounding import ggml_rounded, ggml_values
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.gguf_types import GGUF_GRIDS
from edgecomp.compress.grids import Codes, Grid, integer_grid, search_step, search_step_offset
from edgecomp.compress.quantized import pack
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.tensor_types import TENSOR_TYPES


def correlated(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Inputs [rows, columns] whose columns are correlated and differ widely in scale."""
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=random) / columns**0.5
    scale = torch.rand(columns, generator=random).square() * 2
    return torch.randn(rows, columns, generator=random) @ (mix + 0.3 * torch.eye(columns)) * scale


def dequantized(packed: Tensor, kind: str) -> Tensor:
    return torch.from_numpy(gguf.dequantize(packed.numpy(), gguf.GGMLQuantizationType[kind]))


@pytest.mark.parametrize("kind", GGUF_GRIDS)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-6, 1e-3, 0.1, 10.0, 1e4]),
    shape=st.sampled_from(["normal", "one-sided", "sparse", "constant", "zero", "outlier"]),
)
@settings(max_examples=25)
def test_the_packed_bytes_stand_for_the_chosen_values_bit_for_bit(
    kind: str, seed: int, scale: float, shape: str
) -> None:
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(seed)) * scale
    if shape == "one-sided":
        x = x.abs()
    elif shape == "sparse":
        x = x * (x > scale)
    elif shape == "constant":
        x = torch.full_like(x, float(x[0, 0]))
    elif shape == "zero":
        x = torch.zeros_like(x)
    elif shape == "outlier":
        x[:, ::37] *= 30
    grid = GGUF_GRIDS[kind]
    quantized = round_to_nearest(x, grid)
    packed = pack(grid, quantized)
    assert packed is not None
    row = TENSOR_TYPES[kind]
    assert packed.rows.shape == (3, 512 // row.block_elements * row.block_bytes)
    assert torch.equal(dequantized(packed.rows, kind), quantized.values)
    assert torch.isfinite(quantized.values).all()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_scales_beat_the_plain_rounding_of_gguf_py(kind: str) -> None:
    x = torch.randn(64, 512, generator=torch.Generator().manual_seed(0))
    number = gguf.GGMLQuantizationType[kind]
    plain = torch.from_numpy(gguf.dequantize(gguf.quantize(x.numpy(), number), number))
    ours = round_to_nearest(x, GGUF_GRIDS[kind]).values
    assert (ours - x).square().sum() < 0.9 * (plain - x).square().sum()


def best_step_by_scan(x: Tensor, w: Tensor, codes: Codes) -> float:
    """The smallest weighted error over a dense scan of steps of either sign."""
    best = float("inf")
    for step in np.linspace(-1, 1, 4001) * float(x.abs().max()) / max(1, codes.high):
        if step:
            q = (x / step).round().clamp(codes.low, codes.high)
            best = min(best, float((w * (x - step * q).square()).sum()))
    return best


@pytest.mark.parametrize("codes", [Codes(-2, 1), Codes(-4, 3), Codes(-8, 7), Codes(-127, 127)])
@pytest.mark.parametrize("seed", range(4))
def test_the_step_search_comes_close_to_a_dense_scan(codes: Codes, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, w = torch.randn(1, 32, generator=random), torch.rand(1, 32, generator=random)
    step = search_step(x, w, codes)[:, None]
    found = codes.values(codes.nearest(x, step, torch.zeros(1)), step, torch.zeros(1))
    error = float((w * (x - found).square()).sum())
    assert error <= 1.05 * best_step_by_scan(x[0], w[0], codes)


@pytest.mark.parametrize("top", [3, 15])
@pytest.mark.parametrize("seed", range(4))
def test_the_step_and_offset_search_comes_close_to_a_dense_scan(top: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, w = torch.randn(1, 32, generator=random) + 0.5, torch.rand(1, 32, generator=random)
    codes = Codes(0, top)
    step, offset = search_step_offset(x, w, top, offset_at_most_zero=False)
    found = codes.values(codes.nearest(x, step, offset), step, offset)
    error = float((w * (x - found).square()).sum())
    low, high = float(x.min()), float(x.max())
    best = min(
        float((w * (x - s * ((x - o) / s).round().clamp(0, top) - o).square()).sum())
        for s in np.linspace(0.4, 1.1, 141) * (high - low) / top
        for o in np.linspace(low - 0.2, low + 1.5, 141)
    )
    assert error <= 1.1 * best


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, 64, 128, -1])
def test_integer_grids_keep_codes_in_range_with_a_short_last_group(
    bits: int, symmetric: bool, group: int
) -> None:
    grid = integer_grid(bits, group, symmetric=symmetric)
    x = torch.randn(5, 144, generator=torch.Generator().manual_seed(bits))
    quantized = round_to_nearest(x, grid)
    assert len(quantized.scales) == (1 if group == -1 else -(-144 // group))
    assert quantized.codes.min() >= grid.codes.low and quantized.codes.max() <= grid.codes.high
    # Better than the plain grid over the full range of each row.
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).half().float()
    zero = (-low / step).round()
    plain = ((x / step + zero).round().clamp(0, 2**bits - 1) - zero) * step
    if symmetric:
        step = x.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)
        plain = (x / step).round().clamp(grid.codes.low, grid.codes.high) * step
    assert (quantized.values - x).square().sum() < (plain - x).square().sum()


def test_asymmetric_integers_have_whole_zero_points() -> None:
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) + 1
    scales = integer_grid(4, 64, symmetric=False).fit(x, torch.ones(1, 64))
    zero = scales.stored[0]
    assert torch.equal(zero, zero.round()) and zero.min() >= 0 and zero.max() <= 15
    assert torch.equal(scales.offset, -zero * scales.step)


@pytest.mark.parametrize(("bits", "group"), [(5, 64), (4, 0), (4, -2)])
def test_an_integer_grid_that_does_not_exist_is_refused(bits: int, group: int) -> None:
    with pytest.raises(CompressionSettingsInvalid, match="Choose 2, 3, 4 or 8 bits"):
        integer_grid(bits, group, symmetric=True)


@pytest.mark.parametrize(
    ("kind", "columns", "nearest"),
    [("Q4_K", 576, "Q5_0"), ("IQ2_XS", 576, "IQ4_NL"), ("IQ4_NL", 80, "F16")],
)
def test_columns_that_a_gguf_block_does_not_divide_are_refused_by_name(
    kind: str, columns: int, nearest: str
) -> None:
    said = rf"layer\.7 has {columns} columns.*{kind}.*Choose {nearest},"
    with pytest.raises(CompressionSettingsInvalid, match=said):
        round_to_nearest(torch.zeros(2, columns), GGUF_GRIDS[kind], name="layer.7")


@pytest.mark.parametrize(
    "grid", [integer_grid(3, 64, symmetric=True), *GGUF_GRIDS.values()], ids=lambda g: g.name
)
def test_importance_lowers_the_error_that_it_weighs(grid: Grid) -> None:
    x = torch.randn(32, 256, generator=torch.Generator().manual_seed(0))
    importance = correlated(500, 256).square().mean(dim=0)
    even = round_to_nearest(x, grid).values
    weighted = round_to_nearest(x, grid, importance).values

    def error(values: Tensor) -> Tensor:
        return (importance * (values - x).square()).sum()

    assert error(weighted) < error(even)


def relative_difference(values: Tensor, wanted: Tensor) -> float:
    return float((values - wanted).square().sum() / wanted.square().sum())


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q6_K"]
)
def test_weights_that_lie_on_a_types_grid_come_back(kind: str, stored: torch.dtype) -> None:
    """Rounded by llama.cpp, dequantized, rounded again. Of the other K types 1e-5 and more remains:
    a source's own blocks are copied instead."""
    weights = torch.randn(32, 1024, generator=torch.Generator().manual_seed(0)) * 0.02
    rounded = torch.from_numpy(ggml_values(ggml_rounded(weights.numpy(), kind), kind))
    found = round_to_nearest(rounded.to(stored).float(), GGUF_GRIDS[kind])
    assert relative_difference(found.values, rounded) < 1e-6


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
@pytest.mark.parametrize("group", [32, 128, 1024])
@pytest.mark.parametrize(("bits", "kind"), [(3, "Q4_0"), (4, "Q4_0"), (4, "Q5_0"), (4, "Q8_0")])
def test_integers_of_larger_groups_come_back_in_smaller_blocks(
    bits: int, kind: str, group: int, stored: torch.dtype
) -> None:
    """A block of 32 columns need not hold the group's largest code, by which its step is told."""
    weights = torch.randn(32, 1024, generator=torch.Generator().manual_seed(1)) * 0.02
    groups = weights.view(-1, group)
    half_range = 1 << (bits - 1)
    step = (groups.abs().amax(dim=1, keepdim=True) / (half_range - 0.5)).half().float()
    codes = (groups / step).round().clamp(-half_range, half_range - 1)
    integers = (codes * step).view_as(weights)
    found = round_to_nearest(integers.to(stored).float(), GGUF_GRIDS[kind])
    assert relative_difference(found.values, integers) < 1e-6
