"""Put a GGUF source's own blocks into a quantized file, where both have a tensor in one type."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgecomp.common.errors import ExportRefused
from edgecomp.models.float_conversion import raw_pieces
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.spec import ModelSpec


def insert_stored(file: Path, model: ModelSpec, names: Sequence[str]) -> None:
    """Overwrite the tensors `names` of the GGUF `file` in place with the bytes of the GGUF `model`.

    Raises ExportRefused where one has another type or shape there.
    """
    source, header = read_gguf_header(model.path), read_gguf_header(file)
    stored = {row.name: row for row in source.tensors}
    rows = {tensor.name: stored[tensor.source_name] for tensor in model.tensors}
    places = {row.name: row for row in header.tensors}
    with file.open("r+b") as opened:
        for name in names:
            row, place = rows[name], places[name]
            if (row.type, row.shape) != (place.type, place.shape):
                raise ExportRefused(
                    f"{name} in {file} is {place.type.name} {list(place.shape)}, in {model.path} "
                    f"{row.type.name} {list(row.shape)}. Quantize the file to its source's types "
                    "first."
                )
            opened.seek(header.data_start + place.offset)
            for piece in raw_pieces(source, row):
                opened.write(piece.tobytes())
        opened.flush()
        os.fsync(opened.fileno())
