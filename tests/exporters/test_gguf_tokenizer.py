"""llama.cpp cuts texts into the tokens that Hugging Face's tokenizers cut them into."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, pre_tokenizers, processors

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.checks.token_id_check import MARKS_LEFT_OUT, check_token_ids
from edgecomp.common.errors import ExportRefused, FileCorrupt, ModelIncomplete
from edgecomp.exporters import pretokenizers
from edgecomp.exporters.gguf import export, reservations
from edgecomp.exporters.sentencepiece_model import Piece, read_pieces
from edgecomp.formats.exporting import find_exporter
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.writer import copied_fields
from edgecomp.models.huggingface.end_tokens import end_token_ids
from edgecomp.models.reading import read_model
from edgecomp.runtimes.protocol import find_runtime

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
    tekken = pretokenizers.pretokenizer_named("tekken")
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


Write = Callable[[Tokenizer, Path], None]


def configured(model: Path, folder: Path, **files: dict[str, Any]) -> Path:
    """A copy whose JSON files have other entries; None takes an entry away."""
    shutil.copytree(model, folder)
    for name, entries in files.items():
        path = folder / f"{name}.json"
        held = (json.loads(path.read_text()) if path.is_file() else {}) | entries
        path.write_text(json.dumps({key: v for key, v in held.items() if v is not None}))
    return folder


def ends_of(file: Path) -> list[object]:
    header = read_gguf_header(file)
    return [header.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]


END_TOKENS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[int | None]]] = [
    ({"eos_token_id": [2, 3]}, {"eos_token_id": [2, 3]}, {"eos_token": None}, [2, 3, None]),
    ({"eos_token_id": [3, 2]}, {"eos_token_id": 2}, {}, [2, 3, None]),
    ({"eos_token_id": 3}, {"eos_token_id": 2}, {"eos_token": None}, [3, None, None]),
    ({"eos_token_id": None}, {"eos_token_id": [3, 4]}, {"eos_token": None}, [3, 4, None]),
    ({"eos_token_id": None}, {"eos_token_id": None}, {}, [2, None, None]),
    ({"eos_token_id": [2, 3, 4]}, {}, {}, [2, 3, 4]),
    ({"eos_token_id": [2, 3, 9999]}, {}, {}, [2, 3, None]),
]


@pytest.mark.parametrize(("generation", "config", "tokenizer", "right"), END_TOKENS)
def test_every_token_that_ends_an_answer_ends_it_in_llama_cpp(  # P8
    generation: dict[str, Any],
    config: dict[str, Any],
    tokenizer: dict[str, Any],
    right: list[int | None],
    tiny_model: MakeModel,
    tmp_path: Path,
) -> None:
    import llama_cpp

    folder = configured(
        tiny_model("llama"),
        tmp_path / "m",
        generation_config=generation,
        config=config,
        tokenizer_config=tokenizer,
    )
    record = export(read_model(folder), tmp_path / "m.gguf")
    assert ends_of(record.path) == right
    loaded = llama_cpp.Llama(str(record.path), n_ctx=16, vocab_only=True, verbose=False)
    vocabulary = llama_cpp.llama_model_get_vocab(loaded.model)
    for token in (token for token in right if token is not None):
        assert llama_cpp.llama_vocab_is_eog(vocabulary, token)
    loaded.close()
    texts = {2: "</s>", 3: "<|user|>", 4: "<|endoftext|>"}
    template = read_chat_template(record.path)
    assert template.ends == tuple(texts[token] for token in right if token is not None)


def test_end_tokens_beyond_what_gguf_has_room_for_are_told(  # P8
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    many = {"eos_token_id": [2, 3, 4, 10]}
    folder = configured(tiny_model("llama"), tmp_path / "m", generation_config=many)
    record = export(read_model(folder), tmp_path / "m.gguf")
    assert any("room for 3 tokens that end an answer" in note for note in record.notes)


def test_the_end_tokens_of_a_gguf_file_go_back_into_a_checkpoint(  # P8
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    both = {"eos_token_id": [2, 3]}
    folder = configured(tiny_model("llama"), tmp_path / "m", generation_config=both)
    file = export(read_model(folder), tmp_path / "m.gguf").path
    find_exporter("huggingface").export(read_model(file), tmp_path / "back")
    assert end_token_ids(tmp_path / "back") == (2, 3)


def test_an_added_token_without_a_row_is_left_out_and_told(  # P13
    tiny_model: MakeModel, tmp_path: Path, byte_level_tokenizer: Tokenizer, write_tokenizer: Write
) -> None:
    definition = json.loads(byte_level_tokenizer.to_str())
    definition["added_tokens"].append(
        definition["added_tokens"][0] | {"id": 600, "content": "<image_soft_token>"}
    )
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    folder = with_tokenizer(tiny_model("gemma3"), tmp_path / "m", tokenizer, write_tokenizer)
    model = read_model(folder)
    record = export(model, tmp_path / "m.gguf")
    tokens = read_gguf_header(record.path).get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list) and len(tokens) == 600 and "<image_soft_token>" not in tokens
    said = "1 added tokens have no row in the embedding and are left out: <image_soft_token>."
    assert said in record.notes and said in reservations(model)
    result = check_token_ids(model, record.path, find_runtime("llama.cpp"))
    assert result.passed, result.detail
    assert "whose tokens have no embedding" in result.detail


def test_two_tokens_that_llama_cpp_reads_alike_are_refused(  # P12
    tiny_model: MakeModel, tmp_path: Path, train_byte_fallback: Train, write_tokenizer: Write
) -> None:
    definition = json.loads(train_byte_fallback(True).to_str())
    vocabulary = definition["model"]["vocab"]
    taken = [text for text, number in vocabulary.items() if number in (598, 599)]
    for text, other in zip(taken, ("  ", "\u2581\u2581"), strict=True):
        vocabulary[other] = vocabulary.pop(text)
    definition["model"]["merges"] = [
        pair for pair in definition["model"]["merges"] if "".join(pair) in vocabulary
    ]
    row = definition["added_tokens"][-1]
    definition["added_tokens"].append(
        row | {"id": vocabulary["\u2581\u2581"], "content": "\u2581\u2581", "special": False}
    )
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama"), folder)
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(ExportRefused, match="have the same text"):
        export(read_model(folder), tmp_path / "m.gguf")


def test_a_row_without_a_token_gets_a_text_that_no_token_has(  # P12
    tiny_model: MakeModel,
    tmp_path: Path,
    train_byte_level: Train,
    byte_level_tokenizer: Tokenizer,
    write_tokenizer: Write,
) -> None:
    definition = json.loads(train_byte_level(byte_level_tokenizer.pre_tokenizer, 500).to_str())
    definition["added_tokens"].append(
        definition["added_tokens"][0] | {"id": 500, "content": "[PAD501]"}
    )
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    result = compared(folder)
    assert result.passed, result.detail
    tokens = read_gguf_header(tmp_path / "m.gguf").get("tokenizer.ggml.tokens")
    assert isinstance(tokens, list) and tokens[500:503] == ["[PAD501]", "_[PAD501]", "[PAD502]"]


def test_a_leading_token_that_nobody_names_is_bos(  # P25
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder = configured(
        tiny_model("llama"),
        tmp_path / "m",
        config={"bos_token_id": None},
        generation_config={"bos_token_id": None},
        tokenizer_config={"bos_token": None},
    )
    result = compared(folder)
    assert result.passed, result.detail
    header = read_gguf_header(tmp_path / "m.gguf")
    assert header.get("tokenizer.ggml.bos_token_id") == 1
    assert header.get("tokenizer.ggml.add_bos_token") is True


def test_add_bos_token_null_says_nothing(tiny_model: MakeModel, tmp_path: Path) -> None:  # P25
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama"), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": None}))
    result = compared(folder)
    assert result.passed, result.detail
    assert read_gguf_header(tmp_path / "m.gguf").get("tokenizer.ggml.add_bos_token") is True


def test_a_merge_with_a_literal_space_never_happens_and_is_left_out(  # P25
    tiny_model: MakeModel, tmp_path: Path, byte_level_tokenizer: Tokenizer
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama"), folder)
    definition = json.loads(byte_level_tokenizer.to_str())
    vocabulary = definition["model"]["vocab"]
    for number, text in zip((598, 599), ("a b", "a bc"), strict=True):
        old = next(text for text, held in vocabulary.items() if held == number)
        del vocabulary[old]
        vocabulary[text] = number
    kept = [pair for pair in definition["model"]["merges"] if "".join(pair) in vocabulary]
    definition["model"]["merges"] = [*kept, ["a b", "c"]]
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    result = compared(folder)
    assert result.passed, result.detail
    merges = read_gguf_header(tmp_path / "m.gguf").get("tokenizer.ggml.merges")
    assert isinstance(merges, list) and len(merges) == len(kept)
    assert all(str(merge).count(" ") == 1 for merge in merges)


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_metaspace_gives_the_same_tokens(  # P25
    scheme: str,
    tiny_model: MakeModel,
    tmp_path: Path,
    train_byte_fallback: Train,
    write_tokenizer: Write,
) -> None:
    tokenizer = train_byte_fallback(True)
    tokenizer.normalizer = None  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    result = compared(folder)
    assert result.passed, result.detail
    assert bool(result.warning) == (scheme != "never")
    assert not result.warning or "one space more than the source" in result.warning


def test_where_a_space_more_is_read_nothing_else_may_differ(  # P25
    tiny_model: MakeModel, tmp_path: Path, train_byte_fallback: Train, write_tokenizer: Write
) -> None:
    tokenizer = train_byte_fallback(True)
    tokenizer.normalizer = None  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    folder = with_tokenizer(tiny_model("llama"), tmp_path / "m", tokenizer, write_tokenizer)
    model = read_model(folder)
    file = export(model, tmp_path / "m.gguf").path
    header = read_gguf_header(file)
    fields = copied_fields(header)
    key = "tokenizer.ggml.add_space_prefix"
    assert fields[key][-1:] == b"\x01"
    raw = file.read_bytes()
    file.write_bytes(raw.replace(fields[key], fields[key][:-1] + b"\x00"))
    result = check_token_ids(model, file, find_runtime("llama.cpp"))
    assert not result.passed and "texts differ" in result.detail
