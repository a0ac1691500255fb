"""Whether an artifact reads texts as the very tokens its source reads them as.

The corpus is tokenizer_corpus.py's, with the model's own special tokens and chat. What differs for
a reason that lies in the runtime, not in the file, is allowed, and told.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgecomp.checks.artifact_checks import CONTROL, USER_DEFINED, CheckResult
from edgecomp.checks.tokenizer_corpus import corpus, model_texts
from edgecomp.common.errors import ChatTemplateBroken
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.runtimes.protocol import Runtime

if TYPE_CHECKING:
    from tokenizers import Tokenizer

METASPACE = "\u2581"
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


class Encode(Protocol):
    """Token ids of a text; `added`: with what the tokenizer adds to every text."""

    def __call__(self, text: str, *, added: bool) -> list[int]: ...


class SourceTokenizer(NamedTuple):
    """The tokenizer of a checkpoint."""

    encode: Encode
    decode: Callable[[list[int]], str]
    composes: bool
    """Whether it puts texts into Unicode normal form C first."""

    spaced: Callable[[str], str] | None = None
    """A text with the spaces that llama.cpp puts before it and this tokenizer does not; None where
    both put the same."""


def check_token_ids(model: ModelSpec, artifact: Path, runtime: Runtime) -> CheckResult:
    """Whether the artifact's tokenizer gives the source's ids for every text of the corpus.

    Each text is compared with its special tokens read as such, without and with BOS and EOS. The
    source's ids come from transformers for a checkpoint, from `runtime` for a GGUF file. Four
    differences that lie in the runtime and not in the file are allowed, and told in `detail`:
    texts are compared in Unicode normal form C where only the source makes it; a text without
    any special token of the source may be equal only when it is read as plain text (llama.cpp
    takes some strings, such as "</s>", for special whatever the file says); under the
    pre-tokenizers MARKS_LEFT_OUT a text with combining marks may be cut elsewhere, as long as both
    cuts spell the same text; and where the source puts a space before a text only as far as none
    is there, llama.cpp's ids may be those of the text with the further spaces.
    """
    special = _special_tokens(model)
    source = _source_tokenizer(model.path) if model.source == "huggingface" else None
    texts, notes = _comparable_texts(model, special, source)
    different: list[Difference] = []
    plain: set[str] = set()
    further: set[str] = set()
    for added in (False, True):
        wanted = (
            [source.encode(text, added=added) for text in texts]
            if source
            else _ids(runtime, model.path, texts, added=added)
        )
        rows = zip(texts, wanted, _ids(runtime, artifact, texts, added=added), strict=True)
        unequal = [row for row in rows if row[1] != row[2]]
        equal = _equal_as_plain_text(unequal, special, artifact, runtime, added=added)
        spaced = _only_spaced(unequal, source, added=added) if artifact.is_file() else set()
        different += [row for row in unequal if row[0] not in equal | spaced]
        plain |= equal
        further |= spaced - equal
    if plain:
        example = min(plain, key=len)[:40]
        notes.append(f"{len(plain)} texts only when read as plain text, such as {example!r}")
    cut: list[Difference] = []
    if source and _leaves_marks_out(artifact):
        cut = [row for row in different if _cut_at_marks(row, source)]
        different = [row for row in different if row not in cut]
    warnings = [_told_of_marks(cut, len(texts))] if cut else []
    if further:
        warnings.append(_told_of_spaces(further, len(texts)))
    note = f" ({'; '.join(notes)})" if notes else ""
    others = len(_texts(cut) | further)
    return _result(different, others, len(texts), artifact, note, " ".join(warnings))


def _comparable_texts(
    model: ModelSpec, special: Sequence[str], source: SourceTokenizer | None
) -> tuple[list[str], list[str]]:
    """The corpus and the model's own texts, as far as `source` can read them; and what was changed
    or left out for that."""
    own = model_texts(special[:MOST_SPECIAL_TOKENS], _rendered_chat(model))
    texts = list(dict.fromkeys([*corpus(), *own]))
    notes: list[str] = []
    if source and source.composes:
        composed = [unicodedata.normalize("NFC", text) for text in texts]
        changed = sum(one != other for one, other in zip(texts, composed, strict=True))
        notes.append(f"{changed} texts only in Unicode normal form C")
        texts = list(dict.fromkeys(composed))
    if source:
        # A token without a row in the embedding can neither be read nor be written.
        known = [
            text
            for text in texts
            if max(source.encode(text, added=False), default=0) < model.vocabulary
        ]
        if len(known) < len(texts):
            notes.append(f"without {len(texts) - len(known)} texts whose tokens have no embedding")
        texts = known
    return texts, notes


def _equal_as_plain_text(
    unequal: Sequence[Difference],
    special: Sequence[str],
    artifact: Path,
    runtime: Runtime,
    *,
    added: bool,
) -> set[str]:
    """The texts without any special token of the source whose ids are then the source's."""
    doubtful = [row for row in unequal if not any(token in row[0] for token in special)]
    again = _ids(runtime, artifact, [row[0] for row in doubtful], added=added, parse_special=False)
    return {row[0] for row, ids in zip(doubtful, again, strict=True) if row[1] == ids}


def _only_spaced(
    unequal: Sequence[Difference], source: SourceTokenizer | None, *, added: bool
) -> set[str]:
    """The texts that the artifact reads as the source reads them with llama.cpp's spaces."""
    if source is None or source.spaced is None:
        return set()
    spaced = source.spaced
    return {text for text, _, ids in unequal if source.encode(spaced(text), added=added) == ids}


def _result(
    different: Sequence[Difference],
    others: int,
    texts: int,
    artifact: Path,
    note: str,
    warning: str,
) -> CheckResult:
    """`others`: how many of so many texts differ for a reason that is the runtime's."""
    if different:
        text, source_ids, ids = min(different, key=lambda row: len(row[0]))
        return CheckResult(
            name="token ids",
            passed=False,
            detail=f"{len(_texts(different))} of {texts} texts differ, such as {text[:80]!r}: "
            f"{source_ids[:20]} in the source, {ids[:20]} in {artifact.name}{note}",
        )
    equal_texts = f"{texts - others} of" if others else "all"
    return CheckResult(
        name="token ids",
        passed=True,
        detail=f"equal on {equal_texts} {texts} texts{note}",
        warning=warning or None,
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


def _told_of_spaces(further: set[str], texts: int) -> str:
    return (
        f"llama.cpp reads {len(further)} of {texts} texts, those that begin with a space or stand "
        "after a special token, with one space more than the source, as any GGUF file of this "
        "model has it: rely on what is measured with the artifact itself."
    )


def same_token_ids(runtime: Runtime, base: Path, artifact: Path) -> CheckResult:
    """Whether two artifacts of one runtime read texts as the same ids, a GGUF base's special tokens
    included."""
    if base.is_file():
        return check_token_ids(read_model(base), artifact, runtime)
    texts = list(corpus())
    for added in (False, True):
        rows = zip(
            *(_ids(runtime, path, texts, added=added) for path in (base, artifact)), strict=True
        )
        for text, (before, after) in zip(texts, rows, strict=True):
            if before != after:
                detail = f"{text[:80]!r}: {before[:20]} in the base, {after[:20]} in the artifact"
                return CheckResult(name="token ids", passed=False, detail=detail)
    return CheckResult(name="token ids", passed=True, detail=f"equal on all {len(texts)} texts")


def _ids(
    runtime: Runtime,
    artifact: Path,
    texts: Sequence[str],
    *,
    added: bool,
    parse_special: bool = True,
) -> list[list[int]]:
    if not texts:
        return []
    return runtime.tokenize(artifact, texts, add_special=added, parse_special=parse_special)


def _source_tokenizer(folder: Path) -> SourceTokenizer:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(text: str, *, added: bool) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=added))

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    backend = getattr(tokenizer, "backend_tokenizer", None)
    normalizer = getattr(backend, "normalizer", None)
    composes = normalizer is not None and normalizer.normalize_str("e\u0301") == "\u00e9"
    return SourceTokenizer(encode, decode, composes, _spaces(backend) if backend else None)


def _spaces(tokenizer: Tokenizer) -> Callable[[str], str] | None:
    """What a tokenizer with a Metaspace step is given for llama.cpp's ids.

    llama.cpp's `llama` tokenizer puts a space before the text and before what follows a special
    token (`src/llama-vocab.cpp`); Metaspace puts none where one is there, and with the scheme
    "first" only one, before the text.
    """
    step = json.loads(tokenizer.to_str()).get("pre_tokenizer") or {}
    scheme = step.get("prepend_scheme")
    if step.get("type") != "Metaspace" or scheme not in ("first", "always"):
        return None
    contents = [row.content for row in tokenizer.get_added_tokens_decoder().values()]
    special = "|".join(re.escape(text) for text in sorted(contents, key=len, reverse=True))

    def spaced(text: str) -> str:
        parts = re.split(f"({special})", text) if special else [text]
        for place in range(0, len(parts), 2):
            alone = scheme == "always" or place == 0
            if parts[place] and (not alone or parts[place].startswith((" ", METASPACE))):
                parts[place] = f" {parts[place]}"
        return "".join(parts)

    return spaced


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
