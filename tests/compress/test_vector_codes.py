"""Codes chosen some columns at a time, against a search of everything."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from edgecomp.compress.gguf_vector_grids import VECTOR_GRIDS
from edgecomp.compress.vector_codes import SIGNED, VectorCodes, codebook

EIGHTS = ["IQ2_S", "IQ2_XS", "IQ2_XXS"]


def vector_codes(kind: str) -> VectorCodes:
    codes = VECTOR_GRIDS[kind].codes
    assert isinstance(codes, VectorCodes)
    return codes


def free_values(kind: str, rows: int = 12) -> Tensor:
    """What eight columns would best be, in steps of a size that suits the type."""
    level = codebook(kind, torch.device("cpu")).magnitudes.square().mean().sqrt()
    return torch.randn(rows, SIGNED, generator=torch.Generator().manual_seed(5)) * level


def correlated_form() -> Tensor:
    factor = torch.randn(SIGNED, SIGNED, generator=torch.Generator().manual_seed(6)).triu()
    return factor @ factor.T + 0.2 * torch.eye(SIGNED)


def cost(codes: Tensor, free: Tensor, form: Tensor) -> Tensor:
    change = codes - free
    return (change @ form * change).sum(dim=-1)


def every_code(kind: str) -> Tensor:
    """All vectors of eight that a type can hold."""
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=SIGNED)))
    if vector_codes(kind).even_signs:
        signs = signs[signs.prod(dim=1) > 0]
    magnitudes = codebook(kind, torch.device("cpu")).magnitudes
    return (signs[:, None] * magnitudes).view(-1, SIGNED)


@pytest.mark.parametrize("kind", EIGHTS)
def test_vectors_of_eight_come_close_to_the_best_of_all(kind: str) -> None:
    free, form = free_values(kind, rows=40), correlated_form()
    codes = every_code(kind)
    best = torch.stack([cost(codes, row, form).min() for row in free])
    found = cost(vector_codes(kind).choose(free, form), free, form)
    assert (found >= 0.999 * best).all()
    assert found.sum() < 1.15 * best.sum()


def test_vectors_of_four_come_close_to_the_best_of_all_for_each_half() -> None:
    kind, free = "IQ3_S", free_values("IQ3_S")
    form = correlated_form()
    form[:4, 4:] = form[4:, :4] = 0
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=4)))
    magnitudes = codebook(kind, torch.device("cpu")).magnitudes
    codes = (signs[:, None] * magnitudes).view(-1, 4)
    best = torch.zeros(len(free))
    for half in (slice(0, 4), slice(4, 8)):
        best += torch.stack([cost(codes, row, form[half, half]).min() for row in free[:, half]])
    found = cost(vector_codes(kind).choose(free, form), free, form)
    assert (found >= 0.999 * best).all()
    assert found.sum() < 1.1 * best.sum()


@pytest.mark.parametrize("kind", VECTOR_GRIDS)
def test_what_correlates_is_chosen_together(kind: str) -> None:
    """Under a form with much beside its diagonal, which the nearest codes know nothing of."""
    free, form = free_values(kind, rows=200), correlated_form()
    codes = vector_codes(kind)
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    nearest = codes.nearest(free, one, zero, form.diagonal()[None]).float()
    found = codes.choose(free, form)
    assert (cost(found, free, form) <= 1.001 * cost(nearest, free, form)).all()
    assert cost(found, free, form).sum() < 0.8 * cost(nearest, free, form).sum()


@pytest.mark.parametrize("kind", VECTOR_GRIDS)
def test_codes_are_ones_that_the_type_holds(kind: str) -> None:
    codes = vector_codes(kind)
    found = codes.choose(free_values(kind, rows=100), correlated_form())
    rows = {tuple(row) for row in codebook(kind, torch.device("cpu")).magnitudes.tolist()}
    assert {tuple(row) for row in found.abs().view(-1, codes.width).tolist()} <= rows
    if codes.even_signs:
        assert (found.sign().prod(dim=1) > 0).all()
