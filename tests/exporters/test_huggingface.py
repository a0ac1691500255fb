"""A checkpoint made of a GGUF file is the model again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.errors import ExportRefused, NotWritable
from edgecomp.exporters import gguf as gguf_exporter
from edgecomp.exporters.huggingface import expected_float_size_bytes, export
from edgecomp.models import safetensors_writer
from edgecomp.models.architectures import ARCHITECTURES, Architecture
from edgecomp.models.float_conversion import raw_pieces
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.reading import read_model
from edgecomp.runtimes.protocol import find_runtime

MakeModel = Callable[..., Path]
FAMILIES = (
    "llama", "llama-linear-rope", "llama-biased", "mistral", "qwen2", "qwen2-yarn-rope", "qwen3",
    "gemma2", "gemma3", "phi3", "phi4-mini", "gpt2", "mixtral", "qwen2moe", "qwen3moe",
)  # fmt: skip
TOKENS = [1, *((37 * index + 11) % 600 for index in range(40))]


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.inference_mode():
        return model(torch.tensor([TOKENS])).logits


def tensor_bytes(path: Path) -> dict[str, bytes]:
    header = read_gguf_header(path)
    return {
        row.name: b"".join(piece.tobytes() for piece in raw_pieces(header, row))
        for row in header.tensors
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_checkpoint_gives_the_logits_of_the_original(
    tiny_model: MakeModel, tmp_path: Path, family: str
) -> None:
    folder = tiny_model(family)
    middle = gguf_exporter.export(read_model(folder), tmp_path / "model.gguf", "F32").path
    record = export(read_model(middle), tmp_path / "again", "F32")
    # Only Gemma's norms are rounded on the way, where 1 is added and taken off again.
    atol = 1e-4 if family.startswith("gemma") else 0.0
    torch.testing.assert_close(logits(record.path), logits(folder), rtol=0, atol=atol)


@pytest.mark.parametrize("family", ["llama", "qwen3", "phi4-mini", "gpt2", "qwen2moe"])
def test_gguf_to_checkpoint_to_gguf_changes_no_bit_of_a_weight(
    tiny_model: MakeModel, tmp_path: Path, family: str
) -> None:
    first = gguf_exporter.export(read_model(tiny_model(family)), tmp_path / "1.gguf").path
    folder = export(read_model(first), tmp_path / "m").path
    second = gguf_exporter.export(read_model(folder), tmp_path / "2.gguf").path
    assert tensor_bytes(first) == tensor_bytes(second)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3"])
def test_the_tokenizer_is_written_where_its_ids_are_llama_cpps(
    tiny_model: MakeModel, tmp_path: Path, family: str
) -> None:
    middle = gguf_exporter.export(read_model(tiny_model(family)), tmp_path / "model.gguf").path
    record = export(read_model(middle), tmp_path / "again")
    assert record.notes == ()
    result = check_token_ids(read_model(record.path), middle, find_runtime("llama.cpp"))
    assert result.passed, result.detail
    tokenizer = AutoTokenizer.from_pretrained(record.path)
    assert "<|user|>" in tokenizer.chat_template
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")


@pytest.mark.parametrize("prefix_space", [True, False])
def test_a_sentencepiece_tokenizer_is_rebuilt_from_its_scores(
    tiny_model: MakeModel,
    tmp_path: Path,
    prefix_space: bool,
    train_byte_fallback: Callable,
    write_tokenizer: Callable,
) -> None:
    shutil.copytree(tiny_model("llama"), tmp_path / "m")
    write_tokenizer(train_byte_fallback(prefix_space), tmp_path / "m")
    middle = gguf_exporter.export(read_model(tmp_path / "m"), tmp_path / "model.gguf").path
    record = export(read_model(middle), tmp_path / "again")
    assert record.notes == ()
    assert (record.path / "tokenizer.json").is_file()


def test_a_tokenizer_that_cannot_be_rebuilt_is_left_out_and_told(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    middle = gguf_exporter.export(read_model(tiny_model("llama")), tmp_path / "model.gguf").path
    # The same length, so that the file stays whole: no table knows this name.
    raw = middle.read_bytes()
    key = b"tokenizer.ggml.pre" + (8).to_bytes(4, "little")
    at = raw.index(key) + len(key)
    assert raw[at : at + 13] == (5).to_bytes(8, "little") + b"gpt-2"
    middle.write_bytes(raw[: at + 8] + b"jaisx" + raw[at + 13 :])
    record = export(read_model(middle), tmp_path / "again")
    assert "'jaisx' is not in the table" in record.notes[0]
    assert not (record.path / "tokenizer.json").exists()
    assert not (record.path / "tokenizer_config.json").exists()


def test_the_size_of_the_weights_is_known_to_the_byte(
    tiny_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = gguf_exporter.export(read_model(tiny_model("llama")), tmp_path / "model.gguf").path
    monkeypatch.setattr(safetensors_writer, "LARGEST_SHARD_BYTES", 60_000)
    model = read_model(middle)
    record = export(model, tmp_path / "again", "F16")
    shards = list(record.path.glob("model-*-of-*.safetensors"))
    assert len(shards) > 2
    assert sum(file.stat().st_size for file in shards) == expected_float_size_bytes(model, "F16")
    assert (record.path / "model.safetensors.index.json").is_file()
    assert read_model(record.path).parameters == model.parameters
    assert torch.isfinite(logits(record.path)).all()


def test_a_table_of_positions_that_config_json_cannot_say_is_refused(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    source = read_model(tiny_model("llama-tied-llama3-rope"))
    middle = gguf_exporter.export(source, tmp_path / "model.gguf").path
    with pytest.raises(ExportRefused, match=r"neither Llama 3\.1's nor 3\.2's"):
        export(read_model(middle), tmp_path / "again")


def test_llama_3_positions_are_recognised(tiny_model: MakeModel, tmp_path: Path) -> None:
    shutil.copytree(tiny_model("llama-tied-llama3-rope"), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] |= {"factor": 32.0, "original_max_position_embeddings": 8192}
    path.write_text(json.dumps(config))
    middle = gguf_exporter.export(read_model(tmp_path / "m"), tmp_path / "model.gguf", "F32").path
    record = export(read_model(middle), tmp_path / "again", "F32")
    written = json.loads((record.path / "config.json").read_text())
    assert written["rope_parameters"]["factor"] == 32.0
    torch.testing.assert_close(logits(record.path), logits(tmp_path / "m"), rtol=0, atol=0)


def test_a_folder_that_holds_something_is_left_alone(tiny_model: MakeModel, tmp_path: Path) -> None:
    middle = gguf_exporter.export(read_model(tiny_model("llama")), tmp_path / "model.gguf").path
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "mine.txt").write_text("keep")
    with pytest.raises(NotWritable, match="not empty"):
        export(read_model(middle), tmp_path / "again")
    assert [file.name for file in (tmp_path / "again").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "row", [row for row in ARCHITECTURES if row.hf_type], ids=lambda row: row.gguf_name
)
def test_every_name_in_the_table_is_the_gguf_packages_own(row: Architecture) -> None:
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[row.gguf_name], 2)
    for role, own in row.hf_tensors.items():
        if own is None:
            continue
        outside = names.get_name(f"{own}.weight", (".weight",))
        within = names.get_name(f"{row.hf_layers}.1.{own}.weight", (".weight",))
        assert f"{role}.weight" == outside or f"blk.1.{role}.weight" == within, own


@pytest.mark.demo
@pytest.mark.slow
def test_the_demo_model_survives_the_round_trip_bit_for_bit(tmp_path: Path) -> None:
    model = read_model("demo")
    first = gguf_exporter.export(model, tmp_path / "1.gguf")
    assert first.size_bytes == gguf_exporter.expected_float_size_bytes(model)
    folder = export(model, tmp_path / "m")
    assert folder.notes == ()
    second = gguf_exporter.export(read_model(folder.path), tmp_path / "2.gguf")
    assert tensor_bytes(first.path) == tensor_bytes(second.path)
    runtime = find_runtime("llama.cpp")
    for artifact in (first.path, second.path):
        result = check_token_ids(model, artifact, runtime)
        assert result.passed, result.detail
