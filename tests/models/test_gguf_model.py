"""GGUF files that are no whole language model, each told apart from a damaged one."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.common.errors import FileCorrupt, FileTruncated, ModelIncomplete, TokensRepeated
from edgecomp.devices.detect import detect_device
from edgecomp.models.reading import read_model
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.constraints import Constraints


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


def test_a_projector_is_told_apart_from_its_text_model(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    close(written(path, "clip"))
    with pytest.raises(ModelIncomplete, match=r"the projector \(mmproj\).*text model's own file"):
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


def test_tokens_of_the_same_text_are_named_before_llama_cpp_dies_of_them(
    tmp_path: Path,
) -> None:  # P12
    path = tmp_path / "repeated.gguf"
    writer = written(path, "llama")
    writer.add_token_list(["a", "b", "a", "\x1b[2J", "\x1b[2J"])
    close(writer)
    model = read_model(path)
    assert model.repeated_tokens == ("a", "\x1b[2J")
    (note,) = model.notes
    assert "'a', '\\x1b[2J' more than once" in note
    with pytest.raises(TokensRepeated, match="cannot be run"):
        make_plan(model, detect_device(), Constraints())
    with pytest.raises(TokensRepeated):
        find_artifact(str(path))


@pytest.mark.parametrize("layers", [2, 2**31, 2**32 - 1])
def test_more_layers_than_tensors_are_refused(tmp_path: Path, layers: int) -> None:  # A19
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_embedding_length(32)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    close(writer)
    with pytest.raises(FileCorrupt, match=f"promises {layers} layers and holds 1 tensors"):
        read_model(path)


def test_another_width_than_the_embedding_s_is_refused(tmp_path: Path) -> None:  # A19
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(2**31)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    close(writer)
    with pytest.raises(FileCorrupt, match="the embedding has 32 columns"):
        read_model(path)


@pytest.mark.parametrize("count", [2**22 + 1, 2**40, 2**63, 2**64 - 1])
def test_an_array_of_more_entries_than_any_vocabulary_is_refused(
    tmp_path: Path, count: int
) -> None:
    """A19. The file is as large as the array would be, where that can be: it is all zeros."""
    path = tmp_path / "model.gguf"
    key = b"tokenizer.ggml.tokens"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key
    path.write_bytes(head + struct.pack("<IIQ", 9, 8, count))
    with path.open("r+b") as file:
        file.truncate(min(8 * count, 2**30))
    with pytest.raises((FileCorrupt, FileTruncated), match="claims"):
        read_model(path)


def test_a_point_in_a_file_s_name_cuts_nothing_off(tmp_path: Path) -> None:  # P22
    for name in ("mimo-v2.5", "mimo-v2.5.gguf"):
        close(written(tmp_path / name, "llama"))
        assert read_model(tmp_path / name).name == "mimo-v2.5"


def test_a_big_endian_file_is_named_as_one(tmp_path: Path) -> None:  # P25
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    with pytest.raises(FileCorrupt, match="little-endian"):
        read_model(path)
