"""Sizes computed from headers equal the sizes of files that others write."""

from __future__ import annotations

import math

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.size import gguf_file_bytes, header_size_bytes, padded_bytes
from edgecomp.models.tensor_types import TENSOR_TYPES

WRITABLE = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "Q4_K", "Q6_K", "IQ4_XS")
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
)
tensors = st.lists(
    st.tuples(
        names,
        st.sampled_from(WRITABLE),
        st.lists(st.integers(1, 5), min_size=0, max_size=2),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row[0],
)


@given(size=st.integers(0, 10**12), alignment=st.sampled_from([8, 32, 64, 4096]))
def test_padding_reaches_the_next_multiple_and_no_further(size: int, alignment: int) -> None:
    padded = padded_bytes(size, alignment)
    assert padded % alignment == 0
    assert 0 <= padded - size < alignment


@settings(max_examples=40)
@given(rows=tensors, key=names, text=st.text(st.characters(codec="utf-8"), max_size=50))
def test_the_size_is_that_of_the_file_the_gguf_package_writes(
    tmp_path_factory: pytest.TempPathFactory, rows: list, key: str, text: str
) -> None:
    path = tmp_path_factory.mktemp("size") / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string(f"own.{key}", text)
    planned = []
    for name, kind, outer, blocks in rows:
        row = TENSOR_TYPES[kind]
        shape = (*outer, blocks * row.block_elements)
        size = row.size_bytes(math.prod(shape))
        raw = np.zeros((*outer, blocks * row.block_bytes), dtype=np.uint8)
        assert raw.size == size
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType[kind])
        planned.append((math.prod(shape), kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_gguf_header(path)
    assert gguf_file_bytes(header_size_bytes(header), planned) == path.stat().st_size


def test_an_unknown_type_is_an_error() -> None:
    with pytest.raises(KeyError):
        gguf_file_bytes(100, [(32, "Q9_9")])


def test_alignment_is_honoured() -> None:
    assert gguf_file_bytes(1, [(1, "F32")], alignment=64) == 128
    assert gguf_file_bytes(64, [], alignment=64) == 64
