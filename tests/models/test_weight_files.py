"""Which files and tensors of a checkpoint folder are the model's (P5, P6, P11, P19, A8)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import llama_weights, written_llama, written_shards
from safetensors.numpy import save_file

from edgecomp.common.errors import FileCorrupt, ModelIncomplete, PathOutside, UnsafeFile
from edgecomp.models.reading import read_model

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
EMBEDDING = "model.embed_tokens.weight"


def two_copies() -> tuple[dict[str, object], dict[str, object]]:
    whole = llama_weights()
    second: dict[str, object] = {EMBEDDING: np.zeros((16, 16), dtype=np.float32)}
    second["lm_head.weight"] = whole.pop("lm_head.weight")
    return dict(whole), second


def test_two_copies_of_a_tensor_follow_the_index(tmp_path: Path) -> None:  # P6
    first, second = two_copies()
    index = dict.fromkeys(first, ONE) | {"lm_head.weight": TWO}
    folder = written_shards(tmp_path, {ONE: first, TWO: second}, index)  # type: ignore[dict-item]
    assert read_model(folder).vocabulary == 32
    swapped = written_shards(
        tmp_path / "swapped", {ONE: second, TWO: first},  # type: ignore[dict-item]
        dict.fromkeys(first, TWO) | {"lm_head.weight": ONE},
    )  # fmt: skip
    assert read_model(swapped).vocabulary == 32


def test_two_copies_of_a_tensor_without_an_index_are_refused(tmp_path: Path) -> None:  # P6
    first, second = two_copies()
    folder = written_shards(tmp_path, {ONE: first, TWO: second})  # type: ignore[dict-item]
    with pytest.raises(FileCorrupt, match=f"{EMBEDDING} lies in {ONE} as well"):
        read_model(folder)


def test_a_whole_file_comes_before_an_index_of_shards_that_are_gone(tmp_path: Path) -> None:  # P11
    folder = written_llama(tmp_path)
    index = {"metadata": {}, "weight_map": dict.fromkeys(llama_weights(), ONE)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = read_model(folder)
    assert any("left over" in note for note in model.notes)


def test_a_whole_file_comes_before_shards_that_are_there(tmp_path: Path) -> None:  # P11
    other = llama_weights() | {EMBEDDING: np.zeros((64, 16), dtype=np.float16)}
    folder = written_shards(tmp_path, {ONE: other}, dict.fromkeys(other, ONE))
    written_llama(folder)
    assert read_model(folder).vocabulary == 32


@pytest.mark.parametrize("name", ["../model.safetensors", "/model.safetensors"])
def test_an_index_that_names_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:  # A8
    outside = written_llama(tmp_path / "outside")
    folder = tmp_path / "outside" / "model"
    named = name if name.startswith("..") else str(outside / "model.safetensors")
    written_shards(folder, {}, dict.fromkeys(llama_weights(), named))
    with pytest.raises(PathOutside, match="is not followed"):
        read_model(folder)


def test_an_index_that_names_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:  # A8
    outside = written_llama(tmp_path / "outside")
    folder = written_shards(tmp_path / "model", {}, dict.fromkeys(llama_weights(), ONE))
    (folder / ONE).symlink_to(outside / "model.safetensors")
    with pytest.raises(PathOutside, match="is not followed"):
        read_model(folder)


def test_an_index_in_the_hub_s_cache_names_links_into_its_blobs(tmp_path: Path) -> None:  # A8
    repository = tmp_path / "models--acme--Tiny-1.5B"
    folder = written_shards(
        repository / "snapshots" / ("a" * 40), {ONE: llama_weights()},
        dict.fromkeys(llama_weights(), ONE),
    )  # fmt: skip
    (repository / "blobs").mkdir()
    (folder / ONE).rename(repository / "blobs" / "b1")
    (folder / ONE).symlink_to("../../blobs/b1")
    assert read_model(folder).vocabulary == 32


def test_an_adapter_beside_the_weights_is_told_of(tmp_path: Path) -> None:  # P19
    folder = written_llama(tmp_path)
    assert read_model(folder).notes == ()
    (folder / "adapter_config.json").write_text("{}")
    save_file({"lora_A": np.zeros((2, 2))}, folder / "adapter_model.safetensors")
    (note,) = read_model(folder).notes
    assert "adapter" in note and "merge_and_unload" in note


def test_a_pickle_beside_an_adapter_is_refused_as_a_pickle(tmp_path: Path) -> None:  # P19
    folder = written_shards(tmp_path, {"adapter_model.safetensors": {"lora_A": np.zeros((2, 2))}})
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    (folder / "adapter_model.bin").write_bytes(b"\x80")
    with pytest.raises(UnsafeFile, match=r"pytorch_model\.bin"):
        read_model(folder)


def without_linears() -> dict[str, object]:
    return {name: value for name, value in llama_weights().items() if "proj" not in name}


@pytest.mark.parametrize(
    ("suffix", "method"),
    [
        ("qweight", "GPTQ or AWQ"),
        ("weight.absmax", "bitsandbytes"),
        ("weight.quant_map", "bitsandbytes"),
        ("SCB", r"bitsandbytes \(LLM.int8\)"),
    ],
)
def test_quantized_linears_that_the_config_conceals_are_named(
    tmp_path: Path, suffix: str, method: str
) -> None:  # P5
    stored = without_linears()
    for name in llama_weights():
        if "proj" in name:
            stored[name.replace("weight", suffix)] = np.zeros((4, 4), dtype=np.int32)
    folder = written_llama(tmp_path, stored)  # type: ignore[arg-type]
    with pytest.raises(ModelIncomplete, match=f"{method} stores .* no quantization_config"):
        read_model(folder)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_of_bitsandbytes_are_named_by_what_lies_beside_them(
    tmp_path: Path, kind: str
) -> None:  # P5
    """As bitsandbytes stores them: two codes a byte, in one column."""
    stored = without_linears()
    for name, value in llama_weights().items():
        if "proj" in name:
            stored[name] = np.zeros((value.size // 2, 1), dtype=np.uint8)
            stored[f"{name}.absmax"] = np.zeros(value.size // 64, dtype=np.uint8)
            stored[f"{name}.nested_absmax"] = np.zeros(1, dtype=np.float32)
            stored[f"{name}.quant_map"] = np.zeros(16, dtype=np.float32)
            stored[f"{name}.quant_state.bitsandbytes__{kind}"] = np.zeros(80, dtype=np.uint8)
    folder = written_llama(tmp_path, stored)  # type: ignore[arg-type]
    named = rf"bitsandbytes \({kind}\) stores .* no quantization_config"
    with pytest.raises(ModelIncomplete, match=named):
        read_model(folder)


@pytest.mark.parametrize("packed", [True, False])
def test_codes_without_what_they_stand_for_are_named_by_their_type(
    tmp_path: Path, packed: bool
) -> None:  # P5
    stored = without_linears()
    for name, value in llama_weights().items():
        if "proj" in name:
            shape = (value.size // 2, 1) if packed else value.shape
            stored[name] = np.zeros(shape, dtype=np.uint8)
    folder = written_llama(tmp_path, stored)  # type: ignore[arg-type]
    with pytest.raises(ModelIncomplete, match=r"proj\.weight is stored as U8 .* no quantization_"):
        read_model(folder)


def test_a_known_family_without_any_linear_is_incomplete(tmp_path: Path) -> None:  # P5
    folder = written_llama(tmp_path, without_linears())  # type: ignore[arg-type]
    with pytest.raises(ModelIncomplete, match=r"missing, model\.layers\.0\.self_attn\.q_proj"):
        read_model(folder)


def test_a_weight_under_two_names_is_refused(tmp_path: Path) -> None:  # P6
    weights = llama_weights()
    weights["language_model.model.norm.weight"] = weights["model.norm.weight"]
    with pytest.raises(FileCorrupt, match="are the same weight"):
        read_model(written_llama(tmp_path, weights))
