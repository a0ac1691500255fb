"""Whether a GGUF file holds its embedding a second time, as the head: told by content.

Converters write both tensors of a tied model where its checkpoint does, and quantizers round each
to a type of its own. Two roundings of one matrix differ by their rounding errors alone; matrices
that were trained apart differ by far more, even where one began as a copy of the other. Some rows
of both are dequantized and compared, so a file of any size takes milliseconds.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecomp.models.gguf.header import GgufHeader, TensorEntry
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.models.tensor_types import TENSOR_TYPES, TensorType

ROWS, COLUMNS = 64, 1024
"""How much of each matrix is compared: rows spread evenly, the last one too, and their first
columns; whole blocks of every type."""

FEWEST_ROWS, LEAST_SHARE = 8, 1e-6
"""Rows that must tell something: more than this share of the largest row's square. Zeros are equal
in any two matrices, and types whose scales are halves round tiny rows away."""

TIMES_EXPECTED, TIMES_EXPECTED_IN_ROW = 3.0, 10.0
"""All rows together, and any one of them, may differ by so many times the two types' relative
errors, which are Gaussian weights': large values among small ones cost more. Of Qwen2.5-Coder's
embedding all rows differ by 1.1 times, and the worst by 1.6."""

LEAST_LIMIT, LARGEST_LIMIT = 1e-5, 0.1
"""Floats round too (BF16 by 1e-6). Above the largest limit, types of one or two bits cannot tell
one matrix from two that resemble each other: they are taken for two."""


class SecondCopy(NamedTuple):
    """The copy that is kept, whichever of the two names it has in the file, and the other."""

    kept: TensorEntry
    left_out: TensorEntry


def second_copy(header: GgufHeader) -> SecondCopy | None:
    """The two copies where the head is the embedding over again, else None.

    The copy of more bits is kept; of as many, the one whose type rounds less; else the embedding.
    """
    rows = {row.name: row for row in header.tensors if row.name in (EMBEDDING, OUTPUT)}
    if len(rows) < 2 or rows[EMBEDDING].shape != rows[OUTPUT].shape:
        return None
    if len(rows[OUTPUT].shape) != 2:
        return None
    embedding, head = rows[EMBEDDING], rows[OUTPUT]
    changed = header.path.stat().st_mtime_ns
    places = [
        _Place(header.path, header.data_start + row.offset, row.shape, row.type.name)
        for row in (embedding, head)
    ]
    if not _same_matrix(places[0], places[1], changed):
        return None
    if _quality(head.type) > _quality(embedding.type):
        return SecondCopy(head, embedding)
    return SecondCopy(embedding, head)


def _quality(kind: TensorType) -> tuple[float, float]:
    return kind.bits_per_weight, -kind.relative_error


class _Place(NamedTuple):
    """A matrix in a file: its first byte, its shape and the name of its type."""

    path: Path
    start: int
    shape: tuple[int, ...]
    type: str


@lru_cache(maxsize=8)
def _same_matrix(one: _Place, other: _Place, changed: int) -> bool:
    """One command reads the same file several times; `changed` tells a new one."""
    kinds = TENSOR_TYPES[one.type], TENSOR_TYPES[other.type]
    try:
        first, second = _some_rows(one), _some_rows(other)
    except NotImplementedError:  # The package knows the type and cannot dequantize it.
        return False
    return are_roundings_of_one(first, second, sum(kind.relative_error for kind in kinds))


def are_roundings_of_one(
    one: NDArray[np.float32], other: NDArray[np.float32], relative_error: float
) -> bool:
    """Whether float32 rows [n, columns] are the same rows, rounded twice.

    `relative_error`: the sum of both types' own (models/tensor_types.py). The difference is
    |a - b|^2 / ((|a|^2 + |b|^2) / 2): about `relative_error` for two roundings, 2 for independent
    rows, 2 (1 - c) and more for rows whose cosine is c.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(all="ignore"):  # Damaged scales: NaN and infinity are no match.
        sizes = (np.square(a).sum(axis=1) + np.square(b).sum(axis=1)) / 2
        told = ~(sizes <= LEAST_SHARE * sizes.max())
        differences, sizes = np.square(a - b).sum(axis=1)[told], sizes[told]
        together = differences.sum() / sizes.sum() <= _limit(TIMES_EXPECTED * relative_error)
        each = differences / sizes <= _limit(TIMES_EXPECTED_IN_ROW * relative_error)
    enough = len(sizes) >= min(FEWEST_ROWS, len(one))
    return bool(enough and together and each.all())


def _limit(expected: float) -> float:
    return min(max(expected, LEAST_LIMIT), LARGEST_LIMIT)


def _some_rows(place: _Place) -> NDArray[np.float32]:
    import gguf  # Slow to import, and few files hold both matrices.

    kind = TENSOR_TYPES[place.type]
    rows, columns = place.shape
    row_bytes, used_bytes = kind.size_bytes(columns), kind.size_bytes(min(columns, COLUMNS))
    ggml_type, raw = gguf.GGMLQuantizationType(kind.ggml_id), []
    with place.path.open("rb", buffering=0) as file:
        for number in sorted({step * (rows - 1) // (ROWS - 1) for step in range(ROWS)}):
            file.seek(place.start + number * row_bytes)
            raw.append(np.frombuffer(file.read(used_bytes), np.uint8))
    with np.errstate(all="ignore"):
        values: NDArray[np.float32] = gguf.dequantize(np.stack(raw), ggml_type)
    return values
