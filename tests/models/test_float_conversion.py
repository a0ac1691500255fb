"""Conversion between float types equals torch's, value by value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import save_file

from edgecomp.common.errors import ExportRefused, WeightsNotFinite
from edgecomp.models.float_conversion import convert, round_to_type, stored_array, to_float32
from edgecomp.models.safetensors_header import StoredTensor, read_safetensors_header

floats = st.floats(width=32, allow_nan=False, min_value=-60_000, max_value=60_000)
matrices = arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=floats)


@given(values=matrices)
def test_rounding_to_bfloat16_is_to_nearest_even(values: np.ndarray) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy()
    np.testing.assert_array_equal(round_to_type(values, "BF16", "t").view(np.int16), expected)


@given(values=matrices)
def test_rounding_to_float16_is_to_nearest_even(values: np.ndarray) -> None:
    expected = torch.from_numpy(values).to(torch.float16).numpy()
    np.testing.assert_array_equal(round_to_type(values, "F16", "t"), expected)


@given(values=matrices)
def test_bfloat16_widens_exactly(values: np.ndarray) -> None:
    narrow = round_to_type(values, "BF16", "t")
    expected = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(to_float32(narrow, "BF16"), expected)


@given(values=matrices)
def test_pieces_joined_are_the_whole(values: np.ndarray) -> None:
    pieces = list(convert(values, "F32", "F16", "t"))
    np.testing.assert_array_equal(np.concatenate(pieces), values.astype(np.float16))


def test_a_value_past_the_end_of_float16_is_refused_by_name() -> None:
    with pytest.raises(ExportRefused, match=r"blk\.0 holds 70000, and F16 ends at 65504") as told:
        round_to_type(np.asarray([1.0, -70_000.0], dtype=np.float32), "F16", "blk.0")
    assert "bfloat16" in str(told.value) and "--format" in str(told.value)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stored", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("target", ["F32", "F16", "BF16"])
def test_a_weight_that_is_no_number_is_refused_by_name_and_place(  # P20
    wrong: float, stored: str, target: str
) -> None:
    right = np.asarray([[1.0, -2.0, 3.0], [0.0, 5.0, -6.0]], dtype=np.float32)
    damaged = right.copy()
    damaged[1, 1] = wrong
    narrow = {
        "F32": lambda values: values,
        "F16": lambda values: values.astype(np.float16),
        "BF16": lambda values: (values.view(np.uint32) >> 16).astype(np.uint16),
    }[stored]
    assert len(list(convert(narrow(right), stored, target, "blk.0"))) == 1
    with pytest.raises(WeightsNotFinite, match=r"blk\.0 holds NaN or infinity \(its value 4 is"):
        list(convert(narrow(damaged), stored, target, "blk.0"))


def test_stored_tensors_are_read_as_they_were_saved(tmp_path: Path) -> None:
    saved = {
        "wide": torch.randn(3, 5),
        "half": torch.randn(2, 4).half(),
        "brain": torch.randn(2, 4).bfloat16(),
    }
    save_file(saved, tmp_path / "m.safetensors")
    for name, stored in read_safetensors_header(tmp_path / "m.safetensors").items():
        array = np.ascontiguousarray(stored_array(stored))
        expected = saved[name].float().numpy()
        np.testing.assert_array_equal(to_float32(array, stored.dtype), expected)


def test_packed_integers_are_no_floats(tmp_path: Path) -> None:
    stored = StoredTensor("q", "I32", (1, 1), tmp_path / "m.safetensors", 0, 4)
    with pytest.raises(ExportRefused, match=r"q .* is stored as I32"):
        stored_array(stored)
