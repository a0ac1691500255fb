"""The float16 scales of GGUF's blocks: values are linear in them, bit for bit."""

from __future__ import annotations

import gguf
import pytest
import torch
from torch import Tensor

from edgecomp.compress.gguf_scales import (
    SCALE_PLACES,
    block_scales,
    block_units,
    dequantized,
    scaled,
    with_scales,
)
from edgecomp.compress.gguf_types import GGUF_GRIDS
from edgecomp.compress.quantized import pack
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.compress.scaled_linear import ScaledEmbedding, ScaledLinear, ScaledMatrix

KINDS = sorted(SCALE_PLACES)


def rows_of(kind: str, rows: int = 6, columns: int = 512, seed: int = 0) -> Tensor:
    """The bytes of a random matrix rounded to nearest."""
    weight = 0.05 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    grid = GGUF_GRIDS[kind]
    packed = pack(grid, round_to_nearest(weight, grid, torch.ones(columns), kind))
    assert packed is not None
    return packed.rows


def moved(matrix: ScaledMatrix) -> ScaledMatrix:
    """With each scale changed by some percent."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        matrix.change.add_(0.02 * torch.randn(matrix.change.shape, generator=random))
    return matrix


def test_every_type_with_float16_scales_is_known() -> None:
    assert set(SCALE_PLACES) == set(GGUF_GRIDS) - {"MXFP4"}


@pytest.mark.parametrize("kind", KINDS)
def test_units_under_scales_are_what_llama_cpp_reads(kind: str) -> None:
    rows = rows_of(kind)
    expected = torch.from_numpy(gguf.dequantize(rows.numpy(), gguf.GGMLQuantizationType[kind]))
    assert torch.equal(scaled(block_units(kind, rows), block_scales(kind, rows)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_what_is_packed(kind: str) -> None:
    """Values that torch computes with are those of the bytes, and codes stay."""
    rows = rows_of(kind)
    matrix = moved(ScaledMatrix(kind, rows))
    packed = matrix.packed()
    assert not torch.equal(packed, rows)
    assert torch.equal(matrix.values(), dequantized(kind, packed))
    assert torch.equal(with_scales(kind, packed, block_scales(kind, rows)), rows)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_autograds_of_the_dense_weight(kind: str) -> None:
    matrix = moved(ScaledMatrix(kind, rows_of(kind)))
    random = torch.Generator().manual_seed(2)
    x = torch.randn(2, 5, 512, generator=random, requires_grad=True)
    wanted = torch.randn(2, 5, 6, generator=random)
    ScaledLinear(matrix, None, torch.float32)(x).backward(wanted)
    assert matrix.change.grad is not None and x.grad is not None
    found, found_x = matrix.change.grad.clone(), x.grad.clone()
    matrix.change.grad = x.grad = None
    (x @ matrix.values().T).backward(wanted)
    torch.testing.assert_close(found, matrix.change.grad)
    torch.testing.assert_close(found_x, x.grad)


def test_an_embeddings_rows_are_the_matrixs_and_so_are_their_gradients() -> None:
    matrix = moved(ScaledMatrix("Q4_K", rows_of("Q4_K")))
    ids = torch.tensor([[3, 1], [3, 5]])
    wanted = torch.randn(2, 2, 512, generator=torch.Generator().manual_seed(3))
    embedded = ScaledEmbedding(matrix, 2.0)(ids)
    assert torch.equal(embedded, 2 * matrix.values()[ids])
    embedded.backward(wanted)
    assert matrix.change.grad is not None
    found, matrix.change.grad = matrix.change.grad, None
    (2 * matrix.values()[ids]).backward(wanted)
    torch.testing.assert_close(found, matrix.change.grad)
