"""Mixtures of ONNX types: what shares a type, what fits where, how many bytes it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.formats.expected_loss import SOLVED_SHARE, error_worths, expected_loss
from edgecomp.formats.onnx_formats import onnx_data_bytes, onnx_tensor_bytes
from edgecomp.formats.onnx_mixture import OnnxMixture
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.models.tensor_types import TENSOR_TYPES


@pytest.fixture
def mixture(tiny_model: Callable[..., Path]) -> OnnxMixture:
    return OnnxMixture(read_model(tiny_model("llama")))


def test_rows_of_one_operator_share_a_type_and_all_else_has_its_own(mixture: OnnxMixture) -> None:
    parts = {shared.whole.name: [part.name for part in shared.parts] for shared in mixture.shared}
    assert parts["blk.1.attn_q.weight"] == [f"blk.1.attn_{role}.weight" for role in "qkv"]
    assert parts[EMBEDDING] == [EMBEDDING] and parts[OUTPUT] == [OUTPUT]
    assert "blk.1.attn_k.weight" not in parts
    whole = next(s.whole for s in mixture.shared if s.whole.name == "blk.1.attn_q.weight")
    assert whole.shape == (64 + 32 + 32, 64)


def test_only_blocks_that_divide_the_columns_are_a_choice(mixture: OnnxMixture) -> None:
    choices = {shared.whole.name: shared.choices for shared in mixture.shared}
    assert choices["blk.0.ffn_down.weight"] == ["INT4_32", "UINT4_32", "INT8_32"]  # of 96 columns
    assert {"INT4_64", "UINT4_64", "INT8_64"} <= {*choices["blk.0.ffn_up.weight"]}


def test_the_frontier_fills_the_bytes_that_the_file_then_has(mixture: OnnxMixture) -> None:
    frontier = mixture.frontier()
    smallest, largest = (
        onnx_data_bytes(mixture.model, "onnx-mix", overrides=mixture.by_tensor(types))
        for types in (frontier.within(0), frontier.within(10**9))
    )
    assert largest - smallest == frontier.largest_bytes - frontier.smallest_bytes
    room = (frontier.smallest_bytes + frontier.largest_bytes) // 2
    types = mixture.by_tensor(frontier.within(room))
    made = onnx_data_bytes(mixture.model, "onnx-mix", overrides=types)
    assert 0 <= room - frontier.smallest_bytes - (made - smallest) < 6_000


@pytest.mark.parametrize(
    ("kind", "columns", "row_bytes"),
    [
        ("INT4_32", 96, 3 * (4 + 16)),
        ("UINT4_32", 96, 3 * (4 + 16) + 2),  # Two zero points share a byte.
        ("UINT4_32", 64, 2 * (4 + 16) + 1),
        ("INT8_64", 128, 2 * (4 + 64)),
    ],
)
def test_a_row_takes_codes_scales_and_half_a_byte_a_zero_point(
    kind: str, columns: int, row_bytes: int
) -> None:
    assert onnx_tensor_bytes((5, columns), kind) == 5 * row_bytes


def test_types_that_our_solvers_choose_codes_for_lose_what_these_leave(
    mixture: OnnxMixture,
) -> None:
    worths = error_worths(mixture.model)
    tensor = next(t for t in mixture.model.tensors if t.name == "blk.0.ffn_up.weight")
    for kind in ("INT4_32", "UINT4_64", "INT8_64"):
        rounded = worths[tensor.name] * TENSOR_TYPES[kind].relative_error
        assert expected_loss(tensor, kind, worths) == pytest.approx(SOLVED_SHARE * rounded)
