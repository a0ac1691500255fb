"""Tiny real models of every family, saved as checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

SHAPE: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
EXPERTS: dict[str, Any] = {
    "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
}  # fmt: skip
MIXTURES = {
    "mixtral": MixtralConfig(**SHAPE, num_local_experts=6, num_experts_per_tok=2),
    "qwen2moe": Qwen2MoeConfig(**SHAPE, **EXPERTS, shared_expert_intermediate_size=64),
    "qwen3moe": Qwen3MoeConfig(**SHAPE, **EXPERTS, head_dim=16, norm_topk_prob=True),
}
FAMILIES = {
    "llama": LlamaConfig(**SHAPE),
    "mistral-sliding": MistralConfig(**SHAPE, sliding_window=5),
    "qwen2-sliding": Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1,
        tie_word_embeddings=True,
    ),
    "qwen3": Qwen3Config(**SHAPE, head_dim=8),
    "gemma2": Gemma2Config(**SHAPE, head_dim=16, sliding_window=4),
    "gemma3": Gemma3TextConfig(
        **SHAPE | {"num_hidden_layers": 7}, head_dim=16, sliding_window=4
    ),
    "phi3": Phi3Config(**SHAPE),
    "gpt2": GPT2Config(
        vocab_size=97, n_embd=64, n_layer=2, n_head=4, n_positions=64, bos_token_id=1,
        eos_token_id=2,
    ),
    **MIXTURES,
}  # fmt: skip

Save = Callable[[str], tuple[Path, Any]]


@pytest.fixture
def save_model(tmp_path: Path) -> Save:
    """Makes a random model of a family; returns its folder and the model."""

    def save(family: str) -> tuple[Path, Any]:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(deepcopy(FAMILIES[family]), dtype=torch.float32)
        model.eval()
        with torch.no_grad():
            for parameter in model.parameters():
                # Norms and biases away from 1 and 0, so that none of them can be forgotten.
                parameter.add_(0.05 * torch.randn_like(parameter))
        folder = tmp_path / family
        model.save_pretrained(folder)
        return folder, model

    return save


@pytest.fixture
def tokens() -> torch.Tensor:
    """Calibration token ids, int64 [6, 12]."""
    return torch.randint(3, 97, (6, 12), generator=torch.Generator().manual_seed(1))
