"""The table of formats against gguf's own sizes, and its errors measured again."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.formats.presets import PRESETS
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.runtimes.llama_cpp.types_to_make import Types

SIZES = {kind.name: sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}


@pytest.mark.parametrize("name", [name for name in TENSOR_TYPES if name in SIZES])
def test_blocks_have_the_sizes_that_gguf_knows(name: str) -> None:
    row = TENSOR_TYPES[name]
    assert (row.block_elements, row.block_bytes) == SIZES[name]
    assert gguf.GGMLQuantizationType[name].value == row.ggml_id


@given(st.sampled_from(sorted(TENSOR_TYPES)), st.integers(1, 10**9))
def test_a_size_is_whole_blocks_and_never_less_than_the_bits(name: str, elements: int) -> None:
    row = TENSOR_TYPES[name]
    size = row.size_bytes(elements)
    assert size % row.block_bytes == 0
    assert 0 <= size * 8 - elements * row.bits_per_weight < 8 * row.block_bytes


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gaussian") / "model.gguf"
    shape = SyntheticShape(
        layers=1, width=256, feed_forward=512, heads=4, kv_heads=4, vocabulary=256
    )
    write_synthetic(path, shape)
    return path


def matrices(path: Path) -> np.ndarray:
    """All feed-forward weights of a file, one after the other."""
    header = read_gguf_header(path)
    return np.concatenate(
        [
            piece.ravel()
            for tensor in sorted(header.tensors, key=lambda tensor: tensor.name)
            if ".ffn_" in tensor.name and len(tensor.shape) > 1
            for piece in float32_pieces(header, tensor)
        ]
    )


@pytest.mark.parametrize(
    "name",
    ["Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_XS", "Q3_K", "Q2_K"],
)
def test_relative_errors_are_those_of_llama_cpps_quantizer(
    gaussian: Path, tmp_path: Path, name: str
) -> None:
    made = tmp_path / "made.gguf"
    preset = next(row.name for row in PRESETS.values() if row.base == name)
    names = [t.name for t in read_gguf_header(gaussian).tensors if len(t.shape) > 1]
    runtime.quantize(
        gaussian, made, Types(preset=preset, overrides=dict.fromkeys(names, name)), threads=1
    )
    before, after = matrices(gaussian), matrices(made)
    error = float(np.square(after - before).sum() / np.square(before).sum())
    assert error == pytest.approx(TENSOR_TYPES[name].relative_error, rel=0.05)
