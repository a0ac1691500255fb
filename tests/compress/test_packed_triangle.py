"""Half a matrix must do what the whole one does: each operation against the dense one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgecomp.compress.packed_triangle import PANEL, PackedTriangle

SIZES = st.sampled_from([1, 3, PANEL - 1, PANEL, PANEL + 1, 2 * PANEL, 2 * PANEL + 37])


def triangle_of(matrix: Tensor) -> PackedTriangle:
    """The upper triangle of a symmetric or an upper triangular matrix."""
    made = PackedTriangle(len(matrix), matrix)
    for part, panel in made:
        panel.copy_(matrix[part, part.start :])
    return made


def dense(triangle: PackedTriangle, *, symmetric: bool = True) -> Tensor:
    """The matrix whole; of one that is not symmetric, nothing may be under the diagonal."""
    whole = triangle.panels[0].new_zeros(triangle.size, triangle.size)
    for part, panel in triangle:
        whole[part, part.start :] = panel
        if symmetric:
            whole[part.stop :, part] = panel[:, len(panel) :].T
    if symmetric:
        torch.testing.assert_close(whole, whole.T)
    else:
        assert torch.equal(whole, whole.triu())
    return whole


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).double()


def upper(size: int) -> Tensor:
    """Unit upper triangular, and mild enough that solving it does not blow up."""
    return (random(size, size) / size).triu(1) + torch.eye(size).double()


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, slice]:
    size = draw(SIZES)
    first = draw(st.integers(0, size - 1))
    return size, slice(first, draw(st.integers(first + 1, size)))


@given(SIZES)
@settings(deadline=None)
def test_gathered_products_are_the_whole_product(size: int) -> None:
    x, weights = random(50, size), torch.linspace(0.5, 2, 50).double()
    made = PackedTriangle(size, x)
    made.add_products(x * weights[:, None], x, 0.25)
    made.add_products(x, x, 0.5)
    made.add_to_diagonal(0.125)
    expected = 0.25 * x.T @ (x * weights[:, None]) + 0.5 * x.T @ x + 0.125 * torch.eye(size)
    torch.testing.assert_close(dense(made), (expected + expected.T) / 2)
    assert torch.equal(made.diagonal(), dense(made).diagonal())


@given(SIZES)
@settings(deadline=None)
def test_sums_quotients_and_permutations_of_symmetric_matrices(size: int) -> None:
    first, second = ((m + m.T) for m in (random(size, size), random(size + 1, size)[1:]))
    scale = torch.linspace(0.5, 2, size).double()
    order = torch.randperm(size, generator=torch.Generator().manual_seed(size))
    assert torch.equal(dense(triangle_of(first).plus(triangle_of(second))), first + second)
    divided = triangle_of(first)
    divided.divide_rows(scale)
    divided.divide_columns(scale)
    torch.testing.assert_close(dense(divided), first / scale / scale[:, None])
    assert torch.equal(dense(triangle_of(first).permuted(order)), first[order][:, order])
    change = random(7, size)
    expected = (change @ first * change).sum().item()
    assert triangle_of(first).quadratic(change) == pytest.approx(expected)


@given(spans())
@settings(deadline=None)
def test_what_rows_feed_to_the_columns_after_them(span: tuple[int, slice]) -> None:
    size, columns = span
    matrix, values = upper(size), random(size, 5)
    base = random(columns.stop - columns.start, 5)
    for first in {0, columns.start // 2, columns.start}:
        rows = slice(first, columns.start)
        gathered = triangle_of(matrix).gather(base, rows, columns, values)
        torch.testing.assert_close(gathered, base + matrix[rows, columns].T @ values[rows])


@given(spans())
@settings(deadline=None)
def test_blocks_on_the_diagonal_and_what_they_answer(span: tuple[int, slice]) -> None:
    size, columns = span
    matrix = upper(size)
    block = matrix[columns, columns]
    assert torch.equal(triangle_of(matrix).block_of(columns), block)
    right_side = random(len(block), 5)
    solved = triangle_of(matrix).solve_unit(columns, right_side)
    torch.testing.assert_close(block.T @ solved, right_side)


def test_it_takes_half_the_memory() -> None:
    size = 16 * PANEL
    made = PackedTriangle(size, torch.empty(0))
    held = made.panels[0].untyped_storage().nbytes()
    assert held == 4 * (size * size + size * PANEL) // 2
