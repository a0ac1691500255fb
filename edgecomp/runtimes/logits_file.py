"""llama.cpp's file of a model's predictions over a text, as its perplexity tool writes it with
`--kl-divergence-base` (tools/perplexity/perplexity.cpp): figures made from it are everyone's.

    "_logits_", int32 context, int32 vocabulary, int32 chunks, int32 tokens [chunks][context],
    then of each token of each chunk's second half, but the last: float32 step, float32 lowest
    log-probability, uint16 codes [vocabulary], one of fill where the vocabulary is odd.

A log-probability is lowest + step x code; all that lies over 16 nats under the likeliest token is
the lowest one. At the beginning of each chunk stands the token that the text has there; a model
whose tokenizer adds BOS reads BOS in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.atomic import replacing
from edgecomp.common.errors import FileCorrupt, FileTruncated
from edgecomp.runtimes.divergence import Expected, Logits, Step

MAGIC = b"_logits_"
REACH_NATS = 16.0
HIGHEST_CODE = 65535
HEADER_BYTES = len(MAGIC) + 3 * 4
ROW_HEADER_CODES = 4
"""The two floats before a row's codes, in units of a code."""


class LogitsFile(NamedTuple):
    """What a file holds, its rows as they lie on disk."""

    path: Path
    context: int
    vocabulary: int
    tokens: NDArray[np.int32]
    """[chunks, context]"""

    rows: NDArray[np.uint16]
    """[chunks, scored tokens, codes of a row with its header]"""

    def windows(self, bos: int | None) -> list[list[int]]:
        """The chunks as a model reads them, whose tokenizer adds `bos`."""
        read = self.tokens.copy()
        if bos is not None:
            read[:, 0] = bos
        return [list(map(int, row)) for row in read]

    def expected(self, at: int, step: Step) -> Expected:
        """What the base says of the tokens of a step that begins at the chunk's scored token `at`,
        beside the artifact's."""
        stored = self.rows[step.window, at : at + len(step.following)]
        base = _log_probabilities(stored, self.vocabulary)
        # As upstream: what lies under the reach adds nothing.
        near = base > -REACH_NATS
        with np.errstate(invalid="ignore"):
            terms = np.where(near, np.exp(base) * (base - step.rows), 0.0)
        chosen = np.asarray(step.following)
        return Expected(
            terms.sum(axis=-1, dtype=np.float64),
            base.argmax(axis=-1),
            base[np.arange(len(chosen)), chosen],
        )


def is_logits_file(path: Path) -> bool:
    """Whether a file begins as one."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_logits_file(path: Path) -> LogitsFile:
    """Open a file; its rows are read as they are needed. Raises FileCorrupt or FileTruncated."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if len(start) < HEADER_BYTES or not start.startswith(MAGIC):
        raise FileCorrupt(path, "it is no file of logits.", "Write it again.")
    context, vocabulary, chunks = map(int, np.frombuffer(start[len(MAGIC) :], np.int32))
    if context < 4 or vocabulary < 1 or chunks < 1:
        raise FileCorrupt(
            path,
            f"it tells of {chunks} chunks of {context} tokens, {vocabulary} in the vocabulary.",
        )
    scored, codes = context - 1 - context // 2, row_codes(vocabulary)
    rows_at = HEADER_BYTES + 4 * chunks * context
    expected = rows_at + 2 * chunks * scored * codes
    if size < expected:
        raise FileTruncated(path, expected, size)
    if size > expected:
        raise FileCorrupt(path, f"{size - expected:,} bytes follow its last row.")
    tokens = np.memmap(path, np.int32, "r", HEADER_BYTES, (chunks, context))
    rows = np.memmap(path, np.uint16, "r", rows_at, (chunks, scored, codes))
    return LogitsFile(path, context, vocabulary, np.asarray(tokens), rows)


def write_logits_file(
    path: Path, tokens: NDArray[np.int32], vocabulary: int, steps: Iterable[Step]
) -> None:
    """Write what a model predicts over `tokens` [chunks, context], whole or not at all; `steps` in
    the order of the text. Raises DiskFull or NotWritable."""
    chunks, context = tokens.shape
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC)
        file.write(np.asarray([context, vocabulary, chunks], np.int32).tobytes())
        file.write(np.ascontiguousarray(tokens, np.int32).tobytes())
        for step in steps:
            file.write(_coded(step.rows).tobytes())


def placed(steps: Iterable[Step]) -> Iterator[tuple[int, Step]]:
    """Each step with the place in its chunk's scored tokens at which it begins."""
    window, at = -1, 0
    for step in steps:
        at = 0 if step.window != window else at
        window = step.window
        yield at, step
        at += len(step.following)


def row_codes(vocabulary: int) -> int:
    """Codes of a row, its header and its fill among them."""
    return 2 * ((vocabulary + 1) // 2) + ROW_HEADER_CODES


def _coded(rows: Logits) -> NDArray[np.uint16]:
    """Log-probabilities [tokens, vocabulary] as rows of a file."""
    most = rows.max(axis=-1, keepdims=True)
    least = np.maximum(rows.min(axis=-1, keepdims=True), most - np.float32(REACH_NATS))
    step = ((most - least) / np.float32(HIGHEST_CODE)).astype(np.float32)
    inverse = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step > 0)
    coded = np.zeros((len(rows), row_codes(rows.shape[-1])), np.uint16)
    coded[:, :ROW_HEADER_CODES] = (
        np.concatenate([step, least], axis=-1).astype(np.float32).view(np.uint16)
    )
    codes = np.rint(np.maximum(rows - least, 0) * inverse)
    coded[:, ROW_HEADER_CODES : ROW_HEADER_CODES + rows.shape[-1]] = codes
    return coded


def _log_probabilities(stored: NDArray[np.uint16], vocabulary: int) -> Logits:
    """What rows of a file stand for, [tokens, vocabulary]."""
    header = np.ascontiguousarray(stored[:, :ROW_HEADER_CODES]).view(np.float32)
    codes = stored[:, ROW_HEADER_CODES : ROW_HEADER_CODES + vocabulary]
    found: Logits = header[:, 1:] + header[:, :1] * codes.astype(np.float32)
    return found
