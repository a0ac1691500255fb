"""Sensitivities in nats: what is predicted for a type is what rounding to it does to the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.compress.sensitivity import measure_sensitivities

from .conftest import Save

TYPES = ("Q4_0", "Q5_0", "Q8_0")


def rounded(weight: Tensor, kind: str, importance: Tensor | None = None) -> Tensor:
    return round_to_nearest(weight, gguf_grid(kind), importance).values


@torch.no_grad()
def divergence_of(model: Any, tokens: Tensor, change: Callable[[Any], None]) -> float:
    """The mean KL of `model` as it is from it changed, nats a token, in double precision."""
    plain = model(tokens).logits.double().log_softmax(-1)
    kept = {name: weight.clone() for name, weight in model.named_parameters()}
    change(model)
    changed = model(tokens).logits.double().log_softmax(-1)
    for name, weight in model.named_parameters():
        weight.copy_(kept[name])
    return float((plain.exp() * (plain - changed)).sum(-1).mean())


def predicted(folder: Path, tokens: Tensor) -> dict[str, dict[str, float]]:
    found = measure_sensitivities(folder, tokens, TYPES, carried_rows=len(tokens))
    return {tensor.name: tensor.losses for tensor in found.tensors}


@pytest.mark.parametrize("kind", TYPES)
def test_the_heads_loss_grows_with_its_squared_error(
    kind: str, save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model("llama")
    with torch.no_grad():
        read = model(tokens, output_hidden_states=True).hidden_states[-1].flatten(0, 1)
    importance = read.square().mean(dim=0)

    def change(model: Any) -> None:
        model.lm_head.weight.copy_(rounded(model.lm_head.weight, kind, importance))

    loss = predicted(folder, tokens)["output.weight"][kind]
    # Measured for the coarsest type, and by the square of the error for the others.
    measured = divergence_of(model, tokens, change)
    assert loss == pytest.approx(measured, rel=0.02 if kind == "Q4_0" else 0.2)


@pytest.mark.parametrize("kind", TYPES)
def test_the_embeddings_loss_grows_with_its_squared_error(
    kind: str, save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model("llama")

    def change(model: Any) -> None:
        embedding = model.model.embed_tokens.weight
        embedding.copy_(rounded(embedding, kind))

    loss = predicted(folder, tokens)["token_embd.weight"][kind]
    # Measured for the coarsest type, and by the square of the error for the others.
    measured = divergence_of(model, tokens, change)
    assert loss == pytest.approx(measured, rel=0.02 if kind == "Q4_0" else 0.5)


@pytest.mark.parametrize("family", ["qwen2-sliding", "gemma2", "gpt2"])
def test_a_tied_embedding_costs_what_it_does_at_both_ends(
    family: str, save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model(family)

    def change(model: Any) -> None:
        embedding = model.get_input_embeddings().weight
        embedding.copy_(rounded(embedding, "Q4_0"))

    losses = predicted(folder, tokens)
    assert "output.weight" not in losses
    measured = divergence_of(model, tokens, change)
    assert losses["token_embd.weight"]["Q4_0"] == pytest.approx(measured, rel=0.5)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_losses_of_all_tensors_add_up_to_the_models_divergence(
    family: str, save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model(family)

    def change(model: Any) -> None:
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.copy_(rounded(weight, "Q5_0"))

    total = sum(losses["Q5_0"] for losses in predicted(folder, tokens).values())
    assert total == pytest.approx(divergence_of(model, tokens, change), rel=0.5)


def test_weights_on_the_grid_of_a_type_lose_nothing_in_it_and_something_in_others(
    save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model("llama")
    with torch.no_grad():
        weight = model.model.layers[1].mlp.up_proj.weight
        weight.copy_(rounded(weight, "Q5_0"))
    model.save_pretrained(folder)

    def change(model: Any) -> None:
        weight = model.model.layers[1].mlp.up_proj.weight
        weight.copy_(rounded(weight, "Q4_0"))

    losses = predicted(folder, tokens)["blk.1.ffn_up.weight"]
    assert losses["Q5_0"] < 0.01 * losses["Q4_0"]
    assert losses["Q4_0"] == pytest.approx(divergence_of(model, tokens, change), rel=0.5)
