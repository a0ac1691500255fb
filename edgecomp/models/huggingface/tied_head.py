"""Whether a checkpoint's embedding serves as its head: what is stored decides, not the config.

transformers 5 ties the two only where no head is stored or both are equal
(`modeling_utils.tie_weights`): training them apart and keeping the base model's config leaves
`tie_word_embeddings: true` beside a head of its own. Where the config promises a head and none is
stored, llama.cpp takes the embedding, and so do we; and where it promises one and the stored one is
the embedding over again, one of them is enough.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.common.quantity import format_size
from edgecomp.common.safe_text import one_line
from edgecomp.models.hub import holds_headers_alone
from edgecomp.models.safetensors_header import StoredTensor

PIECE_BYTES = 1 << 22
ROWS = 64
"""Rows compared where config.json says that the head is one of its own."""


class Head(NamedTuple):
    """Whether the embedding is the head, and what the user must know of it."""

    tied: bool
    note: str | None = None


def read_head(embedding: StoredTensor | None, head: StoredTensor | None, *, flag: bool) -> Head:
    """Decide from the config's `flag` and the stored matrices. Where it says that they differ,
    some rows are compared first, so that a head of its own costs kilobytes of reading."""
    if embedding is None or head is None:
        if flag or embedding is None:
            return Head(tied=flag)
        return Head(
            tied=True,
            note="config.json promises a head of its own (tie_word_embeddings false, or missing), "
            "and none is stored: the embedding is taken for it, as llama.cpp does.",
        )
    if holds_headers_alone(head.file):
        return Head(tied=flag)
    if not flag:
        return _untied_by_config(embedding, head)
    if _same_values(embedding, head):
        return Head(tied=True)
    return Head(
        tied=False,
        note=f"config.json says tie_word_embeddings true, and {one_line(head.name)} differs from "
        "the embedding: the stored head is kept, as transformers does. Set the entry to false.",
    )


def tied_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config that says that the embedding is the head, for programs that go by it alone."""
    tied = config | {"tie_word_embeddings": True}
    nested = config.get("text_config")
    return tied | {"text_config": tied_config(nested)} if isinstance(nested, dict) else tied


def _untied_by_config(embedding: StoredTensor, head: StoredTensor) -> Head:
    if not (_same_rows(embedding, head) and _same_values(embedding, head)):
        return Head(tied=False)
    return Head(
        tied=True,
        note=f"{one_line(head.name)} is the embedding stored a second time, whatever config.json "
        f"says: it is shipped once, which saves {format_size(head.size_bytes)}.",
    )


def _same_rows(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether some rows are equal, spread over the matrix and the last one too, and one of them
    holds more than zeros, which are equal in files that hold headers alone."""
    if (one.dtype, one.shape, one.size_bytes) != (other.dtype, other.shape, other.size_bytes):
        return False
    rows = one.shape[0] if len(one.shape) == 2 else 0
    if not rows:
        return False
    row_bytes, told = one.size_bytes // rows, False
    with one.file.open("rb") as first, other.file.open("rb") as second:
        for number in sorted({step * (rows - 1) // (ROWS - 1) for step in range(ROWS)}):
            first.seek(one.start + number * row_bytes)
            second.seek(other.start + number * row_bytes)
            row = first.read(row_bytes)
            if row != second.read(row_bytes):
                return False
            told = told or any(row)
    return told


def _same_values(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.dtype, one.shape, one.size_bytes) != (other.dtype, other.shape, other.size_bytes):
        return False
    return _same_bytes(
        (one.file, one.start, one.file.stat().st_mtime_ns),
        (other.file, other.start, other.file.stat().st_mtime_ns),
        one.size_bytes,
    )


_Place = tuple[Path, int, int]


@lru_cache(maxsize=16)
def _same_bytes(one: _Place, other: _Place, size_bytes: int) -> bool:
    """Compared piece by piece, so that differing matrices are told apart at once; kept, since one
    command reads the same model several times."""
    with one[0].open("rb") as first, other[0].open("rb") as second:
        first.seek(one[1])
        second.seek(other[1])
        for begin in range(0, size_bytes, PIECE_BYTES):
            count = min(PIECE_BYTES, size_bytes - begin)
            if first.read(count) != second.read(count):
                return False
    return True
