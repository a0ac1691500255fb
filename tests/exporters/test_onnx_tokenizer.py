"""What is shipped as an ONNX artifact's tokenizer cuts no text and fills none up (P18)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from edgecomp.common.errors import FileCorrupt
from edgecomp.exporters.onnx_optimum import _copy_files
from edgecomp.exporters.onnx_tokenizer import copy_tokenizer
from edgecomp.formats.exporting import find_onnx_exporter
from edgecomp.models.reading import read_model

LONG = " ".join(f"number {i} jumps over \N{BRAIN} 日本" for i in range(30))


@pytest.fixture
def limited(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose tokenizer was saved after a call with a limit of its own."""
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "limited")
    file = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=12)
    tokenizer.save(file)
    assert len(Tokenizer.from_file(file).encode(LONG).ids) == 12
    return folder


def require_whole(shipped: Path, source: Path) -> None:
    """The shipped file gives what the source gives without its limits, and says all else."""
    tokenizer = Tokenizer.from_file(str(source))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in (LONG, "short"):
        assert Tokenizer.from_file(str(shipped)).encode(text).ids == tokenizer.encode(text).ids
    said, found = json.loads(source.read_text()), json.loads(shipped.read_text())
    assert found.pop("truncation") is None and found.pop("padding") is None
    assert found == {name: said[name] for name in found} and len(said) == len(found) + 2


def test_a_limit_that_was_left_is_not_shipped(limited: Path, tmp_path: Path) -> None:
    source, shipped = limited / "tokenizer.json", tmp_path / "shipped.json"
    assert "but for its truncation and padding" in copy_tokenizer(source, shipped)
    require_whole(shipped, source)


def test_a_tokenizer_without_one_goes_over_byte_for_byte(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    source, shipped = tiny_model("llama") / "tokenizer.json", tmp_path / "shipped.json"
    assert copy_tokenizer(source, shipped) == "The tokenizer's file is the source's own."
    assert shipped.read_bytes() == source.read_bytes()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(FileCorrupt, match=r"tokenizer\.json"):
        copy_tokenizer(tmp_path / "tokenizer.json", tmp_path / "shipped.json")


def test_what_optimum_exports_ships_it_so(limited: Path, tmp_path: Path) -> None:
    """Beside the graph, which alone needs optimum's environment."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    assert "but for its truncation" in _copy_files(limited, folder)
    require_whole(folder / "tokenizer.json", limited / "tokenizer.json")
    for name in ("config.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (limited / name).read_bytes()


def test_what_the_builder_exports_ships_it_so(limited: Path, tmp_path: Path) -> None:
    record = find_onnx_exporter().export_format(read_model(limited), tmp_path / "out", "onnx-fp32")
    require_whole(record.path / "tokenizer.json", limited / "tokenizer.json")
    assert any("but for its truncation" in note for note in record.notes)
