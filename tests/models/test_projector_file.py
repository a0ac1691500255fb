"""Projectors as GGUF files: the one that lies beside a text model is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgecomp.common.errors import ModelIncomplete
from edgecomp.exporters.gguf import export
from edgecomp.models.reading import read_model


def write_projector(path: Path, width: int, *towers: str) -> Path:
    """A projector without anything that reads: its header alone is looked at."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for tower in towers or ("vision",):
        writer.add_bool(f"clip.has_{tower}_encoder", True)
        writer.add_uint32(f"clip.{tower}.projection_dim", width)
    writer.add_tensor("mm.weight", np.zeros((width, 4), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def text_model(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    made = tmp_path / "text.gguf"
    export(read_model(tiny_model("llama")), made, "F16")
    return made


def test_a_projector_given_as_a_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelIncomplete, match=r"projector \(mmproj\)"):
        read_model(write_projector(tmp_path / "mmproj.gguf", 64))


def test_the_projector_beside_a_model_is_found_by_its_width(text_model: Path) -> None:
    width = read_model(text_model).embedding_length
    assert read_model(text_model).projector is None
    write_projector(text_model.with_name("other-mmproj-F16.gguf"), width + 32)
    text_model.with_name("broken-mmproj.gguf").write_bytes(b"GGUF")
    assert read_model(text_model).projector is None
    own = write_projector(text_model.with_name("text-mmproj-F16.gguf"), width, "vision", "audio")
    model = read_model(text_model)
    assert model.projector and model.projector.path == own
    assert model.projector.towers == ("vision", "audio")
    assert model.projector_bytes == own.stat().st_size
    assert any("text-mmproj-F16.gguf, is taken along" in note for note in model.notes)


def test_of_two_projectors_that_fit_none_is_taken(text_model: Path) -> None:
    width = read_model(text_model).embedding_length
    for kind in ("F16", "BF16"):
        write_projector(text_model.with_name(f"mmproj-{kind}.gguf"), width)
    model = read_model(text_model)
    assert model.projector_bytes == 0
    assert any("mmproj-BF16.gguf and mmproj-F16.gguf" in note for note in model.notes)
