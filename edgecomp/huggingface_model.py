"""A Hugging Face folder (config.json and safetensors) as a ModelSpec."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgecomp.architectures import BY_HF_CLASS, Architecture
from edgecomp.errors import FileCorrupt, ModelIncomplete, UnsafeFile
from edgecomp.model import ModelSpec, TensorSpec, tensor_group
from edgecomp.safetensors_header import StoredTensor, read_safetensors_header

EXPERT = re.compile(r"\.experts\.(\d+)\.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises FileCorrupt where it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise FileCorrupt(path, f"it is not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise FileCorrupt(path, "it does not hold a JSON object.")
    return value


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint folder, by their Hugging Face names.

    Raises ModelIncomplete where there are none or a shard is missing, UnsafeFile where there are
    only pickles.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(read_json(index).get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise ModelIncomplete(
                folder, f"{len(missing)} of {len(shards)} shards are missing", f"({missing[0]} …)."
            )
        files = [folder / shard for shard in shards]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        if pickles:
            raise UnsafeFile(pickles[0], "Convert it to safetensors first.")
        raise ModelIncomplete(folder, "it has no safetensors files.", "Download the weights.")
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        tensors |= read_safetensors_header(file)
    return tensors


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a config (multimodal models nest it)."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def read_huggingface(folder: Path) -> ModelSpec:
    """Read a model folder's config and safetensors headers."""
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise ModelIncomplete(folder, "it has no config.json.", "Give a Hugging Face model folder.")
    whole = read_json(config_path)
    config = text_config(whole)
    classes = config.get("architectures") or whole.get("architectures") or ["unknown"]
    architecture = BY_HF_CLASS.get(classes[0])
    stored = stored_tensors(folder)
    layers = _first(config, "num_hidden_layers", "n_layer", folder=config_path)
    width = _first(config, "hidden_size", "n_embd", folder=config_path)
    heads = _first(config, "num_attention_heads", "n_head", folder=config_path)
    head_length = int(config.get("head_dim") or width // heads)
    tied = bool(config.get("tie_word_embeddings", architecture is None or _ties(architecture)))
    tensors = _tensors(stored, architecture, layers, tied)
    window = config.get("sliding_window") if architecture and architecture.full_attention_every else None
    every = int(config.get("sliding_window_pattern") or 0) if window else 0
    embedding = next((t for t in tensors if t.name == "token_embd.weight"), None)
    return ModelSpec(
        path=folder,
        source="huggingface",
        name=str(whole.get("_name_or_path") or folder.resolve().name),
        architecture=architecture.gguf_name if architecture else str(classes[0]),
        rewritable=architecture is not None,
        layers=layers,
        embedding_length=width,
        feed_forward_length=int(config.get("intermediate_size") or config.get("n_inner") or 4 * width),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        key_length=head_length,
        value_length=head_length,
        vocabulary=embedding.shape[0] if embedding else int(config.get("vocab_size", 0)),
        context_length=int(config.get("max_position_embeddings") or config.get("n_positions") or 0),
        sliding_window=int(window) if window else None,
        full_attention_every=every or (architecture.full_attention_every if architecture else 0),
        experts=int(config.get("num_local_experts") or config.get("num_experts") or 0),
        experts_used=int(config.get("num_experts_per_tok") or 0),
        tied_embeddings=tied,
        tokenizer=_tokenizer_kind(folder),
        chat_template=_chat_template(folder),
        licence=_licence(folder),
        quantization=_quantization(whole),
        file_bytes=sum(file.stat().st_size for file in {t.file for t in stored.values()}),
        tensors=tensors,
    )


def _first(config: dict[str, Any], *keys: str, folder: Path) -> int:
    for key in keys:
        if config.get(key):
            return int(config[key])
    raise FileCorrupt(folder, f"it does not say {keys[0]}.", "Restore it from the model's page.")


def _ties(architecture: Architecture) -> bool:
    return architecture.gguf_name in ("gemma2", "gemma3", "gpt2")


def _tensors(
    stored: dict[str, StoredTensor], architecture: Architecture | None, layers: int, tied: bool
) -> tuple[TensorSpec, ...]:
    import gguf

    key = architecture.gguf_name if architecture else "llama"
    kinds = {value: kind for kind, value in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[key], layers)
    experts: dict[str, int] = {}
    specs: dict[str, TensorSpec] = {}
    for source_name, tensor in stored.items():
        merged = EXPERT.sub(".experts.", source_name)
        plain = merged.removeprefix("language_model.").replace("model.language_model.", "model.")
        name = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if name is None:
            # Buffers (rotary tables, causal masks) and towers for pictures are not language weights.
            if architecture is not None:
                continue
            name = source_name
        if tied and name == "output.weight":
            continue
        experts[name] = experts.get(name, 0) + 1
        specs[name] = TensorSpec(
            name=name,
            source_name=source_name,
            shape=_shape(tensor.shape, name, architecture),
            dtype=tensor.dtype,
            group=tensor_group(name),
        )
    return tuple(
        spec.model_copy(update={"shape": (experts[name], *spec.shape)}) if experts[name] > 1 else spec
        for name, spec in specs.items()
    )


def _shape(
    shape: tuple[int, ...], name: str, architecture: Architecture | None
) -> tuple[int, ...]:
    if architecture and len(shape) == 2 and any(f".{r}." in name for r in architecture.transposed):
        return shape[::-1]
    return shape


def _tokenizer_kind(folder: Path) -> str | None:
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json"):
        if (folder / name).is_file():
            return name
    return None


def _chat_template(folder: Path) -> str | None:
    single = folder / "chat_template.jinja"
    if single.is_file():
        return single.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    template = read_json(config).get("chat_template") if config.is_file() else None
    if isinstance(template, list):
        template = next((t["template"] for t in template if t.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _licence(folder: Path) -> str | None:
    card = folder / "README.md"
    if not card.is_file():
        return None
    found = re.search(r"^license:\s*(\S+)", card.read_text("utf-8", errors="replace"), re.M)
    return found.group(1) if found else None


def _quantization(config: dict[str, Any]) -> str | None:
    quantization = config.get("quantization_config")
    return str(quantization.get("quant_method")) if isinstance(quantization, dict) else None
