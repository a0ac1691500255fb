"""Each check passes what is right and really rejects what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig

from edgecomp.checks.artifact_checks import check_finite, check_size, check_types, tensor_types
from edgecomp.checks.greedy_check import check_greedy
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.checks.tokenizer_corpus import corpus
from edgecomp.exporters.gguf import expected_float_size_bytes, export
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.reading import read_model
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.protocol import find_runtime

TOKENS = 500
PROMPTS = ("The capital of France is", "one two three", "def f(x):")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("source")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=TOKENS, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        initializer_range=0.15, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def artifact(source: Path, tmp_path: Path) -> Path:
    return export(read_model(source), tmp_path / "model.gguf", "F16").path


def overwrite(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Put other bytes in the place of one tensor's, seen as [rows, bytes of a row]."""
    header = read_gguf_header(path)
    row = next(row for row in header.tensors if row.name == name)
    raw = bytearray(path.read_bytes())
    start = header.data_start + row.offset
    data = np.frombuffer(raw[start : start + row.size_bytes], dtype=np.uint8)
    raw[start : start + row.size_bytes] = change(data.reshape(row.shape[0], -1)).tobytes()
    path.write_bytes(raw)


def test_the_tokens_of_a_faithful_artifact_are_equal(source: Path, artifact: Path) -> None:
    result = check_token_ids(read_model(source), artifact, find_runtime("llama.cpp"))
    assert result.passed, result.detail


def test_a_wrong_tokenizer_is_rejected_with_an_example(source: Path, artifact: Path) -> None:
    raw = artifact.read_bytes()
    # llama.cpp loads this without a word and cuts digits otherwise.
    artifact.write_bytes(raw.replace(b"\x05" + bytes(7) + b"gpt-2", b"\x05" + bytes(7) + b"qwen2"))
    result = check_token_ids(read_model(source), artifact, find_runtime("llama.cpp"))
    assert not result.passed
    assert "texts differ, such as" in result.detail


def test_a_tokenizer_that_forgets_bos_is_rejected(source: Path, artifact: Path) -> None:
    raw = artifact.read_bytes()
    key = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little")
    assert key + b"\x01" in raw
    artifact.write_bytes(raw.replace(key + b"\x01", key + b"\x00"))
    result = check_token_ids(read_model(source), artifact, find_runtime("llama.cpp"))
    assert not result.passed


def test_the_tokens_of_a_gguf_source_are_asked_of_the_file_itself(
    artifact: Path, tmp_path: Path
) -> None:
    again = export(read_model(artifact), tmp_path / "again.gguf", "BF16").path
    result = check_token_ids(read_model(artifact), again, find_runtime("llama.cpp"))
    assert result.passed, result.detail


@pytest.mark.parametrize("float_type", ["F32", "F16", "BF16"])
def test_the_greedy_text_of_a_faithful_export_is_the_sources(
    source: Path, tmp_path: Path, float_type: str
) -> None:
    artifact = export(read_model(source), tmp_path / "model.gguf", float_type).path
    result = check_greedy(source, artifact, float_type, find_runtime("llama.cpp"), PROMPTS)
    assert result.passed, result.detail
    assert "after 3 prompts" in result.detail


def test_nothing_is_rounded_where_a_mixture_is_judged_by_its_exact_weights(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """An F16 cache alone turns these routers by more than the bound of F32."""
    source = tiny_model("qwen2moe")
    artifact = export(read_model(source), tmp_path / "model.gguf", "F32").path
    runtime = find_runtime("llama.cpp")
    result = check_greedy(source, artifact, "F32", runtime)
    assert result.passed, result.detail
    assert "undecided" not in result.detail


@pytest.mark.parametrize("float_type", ["F16", "BF16"])
@pytest.mark.parametrize(
    "name", ["blk.0.attn_k.weight", "blk.1.ffn_up.weight", "blk.1.attn_output.weight"]
)
def test_a_permuted_tensor_is_rejected(
    source: Path, tmp_path: Path, name: str, float_type: str
) -> None:
    artifact = export(read_model(source), tmp_path / "model.gguf", float_type).path
    overwrite(artifact, name, lambda rows: np.roll(rows, 1, axis=0))
    result = check_greedy(source, artifact, float_type, find_runtime("llama.cpp"), PROMPTS)
    assert not result.passed
    assert "the source prefers token" in result.detail


def test_rows_of_q_and_k_left_in_hugging_faces_order_are_rejected(
    source: Path, artifact: Path
) -> None:
    def undone(rows: np.ndarray) -> np.ndarray:
        heads = 4 if len(rows) == 64 else 2
        return rows.reshape(heads, len(rows) // heads // 2, 2, -1).swapaxes(1, 2)

    for layer in range(2):
        for role in ("attn_q", "attn_k"):
            overwrite(artifact, f"blk.{layer}.{role}.weight", undone)
    runtime = find_runtime("llama.cpp")
    result = check_greedy(source, artifact, "F16", runtime, PROMPTS)
    assert not result.passed


def test_finite_weights_pass(artifact: Path) -> None:
    result = check_finite(artifact)
    assert result.passed
    assert result.detail == "all 21 tensors"


@pytest.mark.parametrize("preset", ["F16", "Q8_0", "Q4_0"])
def test_a_scale_that_is_no_number_is_found_and_named(
    artifact: Path, tmp_path: Path, preset: str
) -> None:
    path = tmp_path / "damaged.gguf"
    if preset == "F16":
        shutil.copy(artifact, path)
    else:
        find_runtime("llama.cpp").quantize(artifact, path, Types(preset=preset), threads=1)

    def damaged(rows: np.ndarray) -> np.ndarray:
        changed = rows.copy()
        changed[-1, :2] = np.frombuffer(np.float16(np.nan).tobytes(), dtype=np.uint8)
        return changed

    assert check_finite(path).passed
    overwrite(path, "blk.1.ffn_up.weight", damaged)
    result = check_finite(path)
    assert not result.passed
    assert result.detail == "1 of 21 tensors: blk.1.ffn_up.weight holds NaN or infinity"


def test_the_size_must_be_the_plans_to_the_byte(source: Path, artifact: Path) -> None:
    planned = expected_float_size_bytes(read_model(source), "F16")
    assert check_size(artifact, planned).passed
    with artifact.open("ab") as file:
        file.write(b"\0")
    result = check_size(artifact, planned)
    assert not result.passed
    assert f"planned {planned:,}" in result.detail


def test_real_types_are_listed_and_fallbacks_named(artifact: Path) -> None:
    planned = tensor_types(artifact)
    result = check_types(artifact, planned, {"blk.0.ffn_down.weight": "F16"})
    assert result.passed
    assert result.detail == (
        "16 x F16, 5 x F32; 1 fell back for their column count (blk.0.ffn_down.weight)"
    )


def test_a_tensor_of_another_type_than_planned_is_rejected(artifact: Path) -> None:
    planned = tensor_types(artifact) | {"output.weight": "Q6_K", "missing.weight": "F16"}
    result = check_types(artifact, planned, {})
    assert not result.passed
    assert "missing.weight: absent instead of F16" in result.detail
