"""GGUF files that are no whole language model, each told apart from a damaged one."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from edgecomp.errors import FileCorrupt, ModelIncomplete
from edgecomp.model import read_model


def written(path: Path, architecture: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    return writer


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_one_part_of_a_split_model_is_not_planned_as_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "model-00002-of-00003.gguf"
    writer = written(path, "llama")
    writer.add_uint16("split.no", 1)
    writer.add_uint16("split.count", 3)
    close(writer)
    with pytest.raises(ModelIncomplete, match=r"part 2 of 3\. Join the parts first"):
        read_model(path)


def test_an_adapter_is_not_planned_as_a_model(tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    writer = written(path, "llama")
    writer.add_type("adapter")
    close(writer)
    with pytest.raises(ModelIncomplete, match="it holds an adapter"):
        read_model(path)


def test_an_image_encoder_is_told_apart_from_its_language_model(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    close(written(path, "clip"))
    with pytest.raises(ModelIncomplete, match="image encoder"):
        read_model(path)


def test_a_name_with_a_flipped_bit_is_shown_and_a_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = written(path, "llama")
    writer.add_name("plain")
    close(writer)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"plain", b"pl\x80in"))
    assert "pl\ufffdin" in read_model(path).model_dump_json()
    path.write_bytes(content.replace(b"token_embd", b"token\x80embd"))
    with pytest.raises(FileCorrupt, match="is no text"):
        read_model(path)
