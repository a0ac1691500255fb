"""What config.json and safetensors headers say, whichever version of transformers wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen2MoeConfig

from edgecomp.common.errors import FileCorrupt, ModelIncomplete
from edgecomp.models.huggingface.model import language_config, named_tensors
from edgecomp.models.reading import read_model
from edgecomp.models.safetensors_header import read_safetensors_header
from edgecomp.models.spec import ModelSpec

SHAPE = {
    "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def saved(config: Any, folder: Path, **changes: object) -> ModelSpec:
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    path = folder / "config.json"
    written = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in written.items() if value != "drop"}))
    return read_model(folder)


def gemma3(layers: int) -> Gemma3TextConfig:
    return Gemma3TextConfig(**SHAPE, head_dim=16, sliding_window=16, num_hidden_layers=layers)


def test_the_pattern_of_sliding_layers_is_read_from_new_and_old_configs(tmp_path: Path) -> None:
    new = saved(gemma3(7), tmp_path / "new")
    old = saved(
        gemma3(7), tmp_path / "old", layer_types="drop", sliding_window_pattern=6,
        _sliding_window_pattern="drop",
    )  # fmt: skip
    bare = saved(gemma3(7), tmp_path / "bare", layer_types="drop", _sliding_window_pattern="drop")
    for model in (new, old, bare):
        assert (model.sliding_window, model.full_attention_every) == (16, 6)
        assert [model.slides(layer) for layer in range(7)] == [True] * 5 + [False, True]


def test_a_window_that_llama_cpp_does_not_use_is_none(tmp_path: Path) -> None:
    model = saved(LlamaConfig(**SHAPE, num_hidden_layers=2), tmp_path, sliding_window=16)
    assert (model.sliding_window, model.full_attention_every) == (None, 0)


def test_experts_count_once_a_layer_and_in_their_order(tmp_path: Path) -> None:
    config = Qwen2MoeConfig(
        **SHAPE, num_hidden_layers=1, num_experts=12, num_experts_per_tok=2,
        moe_intermediate_size=16, shared_expert_intermediate_size=24,
    )  # fmt: skip
    model = saved(config, tmp_path)
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    assert shapes["blk.0.ffn_down_exps.weight"] == (12, 32, 16)
    assert shapes["blk.0.ffn_gate_inp_shexp.weight"] == (32,)
    assert (model.experts, model.experts_used) == (12, 2)
    stored = read_safetensors_header(tmp_path / "model.safetensors")
    found, unknown = named_tensors(stored, None, 1)
    assert unknown == [] or all("shared" in name for name in unknown)
    numbers = [tensor.name.split(".")[5] for tensor in found["blk.0.ffn_up_exps.weight"]]
    assert numbers == [str(number) for number in range(12)]


def test_the_parameters_are_those_of_transformers(tmp_path: Path) -> None:
    config = LlamaConfig(**SHAPE, num_hidden_layers=2, tie_word_embeddings=True)
    model = saved(config, tmp_path)
    wanted = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    assert model.parameters == wanted
    assert model.tied_embeddings


def test_a_tied_head_that_is_stored_anyway_is_not_counted(tmp_path: Path) -> None:
    config = LlamaConfig(**SHAPE, num_hidden_layers=2, tie_word_embeddings=True)
    before = saved(config, tmp_path).parameters
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors")
    assert read_model(tmp_path).parameters == before


def test_llama3_positions_are_a_tensor_of_the_gguf(tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    }  # fmt: skip
    config = LlamaConfig(**SHAPE, num_hidden_layers=1, rope_parameters=rope)
    factors = next(t for t in saved(config, tmp_path).tensors if t.name == "rope_freqs.weight")
    assert (factors.shape, factors.dtype) == ((4,), "F32")


def test_entries_that_published_gemma_3_configs_leave_out_are_filled_in() -> None:
    config = language_config(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": {"hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024},
        }
    )
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (8, 4)
    assert (config["head_dim"], config["sliding_window"]) == (256, 1024)
    assert config["architectures"] == ["Gemma3ForConditionalGeneration"]


def test_a_family_outside_the_table_keeps_all_its_tensors(tmp_path: Path) -> None:
    model = saved(
        LlamaConfig(**SHAPE, num_hidden_layers=1), tmp_path, architectures=["NewbornForCausalLM"]
    )
    assert model.layout == "unknown"
    said = " ".join(model.notes)
    assert "NewbornForCausalLM" in said and "does not know it" in said
    assert model.architecture == "NewbornForCausalLM"
    assert len(model.tensors) == len(read_safetensors_header(tmp_path / "model.safetensors"))


def test_a_layer_without_one_of_its_weights_is_named(tmp_path: Path) -> None:
    """As where one shard of a checkpoint without an index was not downloaded."""
    saved(LlamaConfig(**SHAPE, num_hidden_layers=3), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelIncomplete, match=r"model\.layers\.1\.mlp\.up_proj\.weight first"):
        read_model(tmp_path)


def test_a_config_that_promises_more_layers_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelIncomplete, match="promises 3 layers, and 9 of their weights"):
        saved(LlamaConfig(**SHAPE, num_hidden_layers=2), tmp_path, num_hidden_layers=3)


def test_a_config_of_another_width_than_the_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileCorrupt, match=r"config\.json is damaged: its width is 64, and"):
        saved(LlamaConfig(**SHAPE, num_hidden_layers=2), tmp_path, hidden_size=64)


def test_dense_layers_among_mixtures_lack_nothing(tmp_path: Path) -> None:
    config = Qwen2MoeConfig(
        **SHAPE, num_hidden_layers=2, num_experts=4, num_experts_per_tok=2, mlp_only_layers=[0],
        moe_intermediate_size=16, shared_expert_intermediate_size=24,
    )  # fmt: skip
    assert saved(config, tmp_path).experts == 4


def test_a_folder_with_an_adapter_alone_is_told_to_be_merged(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file({"lora_A": torch.zeros(2, 2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelIncomplete, match="Merge it into its base model"):
        read_model(tmp_path)


def test_copies_of_the_weights_in_another_layout_are_not_counted(tmp_path: Path) -> None:
    model = saved(LlamaConfig(**SHAPE, num_hidden_layers=2), tmp_path)
    save_file({"layers.0.w": torch.zeros(9, 9)}, tmp_path / "consolidated.safetensors")
    assert read_model(tmp_path).file_bytes == model.file_bytes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_size": "x"}, "hidden_size is 'x'"),
        ({"head_dim": [64]}, "head_dim is"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps is '1e-5'"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None"),
        ({"layer_types": 3}, "layer_types is 3"),
        ({"rope_parameters": None, "rope_theta": "big"}, "rope_theta is 'big'"),
        ({"rope_parameters": None, "rope_scaling": 8}, "rope_scaling is 8"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_parameters.rope_theta is 0"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": [1]}}, "rope_parameters.factor is"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "llama3 and factor is missing"),
    ],
    ids=str,
)
def test_an_entry_of_the_config_of_another_type_is_named(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(FileCorrupt, match=f"its .*{re.escape(named)}"):
        saved(LlamaConfig(**SHAPE, num_hidden_layers=2), tmp_path, **change)


def test_an_index_without_files_is_refused(tmp_path: Path) -> None:
    saved(LlamaConfig(**SHAPE, num_hidden_layers=2), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}')
    with pytest.raises(FileCorrupt, match="weight_map"):
        read_model(tmp_path)
