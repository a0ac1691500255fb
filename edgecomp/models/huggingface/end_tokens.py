"""The tokens that end a model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.common.errors import ExportRefused
from edgecomp.models.huggingface.model import read_json
from edgecomp.models.spec import ModelSpec


def end_token_ids(folder: Path) -> tuple[int, ...]:
    """Ids of the tokens at which a Hugging Face model stops: the tokenizer's own `eos_token`, which
    ends a chat model's turns, and those of `eos_token_id`, a number or a list.

    As in transformers' `generate`, generation_config.json's `eos_token_id` counts, and
    config.json's only where that has none. Empty: no file names one.
    """
    own = _tokenizer_end(folder)
    given = _entry(folder / "generation_config.json") or _entry(folder / "config.json")
    return tuple(dict.fromkeys([own, *given] if own is not None else given))


def required_end_token_ids(model: ModelSpec) -> tuple[int, ...]:
    """The ids at which the Hugging Face folder `model` stops. Raises ExportRefused where no file
    names one."""
    ends = end_token_ids(model.path)
    if not ends:
        raise ExportRefused(
            f"{model.name} names no token that ends an answer: neither generation_config.json nor "
            "config.json has eos_token_id, nor tokenizer_config.json eos_token. Set one of them."
        )
    return ends


def _entry(path: Path) -> tuple[int, ...]:
    config = _object(path)
    nested = config.get("text_config")
    value = config.get("eos_token_id")
    if value is None and isinstance(nested, dict):
        value = nested.get("eos_token_id")
    given = value if isinstance(value, list) else [value]
    numbers = [token for token in given if isinstance(token, int) and token >= 0]
    return tuple(dict.fromkeys(numbers))


def _tokenizer_end(folder: Path) -> int | None:
    text = _object(folder / "tokenizer_config.json").get("eos_token")
    if isinstance(text, dict):
        text = text.get("content")
    if not isinstance(text, str):
        return None
    definition = _object(folder / "tokenizer.json")
    for row in definition.get("added_tokens") or []:
        if row.get("content") == text:
            return int(row["id"])
    vocabulary = (definition.get("model") or {}).get("vocab")
    found = vocabulary.get(text) if isinstance(vocabulary, dict) else None
    return found if isinstance(found, int) else None


def _object(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
