"""Tiny real models of each family, with tokenizers trained here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from edgecomp.checks.tokenizer_corpus import corpus
from edgecomp.exporters import pretokenizers

QWEN2 = pretokenizers.PreTokenizer("qwen2", (pretokenizers.QWEN2,))
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|endoftext|>"]
TOKENS = 600
CHAT_TEMPLATE = "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_VARIANTS: dict[str, dict[str, Any]] = {
    "qwen2-yarn-unscaled": {"attention_factor": 1.0},
    "qwen2-yarn-scaled": {"attention_factor": 1.7},
    "qwen2-yarn-mscale": {"mscale": 1.0, "mscale_all_dim": 1.0},
    "qwen2-yarn-mscales": {"mscale": 2.0, "mscale_all_dim": 0.5},
    "llama-yarn-unscaled": {"attention_factor": 1.0},
}
"""YaRN whose scale of queries and keys is not its formula's (P9)."""

LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16, "num_hidden_layers": 7}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama-deep": ("LlamaConfig", {"num_hidden_layers": 6}),
    "llama-tied-llama3-rope": (
        "LlamaConfig",
        {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True},
    ),
    "llama-linear-rope": ("LlamaConfig", {"rope_parameters": LINEAR_ROPE}),
    "llama-long": ("LlamaConfig", {"max_position_embeddings": 4096}),
    "llama-biased": ("LlamaConfig", {"attention_bias": True}),
    "mistral": ("MistralConfig", {"head_dim": 32, "sliding_window": None}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-yarn-rope": ("Qwen2Config", {"rope_parameters": YARN_ROPE}),
    **{
        name: (
            "LlamaConfig" if name.startswith("llama") else "Qwen2Config",
            {"rope_parameters": YARN_ROPE | entries},
        )
        for name, entries in YARN_VARIANTS.items()
    },
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "qwen2moe": ("Qwen2MoeConfig", MOE | {"shared_expert_intermediate_size": 48}),
    "qwen3moe": ("Qwen3MoeConfig", MOE | {"head_dim": 32, "norm_topk_prob": True}),
    "gemma2": ("Gemma2Config", GEMMA),
    "gemma3": ("Gemma3TextConfig", GEMMA),
    "phi3": ("Phi3Config", {}),
    "phi4-mini": (
        "Phi3Config",
        {
            "tie_word_embeddings": True,
            "max_position_embeddings": 512,
            "original_max_position_embeddings": 256,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "original_max_position_embeddings": 256,
                "short_factor": [1.0, 1.1, 1.2, 1.3],
                "long_factor": [1.0, 2.0, 3.0, 4.0],
            },
        },
    ),
    "gpt2": ("GPT2Config", {}),
}


def trained_byte_level(
    pre_tokenizer: pre_tokenizers.PreTokenizer, tokens: int = TOKENS
) -> Tokenizer:
    """A byte-level BPE that puts BOS first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def trained_byte_fallback(prefix_space: bool) -> Tokenizer:
    """A SentencePiece-like BPE with byte fallback, as Llama 2 (prefix_space) and Gemma have."""
    latin = [text for text in corpus() if text.isascii() and "\x00" not in text]
    start = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(start)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=special, show_progress=False, limit_alphabet=120
    )
    tokenizer.train_from_iterator(latin, trainer)
    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"] = [
        row for row in definition["added_tokens"] if not row["content"].startswith("<0x")
    ]
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    replaced = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("\u2581"), replaced])
        if prefix_space
        else replaced
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def written_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json and the settings that transformers reads beside it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_model(family: str, folder: Path, dtype: str = "float32") -> None:
    """A random model of `family` whose weights are large enough for logits to differ."""
    import torch
    import transformers

    class_name, changes = FAMILIES[family]
    torch.manual_seed(0)
    if class_name == "GPT2Config":
        config = transformers.GPT2Config(
            n_embd=64, n_layer=2, n_head=4, n_positions=256, vocab_size=TOKENS,
            bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
    else:
        config = getattr(transformers, class_name)(**(SHAPE | {"vocab_size": TOKENS} | changes))
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.05 if parameter.ndim == 1 else 0.15
            parameter.add_(torch.randn_like(parameter) * scale)
            assert name
    model.to(getattr(torch, dtype)).save_pretrained(folder)


def qwen_tokenizer(plain: Tokenizer) -> Tokenizer:
    """A byte-level BPE as transformers builds it for Qwen, whatever tokenizer.json says."""
    definition = json.loads(plain.to_str())
    definition["pre_tokenizer"] = pretokenizers.definition(QWEN2)
    definition["normalizer"] = {"type": "NFC"}
    cutter = Tokenizer.from_str(json.dumps(definition))
    trained = trained_byte_level(cutter.pre_tokenizer)
    trained.normalizer = cutter.normalizer
    return trained


@pytest.fixture(scope="session")
def train_byte_level() -> Callable[..., Tokenizer]:
    return trained_byte_level


@pytest.fixture(scope="session")
def train_byte_fallback() -> Callable[[bool], Tokenizer]:
    return trained_byte_fallback


@pytest.fixture(scope="session")
def write_tokenizer() -> Callable[[Tokenizer, Path], None]:
    return written_tokenizer


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> Tokenizer:
    return trained_byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


@pytest.fixture(scope="session")
def tiny_model(
    tmp_path_factory: pytest.TempPathFactory, byte_level_tokenizer: Tokenizer
) -> Callable[..., Path]:
    """A folder with a tiny model of a family and a byte-level tokenizer, made once."""
    made: dict[tuple[str, str], Path] = {}

    def make(family: str, dtype: str = "float32") -> Path:
        if (family, dtype) not in made:
            folder = tmp_path_factory.mktemp(family)
            write_model(family, folder, dtype)
            own = family.startswith("qwen")
            tokenizer = qwen_tokenizer(byte_level_tokenizer) if own else byte_level_tokenizer
            written_tokenizer(tokenizer, folder)
            made[family, dtype] = folder
        return made[family, dtype]

    return make
