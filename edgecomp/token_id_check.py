"""Whether an artifact reads texts as the very tokens its source reads them as.

The corpus is tokenizer_corpus.py's, with the model's own special tokens and chat. What differs for
a reason that lies in the runtime, not in the file, is allowed, and told.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from edgecomp.artifact_checks import CONTROL, USER_DEFINED, CheckResult
from edgecomp.chat_template import read_chat_template
from edgecomp.errors import ChatTemplateBroken
from edgecomp.gguf.header import read_gguf_header
from edgecomp.model import ModelSpec, read_model
from edgecomp.runtimes.protocol import Runtime
from edgecomp.tokenizer_corpus import corpus, model_texts

MARKS_LEFT_OUT = ("tekken", "gpt-4o")
"""The pre-tokenizers whose expressions in llama.cpp leave combining marks out of words
(`src/llama-vocab.cpp`: its regular expressions know no \\p{M}), as those of Mistral-Nemo and
Phi-4-mini."""

MOST_SPECIAL_TOKENS = 64
"""Families reserve up to thousands of special tokens; the first ones stand for them."""

CHAT = (
    {"role": "user", "content": "Wie heißt die Hauptstadt von 日本? 🗾"},
    {"role": "assistant", "content": "  Tokyo (東京).\n"},
    {"role": "user", "content": "Thanks!"},
)
Difference = tuple[str, list[int], list[int]]
"""A text, its ids in the source, its ids in the artifact."""


class SourceTokenizer(NamedTuple):
    """The tokenizer of a checkpoint."""

    encode: Callable[[str, bool], list[int]]
    """Token ids of a text; True: with what the tokenizer adds to every text."""

    decode: Callable[[list[int]], str]
    composes: bool
    """Whether it puts texts into Unicode normal form C first."""


def check_token_ids(model: ModelSpec, artifact: Path, runtime: Runtime) -> CheckResult:
    """Whether the artifact's tokenizer gives the source's ids for every text of the corpus.

    Each text is compared with its special tokens read as such, without and with BOS and EOS. The
    source's ids come from transformers for a checkpoint, from `runtime` for a GGUF file. Three
    differences that lie in the runtime and not in the file are allowed, and told in `detail`:
    texts are compared in Unicode normal form C where only the source makes it; a text without
    any special token of the source may be equal only when it is read as plain text (llama.cpp
    takes some strings, such as "</s>", for special whatever the file says); and under the
    pre-tokenizers MARKS_LEFT_OUT a text with combining marks may be cut elsewhere, as long as both
    cuts spell the same text.
    """
    special = _special_tokens(model)
    source = _source_tokenizer(model.path) if model.source == "huggingface" else None
    own = model_texts(special[:MOST_SPECIAL_TOKENS], _rendered_chat(model))
    texts = list(dict.fromkeys([*corpus(), *own]))
    notes = []
    if source and source.composes:
        composed = [unicodedata.normalize("NFC", text) for text in texts]
        changed = sum(one != other for one, other in zip(texts, composed, strict=True))
        notes.append(f"{changed} texts only in Unicode normal form C")
        texts = list(dict.fromkeys(composed))
    different: list[Difference] = []
    plain: set[str] = set()
    for added in (False, True):
        wanted = (
            [source.encode(text, added) for text in texts]
            if source
            else _ids(runtime, model.path, texts, added)
        )
        rows = zip(texts, wanted, _ids(runtime, artifact, texts, added), strict=True)
        unequal = [row for row in rows if row[1] != row[2]]
        equal = _equal_as_plain_text(unequal, special, artifact, runtime, added)
        different += [row for row in unequal if row[0] not in equal]
        plain |= equal
    if plain:
        example = min(plain, key=len)[:40]
        notes.append(f"{len(plain)} texts only when read as plain text, such as {example!r}")
    cut: list[Difference] = []
    if source and _leaves_marks_out(artifact):
        cut = [row for row in different if _cut_at_marks(row, source)]
        different = [row for row in different if row not in cut]
    note = f" ({'; '.join(notes)})" if notes else ""
    return _result(different, cut, len(texts), artifact, note)


def _equal_as_plain_text(
    unequal: Sequence[Difference],
    special: Sequence[str],
    artifact: Path,
    runtime: Runtime,
    added: bool,
) -> set[str]:
    """The texts without any special token of the source whose ids are then the source's."""
    doubtful = [row for row in unequal if not any(token in row[0] for token in special)]
    again = _ids(runtime, artifact, [row[0] for row in doubtful], added, parse_special=False)
    return {row[0] for row, ids in zip(doubtful, again, strict=True) if row[1] == ids}


def _result(
    different: Sequence[Difference],
    cut: Sequence[Difference],
    texts: int,
    artifact: Path,
    note: str,
) -> CheckResult:
    """`cut`: the differences that are the runtime's, of so many texts."""
    if different:
        text, source_ids, ids = min(different, key=lambda row: len(row[0]))
        return CheckResult(
            name="token ids",
            passed=False,
            detail=f"{len(_texts(different))} of {texts} texts differ, such as {text[:80]!r}: "
            f"{source_ids[:20]} in the source, {ids[:20]} in {artifact.name}{note}",
        )
    equal_texts = f"{texts - len(_texts(cut))} of" if cut else "all"
    return CheckResult(
        name="token ids",
        passed=True,
        detail=f"equal on {equal_texts} {texts} texts{note}",
        warning=_told_of_marks(cut, texts) if cut else None,
    )


def _texts(rows: Sequence[Difference]) -> set[str]:
    return {row[0] for row in rows}


def _leaves_marks_out(artifact: Path) -> bool:
    if not artifact.is_file():
        return False
    return read_gguf_header(artifact).get("tokenizer.ggml.pre") in MARKS_LEFT_OUT


def _cut_at_marks(row: Difference, source: SourceTokenizer) -> bool:
    """Whether a text has combining marks and both lists of ids spell the same."""
    text, source_ids, ids = row
    marked = any(unicodedata.category(letter).startswith("M") for letter in text)
    return marked and source.decode(source_ids) == source.decode(ids)


def _told_of_marks(cut: Sequence[Difference], texts: int) -> str:
    source, artifact = (sum(len(row[side]) for row in cut) for side in (1, 2))
    return (
        f"llama.cpp cuts {len(_texts(cut))} of {texts} texts, all with combining marks (Thai, "
        f"Burmese, decomposed accents), into other tokens than the source: {artifact:,} instead of "
        f"{source:,}. So does any GGUF file of this model: evaluate such languages before you rely "
        "on them."
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


def _source_tokenizer(folder: Path) -> SourceTokenizer:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(text: str, added: bool) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=added))

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    composes = normalizer is not None and normalizer.normalize_str("e\u0301") == "\u00e9"
    return SourceTokenizer(encode, decode, composes)


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
