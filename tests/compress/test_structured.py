"""Structured pruning: a smaller dense model that loads as it is and keeps what matters most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.common.errors import ArchitectureUnsupported, CompressionSettingsInvalid, NotWritable
from edgecomp.compress.structured import Importance, measure_importance, prune
from edgecomp.models.reading import read_model
from edgecomp.recipes.smaller_model import Sizes

from .conftest import FAMILIES, Save


def test_block_influence_is_one_minus_the_cosine_of_input_and_output(
    save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model("llama")
    found = measure_importance(folder, tokens)
    with torch.no_grad():
        states = model(tokens, output_hidden_states=True).hidden_states
    # The last state has been normed: the last block's output is not among them.
    for layer in range(2):
        cosine = torch.cosine_similarity(states[layer], states[layer + 1], dim=-1).mean()
        assert found.blocks[layer] == pytest.approx(1 - float(cosine), abs=1e-5)


def test_neurons_heads_and_channels_that_do_nothing_come_last(
    save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model("llama")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight[:, 7] = 0
            layer.self_attn.o_proj.weight[:, 32:] = 0  # query heads 2, 3: KV head 1
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight[11] = 0
    model.save_pretrained(folder)
    found = measure_importance(folder, tokens)
    for neurons, groups in zip(found.neurons, found.kv_groups, strict=True):
        assert min(range(96), key=neurons.__getitem__) == 7
        assert groups[1] == 0 < groups[0]
    assert min(range(64), key=found.channels.__getitem__) == 11


@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_a_block_equals_leaving_it_out_of_the_model(
    family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    layers = read_model(folder).layers
    influence = tuple(float(layers - i) for i in range(layers))  # the last block is dropped
    importance = Importance(blocks=influence, neurons=(), kv_groups=(), channels=())
    prune(folder, tmp_path / "out", importance, Sizes(blocks=layers - 1))
    pruned = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    blocks = model.transformer.h if family == "gpt2" else model.model.layers
    del blocks[layers - 1]
    model.config.num_hidden_layers = layers - 1
    with torch.no_grad():
        torch.testing.assert_close(
            pruned(tokens, use_cache=False).logits, model(tokens, use_cache=False).logits
        )


@pytest.mark.parametrize("family", ["llama", "mistral-sliding", "qwen2-sliding", "qwen3"])
def test_removing_parts_that_do_nothing_changes_nothing(
    family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    head = model.config.get_text_config().head_dim if family != "qwen2-sliding" else 16
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight[:, 32:] = 0
            layer.self_attn.o_proj.weight[:, : 2 * head] = 0  # KV head 0
    model.save_pretrained(folder)
    importance = measure_importance(folder, tokens)
    prune(folder, tmp_path / "out", importance, Sizes(neurons=32, kv_groups=1))
    pruned = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert pruned.num_parameters() < model.num_parameters()
    with torch.no_grad():
        torch.testing.assert_close(pruned(tokens).logits, model(tokens).logits)


def test_channels_are_taken_out_of_every_tensor(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    prune(
        folder, tmp_path / "out", measure_importance(folder, tokens), Sizes(channels=48, blocks=2)
    )
    spec = read_model(tmp_path / "out")
    assert (spec.embedding_length, spec.layers, spec.key_length) == (48, 2, 16)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(tokens).logits
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("sizes", [Sizes(blocks=0), Sizes(blocks=4), Sizes(neurons=97)])
def test_sizes_that_are_none_are_refused(
    sizes: Sizes, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    with pytest.raises(CompressionSettingsInvalid, match="Give a number from 1 to"):
        prune(folder, tmp_path / "out", measure_importance(folder, tokens), sizes)


def test_an_unknown_layout_is_refused_by_name(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("phi3")
    with pytest.raises(ArchitectureUnsupported, match="Phi3ForCausalLM"):
        prune(folder, tmp_path / "out", measure_importance(folder, tokens), Sizes(neurons=32))


def test_a_sliding_rhythm_is_not_broken(save_model: Save, tokens: Tensor, tmp_path: Path) -> None:
    folder, _ = save_model("gemma3")
    importance = Importance(blocks=(0, 1, 2, 3, 4, 5, 6), neurons=(), kv_groups=(), channels=())
    with pytest.raises(CompressionSettingsInvalid, match="rhythm"):
        prune(folder, tmp_path / "out", importance, Sizes(blocks=6))


def test_a_folder_that_holds_a_model_is_not_overwritten(save_model: Save, tokens: Tensor) -> None:
    folder, _ = save_model("llama")
    with pytest.raises(NotWritable):
        prune(folder, folder, measure_importance(folder, tokens), Sizes(blocks=2))
