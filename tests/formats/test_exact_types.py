"""What a type holds of another's values: each entry packed and read back."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from ggml_rounding import ggml_rounded, ggml_values
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.compress.gguf_grids import SIMPLE_GRIDS
from edgecomp.compress.gguf_k_grids import K_GRIDS
from edgecomp.compress.grids import Scales
from edgecomp.formats.exact_types import EXACT_TYPES, exact_types, exact_types_of_grid
from edgecomp.models.integer_grid import IntegerGrid
from edgecomp.models.tensor_types import TENSOR_TYPES

PAIRS = [(source, target) for source, targets in EXACT_TYPES.items() for target in targets]
LOWEST = {"Q4_0": 8, "Q5_0": 16, "MXFP4": 12, "TQ1_0": 1, "TQ2_0": 1}
"""Of a type without an offset: how many steps below zero its values reach at most."""

scales = st.sampled_from([1e-3, 0.02, 1.0, 30.0])


def halves(raw: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def steps(raw: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
    """The step of each block [n, 1] as its bytes hold it, and its offset."""
    if source == "MXFP4":
        return np.exp2(raw[:, :1].astype(np.float32) - 128), np.zeros((len(raw), 1), np.float32)
    step = halves(raw[:, -2:]) if source.startswith("TQ") else halves(raw[:, :2])
    if source in ("Q4_1", "Q5_1"):
        return step, halves(raw[:, 2:4])
    return step, np.zeros_like(step)


def packed(codes: np.ndarray, step: np.ndarray, offset: np.ndarray, target: str) -> np.ndarray:
    """Blocks of a simple type, by the packer that our own solvers use."""
    grid = SIMPLE_GRIDS[target]
    assert grid.codes.low <= codes.min() and codes.max() <= grid.codes.high
    assert grid.pack is not None
    chosen = Scales(torch.from_numpy(step), torch.from_numpy(offset))
    return grid.pack(torch.from_numpy(codes.astype(np.int16)), chosen).numpy()


def simple(raw: np.ndarray, source: str, target: str) -> np.ndarray:
    step, offset = steps(raw, source)
    values = ggml_values(raw, source)
    if target in ("Q4_1", "Q5_1") and source not in ("Q4_1", "Q5_1"):
        offset = -LOWEST[source] * step
    safe = np.where(step == 0, 1, step)
    codes = np.rint((values - offset) / safe)
    parts = TENSOR_TYPES[source].block_elements // 32
    codes = codes.reshape(-1, 32)
    return packed(codes, step.repeat(parts, 0), offset.repeat(parts, 0), target)


def ternary_as_k(raw: np.ndarray, source: str, target: str) -> np.ndarray:
    grid = K_GRIDS[target]
    step, _ = steps(raw, source)
    codes = np.rint(ggml_values(raw, source) / np.where(step == 0, 1, step))
    d = torch.from_numpy(step)
    ones = torch.ones(len(raw), 256 // grid.sub)
    stored: tuple[torch.Tensor, ...] = (d, ones)
    if grid.codes.low == 0:
        codes, stored = codes + 1, (d, d, ones, ones)
    assert grid.pack is not None
    return grid.pack(torch.from_numpy(codes.astype(np.int16)), Scales(d, d, stored)).numpy()


def q3_k_as_q6_k(raw: np.ndarray) -> np.ndarray:
    """Both multiply a float16 by a whole number for 16 columns each."""
    low, high = raw[:, 96:104], raw[:, 104:108]
    below = np.concatenate([low & 15, low >> 4], axis=1)
    above = np.concatenate([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
    scale = torch.from_numpy((below | above << 4).astype(np.float32) - 32)
    d = torch.from_numpy(halves(raw[:, 108:110]))
    step = (d * scale).repeat_interleave(16, dim=1).numpy()
    codes = np.rint(ggml_values(raw, "Q3_K") / np.where(step == 0, 1, step))
    pack = K_GRIDS["Q6_K"].pack
    assert pack is not None
    return pack(torch.from_numpy(codes.astype(np.int16)), Scales(d, d, (d, scale))).numpy()


def repacked(raw: np.ndarray, source: str, target: str) -> np.ndarray:
    """The blocks of one type as blocks of another with the same values."""
    if TENSOR_TYPES[target].is_float:
        return gguf.quantize(ggml_values(raw, source), gguf.GGMLQuantizationType[target])
    if target in SIMPLE_GRIDS:
        return simple(raw, source, target)
    if source == "Q4_K":  # Alike but for the fifth bits.
        fifth = np.zeros((len(raw), 32), np.uint8)
        return np.concatenate([raw[:, :16], fifth, raw[:, 16:]], axis=1)
    if source == "Q3_K":
        return q3_k_as_q6_k(raw)
    if target in K_GRIDS:
        return ternary_as_k(raw, source, target)
    return gguf.quantize(ggml_values(raw, source), gguf.GGMLQuantizationType[target])


@pytest.mark.parametrize(("source", "target"), PAIRS)
@given(seed=st.integers(0, 2**32 - 1), scale=scales)
def test_the_values_of_a_type_are_held_exactly_where_the_table_says_so(
    source: str, target: str, seed: int, scale: float
) -> None:
    block = max(TENSOR_TYPES[source].block_elements, 32)
    weights = np.random.default_rng(seed).standard_normal((8, block)) * scale
    raw = ggml_rounded(weights.astype(np.float32), source)
    values = ggml_values(raw, source)
    again = ggml_values(repacked(raw, source, target), target)
    np.testing.assert_array_equal(again.reshape(values.shape), values)


def test_the_table_knows_the_types_and_each_holds_itself() -> None:
    for source, targets in EXACT_TYPES.items():
        assert source not in targets and {source, *targets} <= TENSOR_TYPES.keys()
        assert exact_types(source) == (source, *targets)
    assert exact_types("IQ3_S") == ("IQ3_S",)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, 64, 128, 256])
@pytest.mark.parametrize("bits", [2, 3, 4])
@given(seed=st.integers(0, 2**32 - 1))
def test_integer_checkpoints_lie_on_blocks_of_four_and_five_bits(
    bits: int, group: int, symmetric: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    columns = 256
    codes = random.integers(0, 1 << bits, (4, columns)).astype(np.float32)
    shape = (4, columns // group)
    zeros = np.full(shape, 1 << (bits - 1)) if symmetric else random.integers(0, 1 << bits, shape)
    step = random.uniform(1e-3, 0.1, shape).astype(np.float16).astype(np.float32)
    whole = codes - zeros.repeat(group, 1)
    values = (whole * step.repeat(group, 1)).astype(np.float32)
    targets = exact_types_of_grid(IntegerGrid(bits=bits, group=group, symmetric=symmetric))
    assert ("Q4_0" in targets) == (bits < 4 or symmetric) and "Q8_0" in targets
    of_block = step.repeat(group, 1)[:, ::32].reshape(-1, 1)
    for target in targets:
        lowest = {"Q4_1": 8, "Q5_1": 16}.get(target, 0)
        blocks = packed(
            whole.reshape(-1, 32) + lowest,
            of_block,
            (-lowest * of_block).astype(np.float32),
            target,
        )
        np.testing.assert_array_equal(ggml_values(blocks, target).reshape(values.shape), values)


@pytest.mark.parametrize(
    ("bits", "group", "symmetric"), [(8, 128, True), (8, 128, False), (4, 16, True), (4, 48, True)]
)
def test_other_integers_lie_on_no_blocks(bits: int, group: int, symmetric: bool) -> None:
    assert exact_types_of_grid(IntegerGrid(bits=bits, group=group, symmetric=symmetric)) == ()


def test_microscaled_weights_of_a_checkpoint_are_mxfp4_in_gguf() -> None:
    """OCP Microscaling Formats 1.0: 2^(e - 127) times a 4-bit float, 32 columns an exponent."""
    random = np.random.default_rng(0)
    floats = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    exponents = random.integers(100, 140, (16, 1)).astype(np.uint8)
    nibbles = random.integers(0, 16, (16, 32)).astype(np.uint8)
    values = np.where(nibbles > 7, -1, 1) * floats[nibbles & 7]
    values = values * np.exp2(exponents.astype(np.float32) - 127)
    raw = np.concatenate([exponents, nibbles[:, :16] | nibbles[:, 16:] << 4], axis=1)
    np.testing.assert_array_equal(ggml_values(raw, "MXFP4"), values)
