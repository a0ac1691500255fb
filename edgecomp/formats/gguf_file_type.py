"""The entry `general.file_type` of a GGUF file, which tools show as what the file is."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

from edgecomp.formats.presets import PRESETS
from edgecomp.models.gguf.header import read_gguf_header

FILE_TYPE = "general.file_type"


def set_file_type(path: Path) -> None:
    """Have a mixture's file say the type that most of its bytes have: llama.cpp's quantizer wrote
    the preset that the mixture began as. The file keeps its length. Raises OSError."""
    header = read_gguf_header(path)
    held: Counter[str] = Counter()
    for tensor in header.tensors:
        held[tensor.type.name] += tensor.size_bytes
    (most, _), *_ = held.most_common(1)
    number = next((row.ftype for row in PRESETS.values() if row.base == most), None)
    field = header.fields.get(FILE_TYPE)
    if number is None or field is None:
        return
    value = struct.pack("<I", number)
    with path.open("r+b") as file:
        file.seek(field.end - len(value))
        file.write(value)


def file_type(path: Path) -> str | None:
    """The preset that a GGUF file says it is; None where it says none that is known here. Raises
    FileCorrupt and FileTruncated."""
    number = read_gguf_header(path).get(FILE_TYPE)
    return next((row.name for row in PRESETS.values() if row.ftype == number), None)
