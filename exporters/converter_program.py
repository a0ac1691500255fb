"""Run with llama.cpp's own converter on the path: nothing of edgecomp is imported here.

    python converter_program.py '{"checkpoint": ..., "destination": ..., "float_type": ...,
                                  "name": ..., "projector": ..., "tokenizer": ...,
                                  "other_tokenizer": ...}'

Writes the text model of a Hugging Face folder as a GGUF file, or with `projector` its towers, which
read pictures or sounds. `tokenizer`: a JSON file of metadata entries that are written where the
converter does not know the tokenizer, or null; with `other_tokenizer` they are written in any case.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

OLDER_WEIGHT_NAMES = (
    (
        re.compile(r"^(?:model\.)?vision_tower\.(?=embeddings\.|encoder\.|post_layernorm\.)"),
        "vision_tower.vision_model.",
    ),
)
"""How transformers 5 names weights, and what the converter looks for in their place."""

WITHOUT_PREFIX = ("vision_tower.", "multi_modal_projector.")


def main() -> None:
    """Convert one model."""
    import torch

    wanted = json.loads(sys.argv[1])
    forbid_code_of_models()
    with torch.inference_mode():
        convert(wanted)


def forbid_code_of_models() -> None:
    """Let transformers run nothing that lies beside the weights, whatever the converter asks."""
    import transformers

    for loader in (transformers.AutoConfig, transformers.AutoTokenizer):
        setattr(loader, "from_pretrained", without_remote_code(loader.from_pretrained))  # noqa: B010 - a method


def without_remote_code(load: Callable[..., Any]) -> Callable[..., Any]:
    def loading(*arguments: Any, **settings: Any) -> Any:
        return load(*arguments, **{**settings, "trust_remote_code": False})

    return loading


def entries_of(load: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`load`, with the entries of config.json that transformers renames or drops in between."""

    def loading(dir_model: Path, *rest: Any, **named: Any) -> dict[str, Any]:
        raw = json.loads((dir_model / "config.json").read_text("utf-8"))
        entries = {**raw, **load(dir_model, *rest, **named)}
        text = entries.get("text_config")
        if isinstance(text, dict):
            entries["text_config"] = {**raw.get("text_config", {}), **text}
        for part in (entries, entries.get("text_config")):
            if isinstance(part, dict):
                add_older_names(part)
        return entries

    return loading


def add_older_names(entries: dict[str, Any]) -> None:
    """What transformers 5 writes elsewhere, under the names that the converter looks for."""
    rope = entries.get("rope_parameters") or {}
    older = {
        "rotary_pct": rope.get("partial_rotary_factor"),
        "partial_rotary_factor": rope.get("partial_rotary_factor"),
        "n_ctx": entries.get("n_positions"),
    }
    for name, value in older.items():
        if value is not None and entries.get(name) is None:
            entries[name] = value


def with_older_weight_names(kind: Any) -> None:
    """Let the class `kind` of the converter know weights by the names that transformers 5 gives."""
    own, own_filter = kind.map_tensor_name, kind.filter_tensors

    def filter_tensors(item: tuple[str, Any]) -> Any:
        kept = own_filter(item)
        # Some classes pass over towers that are not below `model.`.
        below = kept is None and item[0].startswith(WITHOUT_PREFIX)
        return own_filter((f"model.{item[0]}", item[1])) if below else kept

    def map_tensor_name(model: Any, name: str, *rest: Any, **named: Any) -> Any:
        try:
            return own(model, name, *rest, **named)
        except ValueError:
            for pattern, older in OLDER_WEIGHT_NAMES:
                if pattern.match(name):
                    return own(model, pattern.sub(older, name), *rest, **named)
            raise

    kind.map_tensor_name = map_tensor_name
    kind.filter_tensors = staticmethod(filter_tensors)


def with_break_token(kind: Any) -> None:
    """Let the class `kind` of the converter see the text model's embedding where it takes the row
    of [IMG_BREAK] from there: it asks for that and passes all of the text model over before."""
    own = kind.filter_tensors

    def filter_tensors(item: tuple[str, Any]) -> tuple[str, Any] | None:
        kept: tuple[str, Any] | None = own(item)
        wanted = kind.use_break_tok and item[0].endswith("embed_tokens.weight")
        return item if wanted and kept is None else kept

    kind.filter_tensors = staticmethod(filter_tensors)


def convert(wanted: dict[str, Any]) -> None:
    """Write the file, with the other tokenizer where the converter refuses the model's."""
    import gguf
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    checkpoint = Path(wanted["checkpoint"])
    ModelBase.load_hparams = staticmethod(entries_of(ModelBase.load_hparams))
    entries = ModelBase.load_hparams(checkpoint, is_mistral_format=False)
    if wanted["projector"]:
        name = get_model_architecture(entries, ModelType.MMPROJ)
        kind = get_model_class(name, mmproj=True)
        with_older_weight_names(kind)
        if hasattr(kind, "use_break_tok"):
            with_break_token(kind)
    else:
        kind = get_model_class(get_model_architecture(entries, ModelType.TEXT))
    types = {
        "F32": gguf.LlamaFileType.ALL_F32,
        "F16": gguf.LlamaFileType.MOSTLY_F16,
        "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    }
    destination = Path(wanted["destination"])
    if not wanted["projector"] and kind.supports_mtp_export:
        kind.no_mtp = True  # Heads for multi-token prediction are no part of the plain text model.
    model = kind(checkpoint, types[wanted["float_type"]], destination, model_name=wanted["name"])
    if wanted["tokenizer"]:
        entries = json.loads(Path(wanted["tokenizer"]).read_text("utf-8"))
        # Some classes hand everything on to another one.
        for part in filter(None, (model, getattr(model, "impl", None))):
            converters_own = None if wanted["other_tokenizer"] else type(part).set_vocab
            part.set_vocab = partial(set_tokenizer, part, converters_own, entries)
    model.write()


def set_tokenizer(
    model: Any, converters_own: Callable[[Any], None] | None, other: dict[str, Any]
) -> None:
    """Add the tokenizer as the converter does; where it cannot or should not, by the entries
    `other`: value, type, and type of its elements by key."""
    import gguf

    before = dict(model.gguf_writer.kv_data[0])
    if converters_own:
        try:
            converters_own(model)
            return
        except Exception as error:  # Whatever it does not know is no reason to give up.
            print(f"the tokenizer is written by edgecomp: {error!r}", file=sys.stderr)
    model.gguf_writer.kv_data[0] = before
    for key, (value, kind, of_elements) in other.items():
        element = gguf.GGUFValueType(of_elements) if of_elements is not None else None
        model.gguf_writer.add_key_value(key, value, gguf.GGUFValueType(kind), element)


if __name__ == "__main__":
    main()
