"""How the matrices of a checkpoint lie in the GGUF file that was made of it, found by content.

A converter may permute rows (llama's Q and K), cut a matrix or join several (QKV, gate and up,
experts), and rename all of them. Rows of the float file are matched with rows of the checkpoint by
their very values, so nothing of this has to be known of a family. Experts that are stored in one
tensor [experts, ...] are matched as they stand and with their axes exchanged: a row is what one
output is computed with, either way. Codes go by rows: what is matched exactly can take the codes of
a method, the rest is left to llama.cpp's quantizer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.float_conversion import NUMPY_TYPES, convert, raw_pieces, stored_array
from edgecomp.models.gguf.header import GgufHeader, TensorEntry, read_gguf_header
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.safetensors_header import StoredTensor

NameOf = Callable[[str], str | None]
Hashes = NDArray[np.uint64]
"""One number a row."""


class RowsOfWeight(FrozenModel):
    """Rows of a checkpoint's weight, in the order in which a GGUF tensor has them."""

    weight: str
    rows: tuple[int, ...] | None = None
    """None: all of them, in order. Those of fused experts are counted through all experts."""


class LearnedLayout(FrozenModel):
    """The GGUF matrices that consist of whole rows of the checkpoint's, by GGUF name. Of experts,
    one after the other."""

    schema_version: Literal[1] = 1
    tensors: dict[str, tuple[RowsOfWeight, ...]]

    def weights_in(self, name: str) -> tuple[str, ...]:
        """The checkpoint's weights that the GGUF tensor `name` has rows of."""
        return tuple(dict.fromkeys(part.weight for part in self.tensors.get(name, ())))

    def solved(self, weights: Collection[str], name_of: NameOf) -> tuple[str, ...]:
        """The GGUF tensors all of whose rows are of `weights`, given by what `name_of` calls them:
        gguf_names of the checkpoint."""
        return tuple(
            name
            for name in self.tensors
            if all(name_of(weight) in weights for weight in self.weights_in(name))
        )


class _Reading(NamedTuple):
    """A weight of the checkpoint, with the two axes of its matrices exchanged or not."""

    weight: str
    transposed: bool


class _Row(NamedTuple):
    """Where a row of the checkpoint lies."""

    reading: _Reading
    row: int


def learn_layout(checkpoint: Path, float_file: Path) -> LearnedLayout:
    """Match the matrices of `float_file`, a GGUF file with float weights that was made of the
    checkpoint, with the checkpoint's. Weights are read once, some rows at a time."""
    header = read_gguf_header(float_file)
    matrices = [t for t in header.tensors if len(t.shape) > 1 and t.type.name in NUMPY_TYPES]
    stored = {n: t for n, t in stored_tensors(checkpoint).items() if len(t.shape) > 1}
    found: dict[str, tuple[RowsOfWeight, ...]] = {}
    for kind, tensors in groupby(sorted(matrices, key=_kind), key=_kind):
        columns, float_type = kind
        rows = {
            reading: _hashes(_pieces(stored[reading.weight], reading, float_type), columns)
            for reading in _readings(stored, columns)
        }
        places = _places(rows)
        for tensor in tensors:
            parts = _parts(_hashes_of_file(header, tensor), rows, places)
            if parts:
                found[tensor.name] = parts
    return LearnedLayout(tensors=found)


def _kind(tensor: TensorEntry) -> tuple[int, str]:
    return tensor.shape[-1], tensor.type.name


def _readings(stored: Mapping[str, StoredTensor], columns: int) -> list[_Reading]:
    """The ways to read weights as rows of so many columns."""
    floats = {name: tensor for name, tensor in stored.items() if tensor.dtype in NUMPY_TYPES}
    plain = [_Reading(n, transposed=False) for n, t in floats.items() if t.shape[-1] == columns]
    return plain + [
        _Reading(name, transposed=True)
        for name, tensor in floats.items()
        if len(tensor.shape) == 3 and tensor.shape[1] == columns
    ]


def _pieces(tensor: StoredTensor, reading: _Reading, float_type: str) -> Iterator[NDArray[Any]]:
    """Some rows at a time, as `float_type`."""
    array = stored_array(tensor)
    # Matrix by matrix: exchanging the axes of all of them at once would copy the whole tensor.
    for part in array.swapaxes(1, 2) if reading.transposed else (array,):
        yield from convert(part, tensor.dtype, float_type, tensor.name)


def _hashes(pieces: Iterable[NDArray[Any]], columns: int) -> Hashes:
    """A number for each row of `columns` values, equal for equal rows: their bits weighed by fixed
    odd numbers, modulo 2^64."""
    factors = np.random.default_rng(0).integers(0, 2**63, columns, np.uint64) * 2 + 1
    sums = []
    for piece in pieces:
        bits = np.ascontiguousarray(piece).view(f"u{piece.dtype.itemsize}").reshape(-1, columns)
        sums.append((bits * factors).sum(axis=1, dtype=np.uint64))
    return np.concatenate(sums)


def _hashes_of_file(header: GgufHeader, tensor: TensorEntry) -> Hashes:
    kind, columns = NUMPY_TYPES[tensor.type.name], tensor.shape[-1]
    data = np.concatenate([piece.view(kind) for piece in raw_pieces(header, tensor)])
    step = max(1, (1 << 22) // columns) * columns
    return _hashes((data[at : at + step] for at in range(0, len(data), step)), columns)


def _places(rows: Mapping[_Reading, Hashes]) -> dict[int, _Row]:
    """Where each row lies. Of copies of a matrix the first counts; of single rows that are equal
    any may: they hold the same values."""
    places: dict[int, _Row] = {}
    seen: set[bytes] = set()
    for reading, hashes in rows.items():
        whole = hashes.tobytes()
        if whole not in seen:
            seen.add(whole)
            places |= {int(value): _Row(reading, at) for at, value in enumerate(hashes)}
    return places


def _parts(
    wanted: Hashes, rows: Mapping[_Reading, Hashes], places: Mapping[int, _Row]
) -> tuple[RowsOfWeight, ...]:
    """What the rows `wanted` consist of, or nothing where one of them is nowhere."""
    parts: list[RowsOfWeight] = []
    at = 0
    while at < len(wanted):
        place = places.get(int(wanted[at]))
        if place is None:
            return ()
        weight, own = place.reading.weight, rows[place.reading]
        if np.array_equal(wanted[at : at + len(own)], own):
            parts.append(RowsOfWeight(weight=weight))
            at += len(own)
            continue
        order = np.argsort(own)
        positions = np.searchsorted(own, wanted[at:], sorter=order)
        indices = order[np.minimum(positions, len(own) - 1)]
        same = own[indices] == wanted[at:]
        length = len(same) if same.all() else int(same.argmin())
        parts.append(RowsOfWeight(weight=weight, rows=tuple(map(int, indices[:length]))))
        at += length
    return tuple(parts)
