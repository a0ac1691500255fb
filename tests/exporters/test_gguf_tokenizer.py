"""llama.cpp cuts texts into the tokens that Hugging Face's tokenizers cut them into."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from edgecomp.artifact_checks import CheckResult
from edgecomp.errors import ExportRefused, FileCorrupt, ModelIncomplete
from edgecomp.exporters import pretokenizers
from edgecomp.exporters.gguf import export
from edgecomp.exporters.sentencepiece_model import Piece, read_pieces
from edgecomp.gguf.header import read_gguf_header
from edgecomp.model import read_model
from edgecomp.runtimes.protocol import find_runtime
from edgecomp.token_id_check import MARKS_LEFT_OUT, check_token_ids

MakeModel = Callable[..., Path]
Train = Callable[..., Tokenizer]


def with_tokenizer(
    model: Path, folder: Path, tokenizer: Tokenizer, write: Callable[[Tokenizer, Path], None]
) -> Path:
    shutil.copytree(model, folder)
    write(tokenizer, folder)
    return folder


def compared(folder: Path) -> CheckResult:
    model = read_model(folder)
    record = export(model, folder.with_suffix(".gguf"))
    return check_token_ids(model, record.path, find_runtime("llama.cpp"))


def changed(tokenizer: Tokenizer, **entries: Any) -> Tokenizer:
    """The tokenizer with other entries of its tokenizer.json; `model_…` within its model."""
    definition = json.loads(tokenizer.to_str())
    for key, value in entries.items():
        if key.startswith("model_"):
            definition["model"][key.removeprefix("model_")] = value
        else:
            definition[key] = value
    return Tokenizer.from_str(json.dumps(definition))


@pytest.fixture
def cut_by(
    tiny_model: MakeModel,
    tmp_path: Path,
    byte_level_tokenizer: Tokenizer,
    train_byte_level: Train,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> Callable[[pretokenizers.PreTokenizer], Path]:
    """A model folder whose tokenizer cuts texts in a way that llama.cpp has a name for."""

    def make(row: pretokenizers.PreTokenizer) -> Path:
        cutter = changed(byte_level_tokenizer, pre_tokenizer=pretokenizers.definition(row))
        trained = train_byte_level(cutter.pre_tokenizer)
        tokenizer = changed(trained, model_ignore_merges=row.ignore_merges)
        return with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)

    return make


@pytest.mark.parametrize("row", pretokenizers.PRETOKENIZERS, ids=lambda row: row.name)
def test_each_known_pre_tokenizer_gives_the_same_tokens(
    row: pretokenizers.PreTokenizer, cut_by: Callable[[pretokenizers.PreTokenizer], Path]
) -> None:
    result = compared(cut_by(row))
    assert result.passed, result.detail
    assert result.detail.startswith("equal on all") != (row.name in MARKS_LEFT_OUT)
    assert bool(result.warning) == (row.name in MARKS_LEFT_OUT)
    assert not result.warning or "combining marks (Thai" in result.warning


def test_where_marks_may_be_cut_elsewhere_nothing_else_may(
    cut_by: Callable[[pretokenizers.PreTokenizer], Path],
) -> None:
    tekken = pretokenizers.named("tekken")
    assert tekken
    model = read_model(cut_by(tekken))
    file = export(model, model.path.with_suffix(".gguf")).path
    # Both names have six letters; the other one keeps up to three digits together.
    file.write_bytes(file.read_bytes().replace(b"tekken", b"gpt-4o", 1))
    result = check_token_ids(model, file, find_runtime("llama.cpp"))
    assert not result.passed
    assert "texts differ" in result.detail


@pytest.mark.parametrize("prefix_space", [True, False])
def test_sentencepiece_with_byte_fallback_gives_the_same_tokens(
    prefix_space: bool,
    tiny_model: MakeModel,
    tmp_path: Path,
    train_byte_fallback: Train,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    folder = with_tokenizer(
        tiny_model("llama"), tmp_path / "m", train_byte_fallback(prefix_space), write_tokenizer
    )
    result = compared(folder)
    assert result.passed, result.detail
    header = read_gguf_header(folder.with_suffix(".gguf"))
    assert header.get("tokenizer.ggml.model") == "llama"
    assert header.get("tokenizer.ggml.add_space_prefix") is prefix_space


def test_unicode_that_only_the_source_composes_is_told(tiny_model: MakeModel) -> None:
    model = read_model(tiny_model("qwen2"))
    record = export(model, model.path.with_suffix(".gguf"))
    result = check_token_ids(model, record.path, find_runtime("llama.cpp"))
    assert result.passed, result.detail
    assert "normal form C" in result.detail


def test_text_that_only_llama_cpp_takes_for_special_is_told(
    tiny_model: MakeModel,
    tmp_path: Path,
    byte_level_tokenizer: Tokenizer,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    definition = json.loads(byte_level_tokenizer.to_str())["model"]
    vocabulary, merges = definition["vocab"], definition["merges"][:-1]
    vocabulary = {text: number for text, number in vocabulary.items() if number != 599}
    # An ordinary token, out of reach of the merges, whose text llama.cpp has a meaning for.
    tokenizer = changed(
        byte_level_tokenizer, model_vocab=vocabulary | {"<|eot_id|>": 599}, model_merges=merges
    )
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    result = compared(folder)
    assert result.passed, result.detail
    assert "only when read as plain text" in result.detail


def test_an_unknown_pre_tokenizer_is_refused(
    tiny_model: MakeModel,
    tmp_path: Path,
    byte_level_tokenizer: Tokenizer,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    odd = {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": False}
    tokenizer = changed(byte_level_tokenizer, pre_tokenizer=odd)
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    with pytest.raises(ExportRefused, match=r"not known to have: \('x\+',\)"):
        export(read_model(folder), tmp_path / "model.gguf")


def test_tokens_that_llama_cpp_cannot_add_are_refused(
    tiny_model: MakeModel,
    tmp_path: Path,
    byte_level_tokenizer: Tokenizer,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    tokenizer = changed(byte_level_tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> <|user|> $A", special_tokens=[("<s>", 1), ("<|user|>", 3)]
    )
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    with pytest.raises(ExportRefused, match=r"the tokens \[1, 3\] before each text"):
        export(read_model(folder), tmp_path / "model.gguf")


def test_rows_without_a_token_are_filled_and_tokens_without_a_row_refused(
    tiny_model: MakeModel,
    tmp_path: Path,
    train_byte_level: Train,
    byte_level_tokenizer: Tokenizer,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    fewer = train_byte_level(byte_level_tokenizer.pre_tokenizer, 500)
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "few", fewer, write_tokenizer)
    result = compared(folder)
    assert result.passed, result.detail
    header = read_gguf_header(tmp_path / "few.gguf")
    tokens, types = header.get("tokenizer.ggml.tokens"), header.get("tokenizer.ggml.token_type")
    assert isinstance(tokens, list) and isinstance(types, list)
    assert (len(tokens), tokens[599], types[599]) == (600, "[PAD599]", 5)
    more = train_byte_level(byte_level_tokenizer.pre_tokenizer, 700)
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "many", more, write_tokenizer)
    with pytest.raises(ExportRefused, match="700 tokens, the embedding 600 rows"):
        export(read_model(folder), tmp_path / "model.gguf")


def test_special_tokens_template_and_bos_are_in_the_file(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    record = export(read_model(tiny_model("llama")), tmp_path / "model.gguf")
    header = read_gguf_header(record.path)
    assert header.get("tokenizer.ggml.bos_token_id") == 1
    assert header.get("tokenizer.ggml.eos_token_id") == 2
    assert header.get("tokenizer.ggml.add_bos_token") is True
    assert header.get("tokenizer.ggml.add_eos_token") is False
    assert "<|user|>" in str(header.get("tokenizer.chat_template"))


def test_the_name_says_whether_special_tokens_swallow_whitespace(
    tiny_model: MakeModel,
    tmp_path: Path,
    train_byte_fallback: Train,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    renamed = read_model(tiny_model("phi3")).model_copy(update={"name": "Phi-3-own"})
    plain = export(renamed, tmp_path / "plain.gguf")
    assert read_gguf_header(plain.path).get("general.name") == "Phi 3-own"
    definition = json.loads(train_byte_fallback(True).to_str())
    for row in definition["added_tokens"]:
        row["rstrip"] = row["content"] == "<|user|>"
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    folder = with_tokenizer(tiny_model("phi3"), tmp_path / "own", tokenizer, write_tokenizer)
    record = export(read_model(folder), tmp_path / "own.gguf")
    assert read_gguf_header(record.path).get("general.name") == "own (phi-3 tokenizer)"


def test_a_folder_without_tokenizer_json_is_refused(tiny_model: MakeModel, tmp_path: Path) -> None:
    shutil.copytree(tiny_model("llama"), tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(ModelIncomplete, match="AutoTokenizer"):
        export(read_model(tmp_path / "m"), tmp_path / "model.gguf")


def _message(number: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + payload


def test_pieces_of_a_sentencepiece_model_are_read(tmp_path: Path) -> None:
    normal = _message(1, "▁hé".encode()) + b"\x15" + struct.pack("<f", -3.5)
    control = _message(1, b"<s>") + b"\x15" + struct.pack("<f", 0.0) + b"\x18\x03"
    trainer = _message(2, b"\x18\x02" + b"\x61" + bytes(8))
    path = tmp_path / "tokenizer.model"
    path.write_bytes(_message(1, normal) + _message(1, control) + trainer)
    assert read_pieces(path) == [Piece("▁hé", -3.5, 1), Piece("<s>", 0.0, 3)]


def test_scores_of_the_model_file_win_over_ranks(
    tiny_model: MakeModel,
    tmp_path: Path,
    train_byte_fallback: Train,
    write_tokenizer: Callable[[Tokenizer, Path], None],
) -> None:
    tokenizer = train_byte_fallback(True)
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    pieces = b""
    for number in range(600):
        text = tokenizer.id_to_token(number).encode()
        body = _message(1, text) + b"\x15" + struct.pack("<f", -0.5 * number)
        pieces += _message(1, body)
    (folder / "tokenizer.model").write_bytes(pieces)
    result = compared(folder)
    assert result.passed, result.detail
    scores = read_gguf_header(tmp_path / "m.gguf").get("tokenizer.ggml.scores")
    assert isinstance(scores, list)
    assert scores[599] == -299.5


@pytest.mark.parametrize("damage", [b"\x0a\xff", b"\x0a\x05ab", b"\xff" * 4])
def test_a_damaged_sentencepiece_model_is_an_explained_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(damage)
    with pytest.raises(FileCorrupt, match="not a SentencePiece model"):
        read_pieces(path)


@pytest.mark.parametrize("definition", [{}, {"model": {"type": "BPE"}}, {"model": []}])
def test_a_tokenizer_without_a_vocabulary_is_called_damaged(
    tiny_model: MakeModel, tmp_path: Path, definition: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), folder)
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(FileCorrupt, match="damaged: it has no vocabulary"):
        export(read_model(folder), tmp_path / "model.gguf")


def test_a_tokenizer_of_another_kind_is_refused_by_name(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), folder)
    definition = {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}}
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(ExportRefused, match="'Unigram'"):
        export(read_model(folder), tmp_path / "model.gguf")
