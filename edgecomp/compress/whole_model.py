"""What transformers' own classes compute around or beside the block walker: the whole model in
memory, and a family's head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from transformers.modeling_outputs import MoeModelOutputWithPast

from edgecomp.compress.decoder import blocks_name, empty_model


def load_whole(checkpoint: Path) -> PreTrainedModel:
    """The model of a Hugging Face folder, float32, ready to run. Raises what transformers raises,
    ValueError for a class that it does not have."""
    kind = type(AutoConfig.from_pretrained(checkpoint))
    known = kind in AutoModelForCausalLM._model_mapping
    loader = AutoModelForCausalLM if known else AutoModelForImageTextToText
    model: PreTrainedModel = loader.from_pretrained(checkpoint, dtype=torch.float32)
    for parameter in model.parameters():
        # Weights that were dequantized come in 16 bits, whatever is asked for.
        parameter.data = parameter.data.float()
    model.train(mode=False)
    return model


class _Given(MoeModelOutputWithPast):
    """What a decoder puts out, of whatever family: what it has not is None."""

    def __getattr__(self, name: str) -> None:
        return None


class _Head(nn.Module):
    """Stands where the head stood: gives the logits as they are read from the checkpoint."""

    def __init__(self, scores: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._scores = scores
        self.weight = torch.empty(0)  # Its type is looked at.

    def forward(self, states: Tensor) -> Tensor:
        return self._scores(states.flatten(0, 1)).reshape(*states.shape[:2], -1)


def as_the_family_scales(
    checkpoint: Path, states: Tensor, scores: Callable[[Tensor], Tensor]
) -> Tensor:
    """Logits [positions, vocabulary] of states [positions, width] as the model's class scales and
    caps them, given `scores`, the product with the head's rows alone."""
    config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    model: Any = empty_model(config)
    if model.get_output_embeddings() is None:
        return scores(states)  # A text model of others: its head does nothing more.
    name = blocks_name(model, int(config.num_hidden_layers)).rpartition(".")[0]
    decoder: Any = model.get_submodule(name)
    decoder.forward = lambda *_, inputs_embeds, **__: _Given(last_hidden_state=inputs_embeds)
    model.set_output_embeddings(_Head(scores))
    with torch.no_grad():
        found: Tensor = model(inputs_embeds=states[None], use_cache=False).logits[0]
    return found
