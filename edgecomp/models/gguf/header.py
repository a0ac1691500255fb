"""Read a GGUF header: metadata and tensor table, never the weights.

The `gguf` package's reader builds a numpy view for every token of the vocabulary (seconds for a
49 k vocabulary), and trusts the counts it finds. Intake has to answer in well under a second and
to refuse damaged files, so the header alone is walked here. Layout: GGUF specification, version 3
(little-endian), https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edgecomp.common.errors import FileCorrupt, FileTruncated, ModelNotFound, shown
from edgecomp.models.tensor_types import TENSOR_TYPES_BY_ID, TensorType

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
STRING, ARRAY = 8, 9
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
LONGEST_NAME_BYTES = 65_535
MOST_ENTRIES = 1 << 22
"""Most entries of metadata, of all arrays and of the tensor table together. A vocabulary has some
hundred thousand tokens, with as many scores and kinds; a damaged count within a large file would
fill the memory and take minutes."""

MOST_TEXT_BYTES = 1 << 26
"""Most bytes of all texts of a header; a vocabulary of 262,144 tokens has a twentieth of it."""

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Field:
    """One metadata entry; `start` and `end` bound its bytes (key, type and value) in the file."""

    key: str
    value: Scalar | list[Scalar]
    start: int
    end: int


@dataclass(frozen=True)
class TensorEntry:
    """One row of the tensor table. `shape` is rows first, as numpy writes it."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    size_bytes: int


NO_TEXT = ("Cc", "Cs")
"""Unicode's categories of control characters and of bytes that are no UTF-8."""


@dataclass(frozen=True)
class GgufHeader:
    """A GGUF file's metadata and tensor table, checked against the file's real size."""

    path: Path
    version: int
    fields: dict[str, Field]
    tensors: tuple[TensorEntry, ...]
    data_start: int
    alignment: int
    file_bytes: int

    def get(self, key: str, default: object = None) -> object:
        """The value of metadata entry `key`."""
        field = self.fields.get(key)
        return default if field is None else field.value


class _Cursor:
    """Reads little-endian values from a mapped file, and notices its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.at = 0
        self.entries = 0
        self.text_bytes = 0

    def expect(self, entries: int) -> None:
        """Count what is about to be read. Raises FileCorrupt where no model has as much."""
        self.entries += entries
        if self.entries > MOST_ENTRIES:
            raise FileCorrupt(self.path, f"its header claims {entries:,} entries in one table.")

    def take(self, code: str) -> Scalar:
        size = struct.calcsize("<" + code)
        self.require(size)
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += size
        return value  # type: ignore[no-any-return]

    def too_much_text(self, size: int) -> FileCorrupt:
        return FileCorrupt(self.path, f"its header claims a text of {size:,} bytes.")

    def count(self, code: str) -> int:
        return int(self.take(code))

    def require(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise FileTruncated(self.path, self.at + size, len(self.data))

    def text(self) -> str:
        length = self.count("Q")
        self.require(length)
        self.text_bytes += length
        if self.text_bytes > MOST_TEXT_BYTES:
            raise self.too_much_text(length)
        raw = self.data[self.at : self.at + length]
        self.at += length
        # Vocabularies hold tokens that are not whole characters; they must survive reading.
        return raw.decode("utf-8", errors="surrogateescape")

    def texts(self, length: int) -> list[Scalar]:
        """A vocabulary's worth of texts: the one long loop of a header, so kept tight."""
        data, at, end = self.data, self.at, len(self.data)
        unpack = struct.Struct("<Q").unpack_from
        left = MOST_TEXT_BYTES - self.text_bytes
        values: list[Scalar] = []
        for _ in range(length):
            if at + 8 > end:
                raise FileTruncated(self.path, at + 8, end)
            (size,) = unpack(data, at)
            at += 8 + size
            left -= size
            if at > end:
                raise FileTruncated(self.path, at, end)
            if left < 0:
                raise self.too_much_text(size)
            values.append(data[at - size : at].decode("utf-8", errors="surrogateescape"))
        self.at, self.text_bytes = at, MOST_TEXT_BYTES - left
        return values

    def value(self, kind: int) -> Scalar | list[Scalar]:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self.array()
        if kind not in SCALARS:
            raise FileCorrupt(self.path, f"metadata type {kind} at byte {self.at} does not exist.")
        return self.take(SCALARS[kind])

    def array(self) -> list[Scalar]:
        kind = self.count("I")
        length = self.count("Q")
        self.expect(length)
        if kind == STRING:
            self.require(8 * length)
            return self.texts(length)
        if kind not in SCALARS:
            raise FileCorrupt(self.path, f"array type {kind} at byte {self.at} does not exist.")
        self.require(length * struct.calcsize("<" + SCALARS[kind]))
        layout = f"<{length}{SCALARS[kind]}"
        values = list(struct.unpack_from(layout, self.data, self.at))
        self.at += struct.calcsize(layout)
        return values


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises ModelNotFound, FileCorrupt (wrong magic, impossible counts or types, tensors that
    overlap) or FileTruncated (the header promises more bytes than the file has).
    """
    if not path.is_file():
        raise ModelNotFound(str(path), "Give the path of a GGUF file.")
    state = path.stat()
    if state.st_size == 0:
        raise FileCorrupt(path, "it is empty.")
    return _read(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, size: int, changed: int) -> GgufHeader:
    """One command asks for the same header several times; `size` and `changed` tell a new file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _parse(path, data)


def _parse(path: Path, data: mmap.mmap) -> GgufHeader:
    cursor = _Cursor(path, data)
    cursor.require(24)
    if data[:4] != MAGIC:
        raise FileCorrupt(path, f"it begins with {data[:4]!r}, a GGUF file with {MAGIC!r}.")
    cursor.at = 4
    version = cursor.count("I")
    if version not in (2, 3):
        raise FileCorrupt(path, f"GGUF version {version} is not 2 or 3 (little-endian).")
    tensor_count, field_count = cursor.count("Q"), cursor.count("Q")
    # The smallest entry of either table takes more than 12 bytes: larger counts are damage, and
    # refusing them here keeps a flipped bit from costing gigabytes.
    if 12 * (tensor_count + field_count) > len(data):
        raise FileTruncated(path, 12 * (tensor_count + field_count), len(data))
    cursor.expect(tensor_count + field_count)
    fields: dict[str, Field] = {}
    for _ in range(field_count):
        field = _field(cursor)
        if not field.key or field.key in fields:
            raise FileCorrupt(path, f"its metadata key {shown(field.key)} is empty or there twice.")
        fields[field.key] = field
    rows = [_tensor(cursor) for _ in range(tensor_count)]
    alignment_field = fields.get("general.alignment")
    alignment = DEFAULT_ALIGNMENT if alignment_field is None else alignment_field.value
    if not isinstance(alignment, int) or alignment < 8 or alignment % 8:
        raise FileCorrupt(path, f"the alignment {shown(alignment)} is not a multiple of 8.")
    data_start = -(-cursor.at // alignment) * alignment
    _check_extent(path, rows, data_start, alignment, len(data))
    return GgufHeader(path, version, fields, tuple(rows), data_start, alignment, len(data))


def _field(cursor: _Cursor) -> Field:
    start = cursor.at
    key = cursor.text()
    if len(key) > LONGEST_NAME_BYTES:
        raise FileCorrupt(cursor.path, f"a metadata key is {len(key):,} characters long.")
    value = cursor.value(cursor.count("I"))
    return Field(key, value, start, cursor.at)


def _tensor(cursor: _Cursor) -> TensorEntry:
    name = cursor.text()
    if any(unicodedata.category(letter) in NO_TEXT for letter in name):
        raise FileCorrupt(cursor.path, f"the tensor name {shown(name)} is no text.")
    dimensions = cursor.count("I")
    if not 1 <= dimensions <= 4:
        raise FileCorrupt(cursor.path, f"tensor {shown(name)} has {dimensions} dimensions.")
    shape = tuple(reversed([cursor.count("Q") for _ in range(dimensions)]))
    type_id = cursor.count("I")
    if type_id not in TENSOR_TYPES_BY_ID:
        raise FileCorrupt(cursor.path, f"tensor {shown(name)} has the unknown type {type_id}.")
    tensor_type = TENSOR_TYPES_BY_ID[type_id]
    if math.prod(shape) == 0 or shape[-1] % tensor_type.block_elements:
        raise FileCorrupt(
            cursor.path, f"tensor {shown(name)} of shape {shape} cannot be {tensor_type.name}."
        )
    size = tensor_type.size_bytes(math.prod(shape))
    return TensorEntry(name, shape, tensor_type, cursor.count("Q"), size)


def _check_extent(
    path: Path, rows: list[TensorEntry], data_start: int, alignment: int, file_bytes: int
) -> None:
    end = 0
    for row in sorted(rows, key=lambda row: row.offset):
        if row.offset % alignment or row.offset < end:
            raise FileCorrupt(path, f"tensor {shown(row.name)} overlaps the one before it.")
        end = row.offset + row.size_bytes
    if len({row.name for row in rows}) != len(rows):
        raise FileCorrupt(path, "two tensors have the same name.")
    if data_start + end > file_bytes:
        raise FileTruncated(path, data_start + end, file_bytes)
