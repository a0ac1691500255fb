"""The pieces of a SentencePiece model file, without the SentencePiece library.

The file is a protocol buffer (`sentencepiece_model.proto` of google/sentencepiece); three of its
messages' fields are wanted: ModelProto.pieces (1) with piece (1), score (2) and type (3). The
library itself would read a file that nobody vouches for with native code in this process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecomp.common.errors import FileCorrupt

VARINT, EIGHT_BYTES, LENGTH_PREFIXED, FOUR_BYTES = 0, 1, 2, 5
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Piece types; GGUF's token types have the same numbers."""


@dataclass(frozen=True)
class Piece:
    """One token: its text, its score (higher merges first) and its type."""

    text: str
    score: float
    type: int


def read_pieces(path: Path) -> list[Piece]:
    """The pieces of tokenizer.model, by token id. Raises FileCorrupt."""
    try:
        return [
            _piece(value)
            for number, value in _fields(path.read_bytes())
            if number == 1 and isinstance(value, bytes)
        ]
    except (IndexError, ValueError, struct.error) as error:
        raise FileCorrupt(path, "it is not a SentencePiece model.") from error


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(message):
        if number == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif number == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == LENGTH_PREFIXED:
            size, at = _varint(message, at)
        else:
            size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire, -1)
        if size < 0 or at + size > len(message):
            raise ValueError("a field runs past its message")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
