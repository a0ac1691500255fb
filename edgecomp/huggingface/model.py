"""A Hugging Face folder (config.json and safetensors) as a ModelSpec."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgecomp.architectures import BY_HF_CLASS, Architecture
from edgecomp.errors import FileCorrupt, ModelIncomplete, UnsafeFile
from edgecomp.huggingface.config_entries import ADVICE, check_entries
from edgecomp.huggingface.every_layer import require_every_layer
from edgecomp.huggingface.quantized import joined_tensors, quantized_linears, read_quantization
from edgecomp.model import EMBEDDING, OUTPUT, ModelSpec, TensorSpec, dominant_type, tensor_group
from edgecomp.rope_scaling import frequency_factors
from edgecomp.safetensors_header import StoredTensor, read_safetensors_header

EXPERT = re.compile(r"\.experts\.(\d+)\.")


def shared_name(name: str) -> str:
    """The name of a weight without its expert's number: that of all experts of the layer."""
    return EXPERT.sub(".experts.", name)


def expert_number(name: str) -> int:
    """Which expert a weight belongs to; 0 where it belongs to none."""
    expert = EXPERT.search(name)
    return int(expert.group(1)) if expert else 0


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
        files_of = read_json(index).get("weight_map")
        if not isinstance(files_of, dict) or not all(isinstance(f, str) for f in files_of.values()):
            raise FileCorrupt(index, "its weight_map does not name a file for each weight.")
        shards = sorted(set(files_of.values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise ModelIncomplete(
                folder,
                f"{len(missing)} of {len(shards)} shards are missing, {missing[0]} first.",
                "Download them.",
            )
        files = [folder / shard for shard in shards]
    else:
        single = folder / "model.safetensors"
        # Other files beside the model's own are copies in another layout, or adapters.
        files = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        if pickles:
            raise UnsafeFile(pickles[0], "Convert it to safetensors first.")
        raise ModelIncomplete(folder, "it has no safetensors files.", "Download the weights.")
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        tensors |= read_safetensors_header(file)
    return tensors


def weight_tensors(folder: Path, config: dict[str, Any]) -> dict[str, StoredTensor]:
    """The weights of a checkpoint folder: its stored tensors, with those of a quantized linear
    joined to the one they stand for.

    Raises what `stored_tensors` raises, and QuantizationUnsupported.
    """
    quantization = read_quantization(config, folder)
    stored = stored_tensors(folder)
    if quantization is None:
        return stored
    return joined_tensors(stored, quantized_linears(stored, quantization))


def language_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a config (multimodal models nest it).

    Entries that the family's published configs leave out are filled in.
    """
    nested = config.get("text_config")
    flat = {**config, **nested} if isinstance(nested, dict) else dict(config)
    names = config.get("architectures") or flat.get("architectures")
    known = isinstance(names, list) and names and isinstance(names[0], str)
    flat["architectures"] = names if known else ["unknown"]
    architecture = BY_HF_CLASS.get(flat["architectures"][0])
    return {**(architecture.config_defaults if architecture else {}), **flat}


def read_huggingface(folder: Path) -> ModelSpec:
    """Read a model folder's config and safetensors headers; quantized linears count as the weights
    they stand for. Raises QuantizationUnsupported, and what `stored_tensors` raises."""
    config_path = folder / "config.json"
    if (folder / "adapter_config.json").is_file() and not config_path.is_file():
        raise ModelIncomplete(
            folder,
            "it holds an adapter, not the model.",
            "Merge it into its base model by peft's merge_and_unload, and give the result.",
        )
    if not config_path.is_file():
        raise ModelIncomplete(folder, "it has no config.json.", "Give a Hugging Face model folder.")
    whole = read_json(config_path)
    config = language_config(whole)
    check_entries(config, config_path)
    class_name = str(config["architectures"][0])
    architecture = BY_HF_CLASS.get(class_name)
    stored = weight_tensors(folder, whole)

    def count(*keys: str) -> int:
        return _count(config, keys)

    layers = _required(config, ("num_hidden_layers", "n_layer"), config_path)
    width = _required(config, ("hidden_size", "n_embd"), config_path)
    heads = _required(config, ("num_attention_heads", "n_head"), config_path)
    head_length = count("head_dim") or width // heads
    tied = bool(config.get("tie_word_embeddings", architecture is None or _ties(architecture)))
    tensors = _tensors(stored, config, architecture, layers, head_length, tied)
    if architecture:
        require_every_layer(folder, tensors, layers)
    window = count("sliding_window") if architecture else 0
    every = _full_attention_every(config, architecture) if architecture and window else 0
    embedding = next((t for t in tensors if t.name == EMBEDDING), None)
    if architecture and embedding and embedding.shape[-1] != width:
        fault = f"its width is {width}, and the embedding has {embedding.shape[-1]} columns."
        raise FileCorrupt(config_path, fault, ADVICE)
    return ModelSpec(
        path=folder,
        source="huggingface",
        name=str(whole.get("_name_or_path") or folder.resolve().name),
        architecture=architecture.gguf_name if architecture else class_name,
        rewritable=architecture is not None,
        layers=layers,
        embedding_length=width,
        feed_forward_length=count("intermediate_size", "n_inner") or 4 * width,
        heads=heads,
        kv_heads=count("num_key_value_heads") or heads,
        key_length=head_length,
        value_length=head_length,
        vocabulary=embedding.shape[0] if embedding else count("vocab_size"),
        context_length=count("max_position_embeddings", "n_positions"),
        sliding_window=window if every else None,
        full_attention_every=every,
        experts=count("num_local_experts", "num_experts"),
        experts_used=count("num_experts_per_tok"),
        tied_embeddings=tied,
        tokenizer=_tokenizer_kind(folder),
        chat_template=_chat_template(folder),
        licence=_licence(folder),
        quantization=_quantization(whole, tensors),
        file_bytes=sum(file.stat().st_size for file in {t.file for t in stored.values()}),
        tensors=tensors,
    )


def _count(config: dict[str, Any], keys: tuple[str, ...]) -> int:
    """The first of the entries that is given and not zero, or 0."""
    return next((int(config[key]) for key in keys if config.get(key)), 0)


def _required(config: dict[str, Any], keys: tuple[str, ...], path: Path) -> int:
    value = _count(config, keys)
    if not value:
        raise FileCorrupt(path, f"it does not say {keys[0]}.", ADVICE)
    return value


def _ties(architecture: Architecture) -> bool:
    return architecture.gguf_name in ("gemma2", "gemma3", "gpt2")


def _full_attention_every(config: dict[str, Any], architecture: Architecture) -> int:
    if not architecture.full_attention_every:
        return 0
    kinds = config.get("layer_types") or []
    if "full_attention" in kinds:
        return int(kinds.index("full_attention")) + 1
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern")
    return int(pattern or architecture.full_attention_every)


def named_tensors(
    stored: dict[str, StoredTensor], architecture: Architecture | None, layers: int
) -> tuple[dict[str, list[StoredTensor]], list[str]]:
    """The stored tensors of each GGUF name, and the names that no GGUF tensor corresponds to.

    Several stored tensors share a GGUF name only where they are the experts of one layer; they
    stand in the experts' order.
    """
    names = _name_map(architecture.gguf_name if architecture else "llama", layers)
    found: dict[str, list[StoredTensor]] = {}
    unknown = []
    for source_name, tensor in stored.items():
        shared = shared_name(source_name)
        plain = shared.removeprefix("language_model.").replace("model.language_model.", "model.")
        name = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if name is None or not name.endswith((".weight", ".bias")):
            unknown.append(source_name)
        else:
            found.setdefault(name, []).append(tensor)
    for experts in found.values():
        experts.sort(key=lambda tensor: expert_number(tensor.name))
    return found, unknown


@lru_cache(maxsize=16)
def _name_map(architecture: str, layers: int) -> Any:
    import gguf

    kinds = {value: kind for kind, value in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(kinds[architecture], layers)


def gguf_names(folder: Path) -> Callable[[str], str | None]:
    """Gives the GGUF name of a checkpoint's weight, or None where it has none; all experts of a
    layer share one."""
    tensors = read_huggingface(folder).tensors
    names = {shared_name(tensor.source_name): tensor.name for tensor in tensors}
    return lambda weight: names.get(shared_name(weight))


def _tensors(
    stored: dict[str, StoredTensor],
    config: dict[str, Any],
    architecture: Architecture | None,
    layers: int,
    head_length: int,
    tied: bool,
) -> tuple[TensorSpec, ...]:
    found, unknown = named_tensors(stored, architecture, layers)
    if tied:
        found.pop(OUTPUT, None)
    rows = [
        (name, experts[-1].name, _shape(experts, name, architecture), experts[-1].dtype)
        for name, experts in found.items()
    ]
    if architecture is None:
        # Nothing is left out of the plan of a family we do not know.
        rows += [(name, name, stored[name].shape, stored[name].dtype) for name in unknown]
    else:
        factors = frequency_factors(config, head_length)
        rows += [(name, "config.json", (len(values),), "F32") for name, values in factors.items()]
    return tuple(
        TensorSpec(
            name=name, source_name=source, shape=shape, dtype=dtype, group=tensor_group(name)
        )
        for name, source, shape, dtype in rows
    )


def _shape(
    experts: list[StoredTensor], name: str, architecture: Architecture | None
) -> tuple[int, ...]:
    shape = experts[-1].shape
    if architecture and len(shape) == 2 and any(f".{r}." in name for r in architecture.transposed):
        shape = shape[::-1]
    if name.endswith("ffn_gate_inp_shexp.weight"):
        shape = shape[-1:]  # One row, which llama.cpp keeps as a vector.
    return (len(experts), *shape) if len(experts) > 1 else shape


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
        named = [entry for entry in template if isinstance(entry, dict)]
        template = next((t.get("template") for t in named if t.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _licence(folder: Path) -> str | None:
    card = folder / "README.md"
    if not card.is_file():
        return None
    found = re.search(r"^license:\s*(\S+)", card.read_text("utf-8", errors="replace"), re.M)
    return found.group(1) if found else None


def _quantization(config: dict[str, Any], tensors: tuple[TensorSpec, ...]) -> str | None:
    """The method and the type of most weights, such as `gptq INT4`."""
    quantization = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(quantization, dict):
        return None
    kinds = tuple(tensor for tensor in tensors if tensor.dtype.startswith("INT"))
    return f"{quantization.get('quant_method')} {dominant_type(kinds) if kinds else ''}".strip()
