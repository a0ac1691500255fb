"""Random-weight checkpoints of about 100 million parameters, each unlike the demo in one respect.

Memory does not depend on what the weights are. The vocabulary is of real size and its tokens have
merge rules, since llama.cpp's tables of them count.
"""

from __future__ import annotations

import json
from itertools import islice, product
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped heads": (
        "LlamaConfig",
        {
            "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
            "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 32_000,
            "tie_word_embeddings": False,
        },
    ),
    "sliding window": (
        "Gemma3TextConfig",
        {
            "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
            "sliding_window": 512, "query_pre_attn_scalar": 256, "vocab_size": 64_000,
        },
    ),
    "large vocabulary": (
        "Qwen3Config",
        {
            "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64,
            "vocab_size": 151_936, "tie_word_embeddings": True,
        },
    ),
}  # fmt: skip
"""By what sets it apart: transformers' class of the configuration, and its entries."""


def write_random(name: str, folder: Path) -> None:
    """Write the checkpoint `name`, float16 with seeded weights, into the empty `folder`."""
    import torch
    import transformers

    kind, entries = MODELS[name]
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = getattr(transformers, kind)(**entries, **ends, max_position_embeddings=8192)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float16)
    model.save_pretrained(folder)
    byte_pairs(entries["vocab_size"]).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<end>", "eos_token": "<end>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def byte_pairs(size: int) -> Tokenizer:
    """A byte-level BPE of `size` tokens: an end token, the bytes, and pairs of what is there."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(product(letters, letters))
    triples = ((first + second, third) for (first, second), third in product(pairs, letters))
    merges = [*pairs, *islice(triples, max(size - 1 - len(letters) - len(pairs), 0))]
    merges = merges[: size - 1 - len(letters)]
    tokens = ["<end>", *letters, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
