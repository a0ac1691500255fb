"""What an artifact must pass before it is called done.

Each check is a function that returns a CheckResult; none raises for a bad artifact. They look at
the file that will be shipped, in the runtime that will run it, never at a simulation of it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgecomp.chat_template import read_chat_template
from edgecomp.errors import ChatTemplateBroken, ExportRefused
from edgecomp.events import Progress, ignore_progress
from edgecomp.float_conversion import float32_pieces
from edgecomp.gguf.header import read_gguf_header
from edgecomp.model import ModelSpec, read_model
from edgecomp.runtimes.protocol import Runtime
from edgecomp.tokenizer_corpus import corpus, model_texts
from edgecomp.value import Value

CONTROL, USER_DEFINED = 3, 4
"""GGUF token types of special and of other added tokens."""

MOST_SPECIAL_TOKENS = 64
"""Families reserve up to thousands of special tokens; the first ones stand for them."""

CHAT = (
    {"role": "user", "content": "Wie heißt die Hauptstadt von 日本? 🗾"},
    {"role": "assistant", "content": "  Tokyo (東京).\n"},
    {"role": "user", "content": "Thanks!"},
)
Difference = tuple[str, list[int], list[int]]
"""A text, its ids in the source, its ids in the artifact."""

Encode = Callable[[str, bool], list[int]]
"""Token ids of a text; True: with what the tokenizer adds to every text."""


class CheckResult(Value):
    """One check: passed or not, and why, in a sentence."""

    name: str
    passed: bool
    detail: str


def check_token_ids(model: ModelSpec, artifact: Path, runtime: Runtime) -> CheckResult:
    """Whether the artifact's tokenizer gives the source's ids for every text of the corpus.

    Each text is compared with its special tokens read as such, without and with BOS and EOS. The
    source's ids come from transformers for a checkpoint, from `runtime` for a GGUF file. Two
    differences that lie in the runtime and not in the file are allowed, and told in `detail`:
    texts are compared in Unicode normal form C where only the source makes it; and a text without
    any special token of the source may be equal only when it is read as plain text (llama.cpp
    takes some strings, such as "</s>", for special whatever the file says).
    """
    special = _special_tokens(model)
    own = model_texts(special[:MOST_SPECIAL_TOKENS], _rendered_chat(model))
    texts = list(dict.fromkeys([*corpus(), *own]))
    notes = []
    encode = None
    if model.source == "huggingface":
        encode, composes = _source_tokenizer(model.path)
        if composes:
            composed = [unicodedata.normalize("NFC", text) for text in texts]
            changed = sum(one != other for one, other in zip(texts, composed, strict=True))
            notes.append(f"{changed} texts only in Unicode normal form C")
            texts = list(dict.fromkeys(composed))
    different: list[Difference] = []
    plain: set[str] = set()
    for added in (False, True):
        wanted = (
            [encode(text, added) for text in texts]
            if encode
            else _ids(runtime, model.path, texts, added)
        )
        rows = zip(texts, wanted, _ids(runtime, artifact, texts, added), strict=True)
        unequal = [row for row in rows if row[1] != row[2]]
        doubtful = [row for row in unequal if not any(token in row[0] for token in special)]
        again = _ids(runtime, artifact, [row[0] for row in doubtful], added, parse_special=False)
        equal = {row[0] for row, ids in zip(doubtful, again, strict=True) if row[1] == ids}
        different += [row for row in unequal if row[0] not in equal]
        plain |= equal
    if plain:
        example = min(plain, key=len)[:40]
        notes.append(f"{len(plain)} texts only when read as plain text, such as {example!r}")
    note = f" ({'; '.join(notes)})" if notes else ""
    if not different:
        detail = f"equal on all {len(texts)} texts{note}"
        return CheckResult(name="token ids", passed=True, detail=detail)
    text, source_ids, ids = min(different, key=lambda row: len(row[0]))
    return CheckResult(
        name="token ids",
        passed=False,
        detail=f"{len({row[0] for row in different})} of {len(texts)} texts differ, such as "
        f"{text[:80]!r}: {source_ids[:20]} in the source, {ids[:20]} in {artifact.name}{note}",
    )


def same_token_ids(runtime: Runtime, base: Path, artifact: Path) -> CheckResult:
    """Whether two artifacts of one runtime read texts as the same ids, a GGUF base's special tokens
    included."""
    if base.is_file():
        return check_token_ids(read_model(base), artifact, runtime)
    texts = list(corpus())
    for added in (False, True):
        rows = zip(*(_ids(runtime, path, texts, added) for path in (base, artifact)), strict=True)
        for text, (before, after) in zip(texts, rows, strict=True):
            if before != after:
                detail = f"{text[:80]!r}: {before[:20]} in the base, {after[:20]} in the artifact"
                return CheckResult(name="token ids", passed=False, detail=detail)
    return CheckResult(name="token ids", passed=True, detail=f"equal on all {len(texts)} texts")


def _ids(
    runtime: Runtime,
    artifact: Path,
    texts: Sequence[str],
    added: bool,
    parse_special: bool = True,
) -> list[list[int]]:
    if not texts:
        return []
    return runtime.tokenize(artifact, texts, add_special=added, parse_special=parse_special)


def _source_tokenizer(folder: Path) -> tuple[Encode, bool]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(text: str, added: bool) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=added))

    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    composes = normalizer is not None and normalizer.normalize_str("e\u0301") == "\u00e9"
    return encode, composes


def _special_tokens(model: ModelSpec) -> list[str]:
    if model.source == "gguf":
        header = read_gguf_header(model.path)
        tokens, types = header.get("tokenizer.ggml.tokens"), header.get("tokenizer.ggml.token_type")
        if not isinstance(tokens, list) or not isinstance(types, list):
            return []
        named = [
            str(text)
            for text, kind in zip(tokens, types, strict=False)
            if kind in (CONTROL, USER_DEFINED)
        ]
    else:
        from tokenizers import Tokenizer

        definition = model.path / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(definition))
        named = [row.content for _, row in sorted(tokenizer.get_added_tokens_decoder().items())]
    return named


def _rendered_chat(model: ModelSpec) -> str | None:
    if model.chat_template is None:
        return None
    try:
        return read_chat_template(model.path).render(CHAT)
    except ChatTemplateBroken:
        return None


def check_size(artifact: Path, planned_bytes: int) -> CheckResult:
    """Whether the file is exactly as large as the plan said."""
    actual = artifact.stat().st_size
    detail = f"{actual:,} bytes" + (
        "" if actual == planned_bytes else f", planned {planned_bytes:,}"
    )
    return CheckResult(name="size", passed=actual == planned_bytes, detail=detail)


def tensor_types(artifact: Path) -> dict[str, str]:
    """The real type of every tensor of a GGUF file."""
    return {row.name: row.type.name for row in read_gguf_header(artifact).tensors}


def check_types(
    artifact: Path, planned: Mapping[str, str], fallbacks: Mapping[str, str]
) -> CheckResult:
    """Whether every tensor has the type the plan gave it; fallbacks are named.

    `fallbacks`: tensors whose columns do not divide by the format's block, with their type.
    """
    actual = tensor_types(artifact)
    wrong = sorted(
        name for name in actual.keys() | planned.keys() if actual.get(name) != planned.get(name)
    )
    if wrong:
        first = wrong[0]
        return CheckResult(
            name="tensor types",
            passed=False,
            detail=f"{len(wrong)} tensors are not as planned, such as {first}: "
            f"{actual.get(first, 'absent')} instead of {planned.get(first, 'nothing')}",
        )
    detail = ", ".join(
        f"{count} x {kind}" for kind, count in Counter(actual.values()).most_common()
    )
    if fallbacks:
        named = ", ".join(sorted(fallbacks)[:3])
        detail += f"; {len(fallbacks)} fell back for their column count ({named}"
        detail += ", …)" if len(fallbacks) > 3 else ")"
    return CheckResult(name="tensor types", passed=True, detail=detail)


def check_finite(artifact: Path, progress: Progress = ignore_progress) -> CheckResult:
    """Whether every weight of a GGUF file is a finite number, block scales included.

    Streams: a few MB are in memory at a time.
    """
    header = read_gguf_header(artifact)
    total = sum(row.size_bytes for row in header.tensors)
    done, bad, unread = 0, [], []
    for row in header.tensors:
        try:
            if not all(np.isfinite(values).all() for values in float32_pieces(header, row)):
                bad.append(row.name)
        except ExportRefused:
            unread.append(f"{row.name} ({row.type.name})")
        done += row.size_bytes
        progress(done, total)
    if bad or unread:
        named = f"{bad[0]} holds NaN or infinity" if bad else f"{unread[0]} cannot be read here"
        detail = f"{len(bad) + len(unread)} of {len(header.tensors)} tensors: {named}"
        return CheckResult(name="finite weights", passed=False, detail=detail)
    detail = f"all {len(header.tensors)} tensors"
    return CheckResult(name="finite weights", passed=True, detail=detail)
