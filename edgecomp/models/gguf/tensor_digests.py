"""A hash of each tensor of a GGUF file, by which two files share what they share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from edgecomp.common.atomic import reading
from edgecomp.models.gguf.header import read_gguf_header

READ_BYTES = 1 << 22


class TensorDigest(NamedTuple):
    """What a tensor is: SHA-256 over its type, its shape and its bytes."""

    sha256: str
    size_bytes: int


def tensor_digests(path: Path) -> dict[str, TensorDigest]:
    """Every tensor of the file, by name. Raises FileUnreadable, and what reading a header does."""
    header = read_gguf_header(path)
    found = {}
    with reading(path), path.open("rb") as file:
        for row in sorted(header.tensors, key=lambda row: row.offset):
            digest = hashlib.sha256(f"{row.type.name} {row.shape} ".encode())
            file.seek(header.data_start + row.offset)
            left = row.size_bytes
            while left:
                block = file.read(min(left, READ_BYTES))
                digest.update(block)
                left -= len(block)
            found[row.name] = TensorDigest(digest.hexdigest(), row.size_bytes)
    return found


def header_digest(path: Path) -> TensorDigest:
    """The same of all that comes before the tensors."""
    size = read_gguf_header(path).data_start
    with reading(path), path.open("rb") as file:
        return TensorDigest(hashlib.sha256(file.read(size)).hexdigest(), size)
