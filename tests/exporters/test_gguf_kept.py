"""A source's own blocks in a file that llama.cpp's quantizer made of its float weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from ggml_rounding import stored_bytes, write_typed

from edgecomp.common.errors import ExportRefused
from edgecomp.exporters.gguf import export, insert_stored
from edgecomp.formats.exact_types import kept_tensors
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.reading import read_model
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types


def matrices(path: Path) -> list[str]:
    return [row.name for row in read_gguf_header(path).tensors if len(row.shape) > 1]


@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K"]
)
def test_a_tensor_of_the_sources_own_type_comes_back_to_the_bit(
    tiny_gguf: Path, tmp_path: Path, kind: str
) -> None:
    types = dict.fromkeys(matrices(tiny_gguf), kind)
    source = read_model(write_typed(tiny_gguf, tmp_path / "source.gguf", types))
    base, made = export(source, tmp_path / "float.gguf").path, tmp_path / "made.gguf"
    LlamaCpp().quantize(base, made, Types(preset="Q8_0", overrides=types), threads=1)
    kept = kept_tensors(source, types)
    assert set(kept) == set(types)
    insert_stored(made, source, kept)
    assert stored_bytes(made) == stored_bytes(source.path)


def test_only_tensors_that_keep_a_quantized_type_are_kept(tiny_gguf: Path, tmp_path: Path) -> None:
    names = matrices(tiny_gguf)
    types = dict.fromkeys(names, "Q4_K") | {names[0]: "Q6_K"}
    source = read_model(write_typed(tiny_gguf, tmp_path / "source.gguf", types))
    assert kept_tensors(source, dict.fromkeys(names, "Q4_K")) == tuple(
        tensor.name for tensor in source.tensors if tensor.name in names[1:]
    )
    assert kept_tensors(source, dict.fromkeys(names, "Q5_K")) == ()
    assert kept_tensors(read_model(tiny_gguf), dict.fromkeys(names, "F16")) == ()


def test_blocks_of_another_type_are_not_put_in(tiny_gguf: Path, tmp_path: Path) -> None:
    name = matrices(tiny_gguf)[0]
    source = read_model(write_typed(tiny_gguf, tmp_path / "source.gguf", {name: "Q4_K"}))
    other = write_typed(tiny_gguf, tmp_path / "other.gguf", {name: "Q4_0"})
    before = other.read_bytes()
    with pytest.raises(ExportRefused, match=rf"{name} .* is Q4_0 .* Q4_K"):
        insert_stored(other, source, [name])
    assert other.read_bytes() == before
