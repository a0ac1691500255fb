"""What the writer writes, our reader and the gguf package's read back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.common.errors import NotWritable
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.writer import (
    OutputTensor,
    copied_fields,
    header_bytes,
    packed_field,
    packed_fields,
    write_gguf,
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda v: ("add_uint32", v)),
    st.integers(-(2**31), 2**31 - 1).map(lambda v: ("add_int32", v)),
    st.integers(0, 2**64 - 1).map(lambda v: ("add_uint64", v)),
    st.floats(width=32, allow_nan=False).map(lambda v: ("add_float32", v)),
    st.booleans().map(lambda v: ("add_bool", v)),
    texts.filter(bool).map(lambda v: ("add_string", v)),
    st.lists(texts, min_size=1, max_size=4).map(lambda v: ("add_array", v)),
    st.lists(st.integers(-9, 9), min_size=1, max_size=4).map(lambda v: ("add_array", v)),
    st.lists(st.booleans(), min_size=1, max_size=4).map(lambda v: ("add_array", v)),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(
        lambda v: ("add_array", v)
    ),
)


@settings(max_examples=60)
@given(entries=st.dictionaries(st.from_regex(r"[a-z]{1,6}\.[a-z]{1,6}", fullmatch=True), values))
def test_metadata_is_packed_as_the_gguf_package_packs_it(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, tuple[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("fields") / "metadata.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for key, (method, value) in entries.items():
        getattr(writer, method)(f"own.{key}", value)
    ours = header_bytes(packed_fields(writer.kv_data[0]), [], 32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert path.read_bytes() == ours


def test_a_field_copied_from_a_file_is_byte_for_byte_the_same(tmp_path: Path) -> None:
    # Not whole UTF-8, an empty array and a NaN with a payload: none survives Python values.
    broken = b"\x80\xff token"
    fields = {
        "a": packed_field("a", [broken, b""], 9, 8),
        "b": packed_field("b", [], 9, 4),
        "c": packed_field("c", 0.0, 6)[:-4] + b"\x01\x00\xc0\x7f",
    }
    first = tmp_path / "first.gguf"
    write_gguf(first, fields, [OutputTensor("t", (2, 32), "F32")], _zeros)
    assert copied_fields(read_gguf_header(first)) == fields


def _zeros(tensor: OutputTensor) -> list[np.ndarray]:
    return [np.zeros(math.prod(tensor.shape), dtype=np.float32)]


@settings(max_examples=30)
@given(
    shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=5),
    alignment=st.sampled_from([32, 64, 256]),
)
def test_tensors_read_back_as_they_were_given(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[int]], alignment: int
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "model.gguf"
    generator = np.random.default_rng(0)
    arrays = {
        f"t{index}": generator.standard_normal(shape).astype(np.float32)
        for index, shape in enumerate(shapes)
    }
    tensors = [OutputTensor(name, array.shape, "F32") for name, array in arrays.items()]
    fields = {
        "general.architecture": packed_field("general.architecture", "llama", 8),
        "general.alignment": packed_field("general.alignment", alignment, 4),
    }

    def pieces(tensor: OutputTensor) -> list[np.ndarray]:
        array = arrays[tensor.name]
        return [array[:1], array[1:]]

    size = write_gguf(path, fields, tensors, pieces, alignment)
    assert size == path.stat().st_size
    for read in gguf.GGUFReader(path).tensors:
        np.testing.assert_array_equal(read.data.reshape(arrays[read.name].shape), arrays[read.name])


def test_progress_counts_bytes_and_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    tensors = [OutputTensor("a", (4, 32), "F32"), OutputTensor("b", (32,), "F32")]
    write_gguf(tmp_path / "m.gguf", {}, tensors, _zeros, progress=lambda *at: seen.append(at))
    assert seen[-1] == (640, 640)
    assert seen == sorted(seen)


def test_a_file_whose_writing_fails_is_absent(tmp_path: Path) -> None:
    def too_few(tensor: OutputTensor) -> list[np.ndarray]:
        return [np.zeros(1, dtype=np.float32)]

    with pytest.raises(ValueError, match="t needs 256 bytes, 4 were given"):
        write_gguf(tmp_path / "m.gguf", {}, [OutputTensor("t", (2, 32), "F32")], too_few)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_explained_error(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").mkdir()
    with pytest.raises(NotWritable, match="-o"):
        write_gguf(tmp_path / "m.gguf", {}, [], _zeros)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
