"""A Hugging Face folder (config.json and safetensors) as a ModelSpec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgecomp.common.errors import FileCorrupt, ModelIncomplete, QuantizationUnsupported
from edgecomp.models.architectures import BY_HF_CLASS, Architecture
from edgecomp.models.huggingface.config_entries import (
    ADVICE,
    UNKNOWN,
    check_entries,
    usual_entries,
)
from edgecomp.models.huggingface.counts import require_shapes, require_stored
from edgecomp.models.huggingface.every_layer import require_every_layer
from edgecomp.models.huggingface.layer_caches import layer_caches_of, sliding_of
from edgecomp.models.huggingface.layer_kinds import sliding_layers
from edgecomp.models.huggingface.licence import licence_of
from edgecomp.models.huggingface.quantization_config import (
    converted_method,
    read_quantization,
    said_of_quantization,
)
from edgecomp.models.huggingface.quantized import (
    joined_blocks,
    joined_tensors,
    quantized_linears,
    refuse_unannounced,
)
from edgecomp.models.huggingface.template_file import folder_template
from edgecomp.models.huggingface.tied_head import Head, read_head
from edgecomp.models.huggingface.towers import beside_text, prediction_heads_note, read_towers
from edgecomp.models.huggingface.weight_files import (
    ADAPTER_CONFIG,
    left_over,
)
from edgecomp.models.huggingface.weight_files import read_json as read_json
from edgecomp.models.huggingface.weight_files import stored_tensors as stored_tensors
from edgecomp.models.integer_grid import IntegerGrid
from edgecomp.models.layer_cache import LayerCache, period
from edgecomp.models.llama_cpp_families import converted_family, who_lacks
from edgecomp.models.model_name import name_by_place
from edgecomp.models.rope_scaling import frequency_factors
from edgecomp.models.safetensors_header import StoredTensor
from edgecomp.models.spec import (
    EMBEDDING,
    OUTPUT,
    ModelSpec,
    TensorSpec,
    dominant_type,
    tensor_group,
)

EXPERT = re.compile(r"\.experts\.(\d+)\.")
EXPERT_OF_FUSED = re.compile(r"\[(\d+)\]$")


def shared_name(name: str) -> str:
    """The name of a weight without its expert's number: that of all experts of the layer."""
    return EXPERT_OF_FUSED.sub("", EXPERT.sub(".experts.", name))


def fused_matrix_name(tensor: str, expert: int) -> str:
    """What the matrix of one expert is called that a checkpoint stores in one tensor of all."""
    return f"{tensor}[{expert}]"


def expert_number(name: str) -> int:
    """Which expert a weight belongs to; 0 where it belongs to none."""
    expert = EXPERT_OF_FUSED.search(name) or EXPERT.search(name)
    return int(expert.group(1)) if expert else 0


def weight_tensors(folder: Path, config: dict[str, Any]) -> dict[str, StoredTensor]:
    """The weights of a checkpoint folder: its stored tensors, with those of a quantized linear
    joined to the one they stand for.

    Raises what `stored_tensors` raises, QuantizationUnsupported, and ModelIncomplete for a
    quantized checkpoint whose config does not say so.
    """
    if converted_method(config):
        return joined_blocks(stored_tensors(folder))
    quantization = read_quantization(config, folder)
    stored = stored_tensors(folder)
    if quantization is None:
        refuse_unannounced(stored, folder)
        return stored
    return joined_tensors(stored, quantized_linears(stored, quantization))


def language_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a config (multimodal models nest it).

    Entries that the family's published configs leave out are filled in.
    """
    nested = config.get("text_config")
    flat = {**config, **nested} if isinstance(nested, dict) else dict(config)
    flat["architectures"] = [_class_of(config, nested if isinstance(nested, dict) else {})]
    architecture = BY_HF_CLASS.get(flat["architectures"][0])
    return {**(architecture.config_defaults if architecture else {}), **flat}


def _class_of(config: dict[str, Any], nested: dict[str, Any]) -> str:
    """The class by which the language model is known: the model's own, or, where nothing here knows
    that, the text model's."""
    named = (part.get("architectures") for part in (config, nested))
    classes = [names[0] for names in named if isinstance(names, list) and names]
    classes = [name for name in classes if isinstance(name, str)]
    known = (name for name in classes if name in BY_HF_CLASS or converted_family(name))
    return next(known, classes[0] if classes else UNKNOWN)


def read_huggingface(folder: Path) -> ModelSpec:
    """Read a model folder's config and safetensors headers; quantized linears count as the weights
    they stand for. Raises ArchitectureUnsupported, QuantizationUnsupported, and what
    `stored_tensors` raises."""
    config_path = _find_config(folder)
    whole = read_json(config_path)
    # First: advice on a config is of no use where the weights cannot be read.
    stored = weight_tensors(folder, whole)
    config, architecture = _checked_config(whole, config_path)
    method = converted_method(whole)
    if method:
        architecture = None  # Whatever the family: only the converter reads its weights.

    def count(*keys: str) -> int:
        return _count(config, keys)

    layers = _required_count(config, ("num_hidden_layers", "n_layer"), config_path)
    width = _required_count(config, ("hidden_size", "n_embd"), config_path)
    hf_class = str(config["architectures"][0])
    converted = None if architecture else converted_family(hf_class)
    gguf_name = architecture.gguf_name if architecture else converted
    if method and not converted:
        raise QuantizationUnsupported(folder, method)
    attends = converted is None
    heads, kv_heads, head_length = _attention(config, config_path, width, attends=attends)
    require_stored(config, config_path, layers, stored)
    found, unknown = named_tensors(stored, gguf_name or "llama", layers)
    _refuse_copies(found, architecture)
    head = _head(config, architecture, found)
    if head.tied:
        found.pop(OUTPUT, None)
    tensors = _tensors(found, architecture)
    if architecture is None:
        # Nothing of the text model is left out of the plan of a family we do not know.
        of_text = [name for name in unknown if not beside_text(name)]
        tensors += tuple(_tensor(n, n, stored[n].shape, stored[n].dtype) for n in of_text)
    else:
        require_every_layer(folder, tensors, layers, architecture)
        require_shapes(config, config_path, tensors, (heads, kv_heads, head_length))
        tensors += _rotary_tables(config, head_length)
    beside = [stored[name] for name in unknown]
    projector = read_towers(folder, whole, beside) if gguf_name else None
    window, every, pattern = _sliding(config, architecture, layers, config_path)
    caches: tuple[LayerCache, ...] = ()
    if converted:
        usual = LayerCache(key_values=kv_heads * head_length, value_values=kv_heads * head_length)
        rows = {tensor.name: tensor.shape[0] for tensor in tensors if len(tensor.shape) == 2}
        caches = layer_caches_of(config, converted, layers, usual, rows)
        window, slides = sliding_of(config, converted, layers)
        every = (period(slides, 0) or 0) if window else 0
        pattern = slides if window and not every else ()
    return ModelSpec(
        path=folder,
        source="huggingface",
        name=name_by_place(folder),
        architecture=gguf_name or hf_class,
        layout="known" if architecture else "learned" if converted else "unknown",
        layers=layers,
        embedding_length=width,
        feed_forward_length=count("intermediate_size", "n_inner") or 4 * width,
        heads=heads,
        kv_heads=kv_heads,
        key_length=head_length,
        value_length=head_length,
        vocabulary=_vocabulary(config, tensors),
        context_length=count("max_position_embeddings", "n_positions"),
        sliding_window=window,
        full_attention_every=every,
        sliding_pattern=pattern,
        layer_caches=caches,
        experts=count("num_local_experts", "num_experts"),
        experts_used=count("num_experts_per_tok"),
        cells_chosen=count("index_topk"),
        picture_layers=_picture_layers(config) if (gguf_name or "").startswith("qwen3vl") else 0,
        tied_embeddings=head.tied,
        tokenizer=_tokenizer_kind(folder),
        chat_template=folder_template(folder),
        licence=licence_of(folder),
        quantization=_quantization(said_of_quantization(whole, folder), tensors),
        file_bytes=sum(file.stat().st_size for file in {t.file for t in stored.values()}),
        tensors=tensors,
        projector=projector,
        notes=(
            *left_over(folder),
            *((head.note,) if head.note else ()),
            *prediction_heads_note(unknown),
            *((projector.note,) if projector else ()),
            *(() if gguf_name else (who_lacks(hf_class),)),
        ),
    )


def _picture_layers(config: dict[str, Any]) -> int:
    tower = config.get("vision_config")
    layers = tower.get("deepstack_visual_indexes") if isinstance(tower, dict) else None
    return len(layers) if isinstance(layers, list) else 0


def _find_config(folder: Path) -> Path:
    """The folder's config.json. Raises ModelIncomplete where there is none."""
    path = folder / "config.json"
    if path.is_file():
        return path
    if (folder / ADAPTER_CONFIG).is_file():
        raise ModelIncomplete(
            folder,
            "it holds an adapter, not the model.",
            "Merge it into its base model by peft's merge_and_unload, and give the result.",
        )
    raise ModelIncomplete(folder, "it has no config.json.", "Give a Hugging Face model folder.")


def _checked_config(
    whole: dict[str, Any], path: Path
) -> tuple[dict[str, Any], Architecture | None]:
    """The entries of the language model, and its family where we know it."""
    config = language_config(whole)
    architecture = BY_HF_CLASS.get(str(config["architectures"][0]))
    if architecture is None:
        attends = converted_family(str(config["architectures"][0])) is None
        return usual_entries(config, path, attends=attends), None
    check_entries(config, path)
    return config, architecture


def _attention(
    config: dict[str, Any], path: Path, width: int, *, attends: bool
) -> tuple[int, int, int]:
    """Heads, heads of the KV cache, and the length of a head; 0 each where no layer has any. Raises
    FileCorrupt for that where they must `attend`."""
    keys = ("num_attention_heads", "n_head")
    heads = _required_count(config, keys, path) if attends else _count(config, keys)
    if not heads:
        return 0, 0, 0
    shared = config.get("multi_query") is True and not config.get("new_decoder_architecture")
    usual = 1 if shared else heads
    kv_heads = _count(config, ("num_key_value_heads", "num_kv_heads")) or usual
    return heads, kv_heads, _count(config, ("head_dim",)) or width // heads


def _vocabulary(config: dict[str, Any], tensors: tuple[TensorSpec, ...]) -> int:
    embedding = next((t for t in tensors if t.name == EMBEDDING), None)
    return embedding.shape[0] if embedding else _count(config, ("vocab_size",))


def _sliding(
    config: dict[str, Any], architecture: Architecture | None, layers: int, path: Path
) -> tuple[int | None, int, tuple[bool, ...]]:
    """The window, and the n of which each n-th layer sees everything, or one entry a layer."""
    slides = sliding_layers(config, architecture, layers, path) if architecture else ()
    if not architecture or not slides:
        return None, 0, ()
    every = period(slides, architecture.full_attention_every)
    return _count(config, ("sliding_window",)), every or 0, slides if every is None else ()


def _head(
    config: dict[str, Any],
    architecture: Architecture | None,
    found: dict[str, list[StoredTensor]],
) -> Head:
    flag = bool(config.get("tie_word_embeddings", architecture is None or _ties(architecture)))
    embedding, head = (found[name][0] if name in found else None for name in (EMBEDDING, OUTPUT))
    if head and (architecture.needs_head if architecture else not flag):
        return Head(tied=False)
    return read_head(flag=flag, embedding=embedding, head=head)


def _refuse_copies(found: dict[str, list[StoredTensor]], architecture: Architecture | None) -> None:
    """Raises FileCorrupt where two stored tensors, not experts, are one weight of a model of a
    family that we know."""
    for copies in found.values() if architecture else ():
        if len(copies) > 1 and not any(EXPERT.search(tensor.name) for tensor in copies):
            fault = f"{copies[0].name} and {copies[1].name} are the same weight of the model."
            raise FileCorrupt(copies[1].file, fault, "Remove the one that is left over.")


def _count(config: dict[str, Any], keys: tuple[str, ...]) -> int:
    """The first of the entries that is given and not zero, or 0."""
    return next((int(config[key]) for key in keys if config.get(key)), 0)


def _required_count(config: dict[str, Any], keys: tuple[str, ...], path: Path) -> int:
    value = _count(config, keys)
    if not value:
        raise FileCorrupt(path, f"it does not say {keys[0]}.", ADVICE)
    return value


def _ties(architecture: Architecture) -> bool:
    return architecture.gguf_name in ("gemma2", "gemma3", "gpt2")


def named_tensors(
    stored: dict[str, StoredTensor], family: str, layers: int
) -> tuple[dict[str, list[StoredTensor]], list[str]]:
    """The stored tensors of each GGUF name of `family`, and the names that no GGUF tensor
    corresponds to.

    Several stored tensors share a GGUF name only where they are the experts of one layer; they
    stand in the experts' order.
    """
    names = _name_map(family, layers)
    found: dict[str, list[StoredTensor]] = {}
    unknown = []
    for source_name, tensor in stored.items():
        shared = shared_name(source_name)
        plain = shared.removeprefix("language_model.").replace("model.language_model.", "model.")
        plain = plain.replace("model.text_model.", "model.")
        name = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if name is None or not name.endswith((".weight", ".bias")):
            unknown.append(source_name)
        else:
            found.setdefault(name, []).append(tensor)
    for experts in found.values():
        experts.sort(key=lambda tensor: expert_number(tensor.name))
    return found, unknown


@lru_cache(maxsize=16)
def _name_map(family: str, layers: int) -> Any:
    import gguf

    kinds = {value: kind for kind, value in gguf.MODEL_ARCH_NAMES.items()}
    # The converter may know families that this package does not.
    return gguf.get_tensor_name_map(kinds.get(family, kinds["llama"]), layers)


def gguf_names(folder: Path) -> Callable[[str], str | None]:
    """Gives the GGUF name of a checkpoint's weight, or None where it has none; all experts of a
    layer share one.

    Where the layout is not known, weights that `gguf`'s table does not name keep their own names:
    no two have the same, and learned_layout says where they go.
    """
    model = read_huggingface(folder)
    tensors = model.tensors
    names = {shared_name(tensor.source_name): tensor.name for tensor in tensors}
    if model.layout != "known":
        return lambda weight: names.get(shared_name(weight), shared_name(weight))
    return lambda weight: names.get(shared_name(weight))


def _tensors(
    found: dict[str, list[StoredTensor]], architecture: Architecture | None
) -> tuple[TensorSpec, ...]:
    return tuple(
        _tensor(
            name,
            experts[-1].name,
            _shape(experts, name, architecture),
            experts[-1].dtype,
            experts[-1].grid,
        )
        for name, experts in found.items()
    )


def _rotary_tables(config: dict[str, Any], head_length: int) -> tuple[TensorSpec, ...]:
    tables = frequency_factors(config, head_length)
    return tuple(
        _tensor(name, "config.json", (len(values),), "F32") for name, values in tables.items()
    )


def _tensor(
    name: str, source: str, shape: tuple[int, ...], dtype: str, grid: IntegerGrid | None = None
) -> TensorSpec:
    group = tensor_group(name)
    return TensorSpec(
        name=name, source_name=source, shape=shape, dtype=dtype, group=group, grid=grid
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


def _quantization(said: Mapping[str, Any] | None, tensors: tuple[TensorSpec, ...]) -> str | None:
    """The method and the type of most weights, such as `gptq INT4`."""
    if said is None:
        return None
    kinds = tuple(
        tensor for tensor in tensors if tensor.dtype.startswith(("INT", "F8", "F4", "MXFP4"))
    )
    return f"{said.get('quant_method')} {dominant_type(kinds) if kinds else ''}".strip()
