"""A GGUF file's tokenizer as tokenizer.json and tokenizer_config.json.

Rebuilding a tokenizer from a GGUF file is where other tools went wrong silently, so what is built
here is only kept where it gives llama.cpp's ids over the corpus; the caller compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecomp.common.atomic import write_text
from edgecomp.models.gguf.header import GgufHeader

from .gguf_tokenizer import PHI3
from .pretokenizers import definition, pretokenizer_named
from .sentencepiece_model import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

FILES = ("tokenizer.json", "tokenizer_config.json")
KEEPS_SPACE = ("<unk>", "<s>", "<|endoftext|>")
"""Special tokens that keep the whitespace after them where llama.cpp lets the others swallow it."""

SPACE = "\u2581"
Json = dict[str, Any]


def write_tokenizer(header: GgufHeader, folder: Path) -> str | None:
    """Write the tokenizer files into `folder`; returns the reason where there is no way to."""
    kind = header.get("tokenizer.ggml.model")
    tokens, types = _list(header, "tokens"), _list(header, "token_type")
    if kind == "gpt2":
        name = str(header.get("tokenizer.ggml.pre", "default"))
        row = pretokenizer_named(name)
        if row is None:
            return f"its pre-tokenizer {name!r} is not in the table"
        model: Json = {
            "type": "BPE", "unk_token": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": row.ignore_merges,
            "merges": [merge.split(" ", 1) for merge in _list(header, "merges")],
        }  # fmt: skip
        parts: Json = {
            "normalizer": None,
            "pre_tokenizer": definition(row),
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        }
    elif kind == "llama":
        scores = [float(score) for score in _list(header, "scores")]
        unknown = next((text for text, k in zip(tokens, types, strict=True) if k == UNKNOWN), None)
        model = {
            "type": "BPE", "unk_token": unknown, "fuse_unk": True, "byte_fallback": True,
            "ignore_merges": False, "merges": list(_merges(tokens, types, scores)),
        }  # fmt: skip
        parts = _sentencepiece_parts(
            prefix_space=header.get("tokenizer.ggml.add_space_prefix", True) is True
        )
    else:
        return f"its kind {kind!r} has no counterpart in the tokenizers library"
    model["vocab"] = {
        text: number
        for number, (text, k) in enumerate(zip(tokens, types, strict=True))
        if k != UNUSED
    }
    whole = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": _added_tokens(header, tokens, types), **parts,
        "post_processor": _post_processor(header, tokens), "model": model,
    }  # fmt: skip
    write_text(folder / FILES[0], json.dumps(whole, ensure_ascii=False) + "\n")
    write_text(folder / FILES[1], json.dumps(_settings(header, tokens), indent=2) + "\n")
    return None


def _list(header: GgufHeader, key: str) -> list[Any]:
    value = header.get(f"tokenizer.ggml.{key}", [])
    return value if isinstance(value, list) else []


def _merges(tokens: list[str], types: list[int], scores: list[float]) -> Iterator[list[str]]:
    """Every way to make a token of two others, the token with the best score first."""
    vocabulary = {text: number for number, text in enumerate(tokens) if types[number] == NORMAL}
    for text in sorted(vocabulary, key=lambda text: -scores[vocabulary[text]]):
        pairs = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        known.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        yield from ([left, right] for left, right in known)


def _sentencepiece_parts(*, prefix_space: bool) -> Json:
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = [{"type": "Prepend", "prepend": SPACE}] if prefix_space else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix_space else []
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *strip,
    ]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
    }


def _added_tokens(header: GgufHeader, tokens: list[str], types: list[int]) -> list[Json]:
    strips = PHI3.search(str(header.get("general.name", ""))) is not None
    return [
        {
            "id": number, "content": text, "single_word": False, "lstrip": False,
            "rstrip": strips and text not in KEEPS_SPACE, "normalized": False,
            "special": kind != USER_DEFINED,
        }
        for number, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED, UNKNOWN)
    ]  # fmt: skip


def _token(header: GgufHeader, kind: str) -> int | None:
    token = header.get(f"tokenizer.ggml.{kind}_token_id")
    return token if isinstance(token, int) else None


def _adds(header: GgufHeader, kind: str) -> bool:
    """Whether llama.cpp adds BOS or EOS; its defaults depend on the kind of tokenizer."""
    by_default = kind == "bos" and (
        header.get("tokenizer.ggml.model") == "llama"
        or header.get("tokenizer.ggml.pre") in ("llama-bpe", "llama3", "llama-v3", "tekken")
    )
    adds = header.get(f"tokenizer.ggml.add_{kind}_token", by_default)
    return bool(adds) and _token(header, kind) is not None


def _post_processor(header: GgufHeader, tokens: list[str]) -> Json | None:
    single: list[Json] = [{"Sequence": {"id": "A", "type_id": 0}}]
    special: Json = {}
    for kind in ("bos", "eos"):
        number = _token(header, kind)
        if number is None or not _adds(header, kind):
            continue
        text = tokens[number]
        special[text] = {"id": text, "ids": [number], "tokens": [text]}
        entry = {"SpecialToken": {"id": text, "type_id": 0}}
        single = [entry, *single] if kind == "bos" else [*single, entry]
    if not special:
        return None
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def _settings(header: GgufHeader, tokens: list[str]) -> Json:
    settings: Json = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": _adds(header, "bos"),
        "add_eos_token": _adds(header, "eos"),
    }
    for key, kind in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = _token(header, kind)
        if number is not None:
            settings[f"{key}_token"] = tokens[number]
    template = header.get("tokenizer.chat_template")
    if isinstance(template, str):
        settings["chat_template"] = template
    return settings
