"""The walker on families of which nothing is known here: block by block as the whole model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgecomp.compress import blocks
from edgecomp.compress.blocks import walk
from edgecomp.compress.whole_model import as_the_family_scales, load_whole


@pytest.mark.parametrize(
    "name",
    ["bloom", "gemma4_text", "falcon_h1", "granitemoe", "gpt_oss", "llama4_text", "qwen3_vl"],
)
def test_blocks_one_by_one_give_what_the_whole_model_gives(
    tiny_family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Biases of attention for each size of a batch; inputs of every layer and shared keys for each
    sample; buffers that are computed; fused experts, also transposed, with biases, or handed all
    tokens; a text model beside a tower."""
    monkeypatch.setattr(blocks, "TOKENS_PER_BATCH", 40)
    folder = tiny_family(name)
    tokens = torch.randint(5, 500, (21, 20), generator=torch.Generator().manual_seed(0))
    found: list[Tensor] = []
    walk(folder, tokens, lambda block: None, final=found.append)
    model, read = load_whole(folder), list[Tensor]()
    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    with torch.no_grad():
        model(input_ids=tokens, use_cache=False)
    wanted = read[0].flatten(0, 1)
    assert torch.allclose(torch.cat(found), wanted, atol=1e-4 * float(wanted.std()))


@pytest.mark.parametrize("name", ["granite", "gemma2"])
def test_logits_are_scaled_and_capped_as_the_family_does(
    tiny_family: Callable[[str], Path], name: str
) -> None:
    folder = tiny_family(name)
    model = load_whole(folder)
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        states = model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state[0]
        wanted = model(input_ids=tokens, use_cache=False).logits[0]
    weight = model.get_output_embeddings().weight.detach()
    found = as_the_family_scales(folder, states, lambda given: given @ weight.T)
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.std()))
    assert not torch.allclose(states @ weight.T, wanted)
