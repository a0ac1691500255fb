"""The importance matrix as a file: llama.cpp's imatrix GGUF, which llama-quantize reads.

For each matrix `<name>`: `<name>.in_sum2`, float32 [experts, columns], the sum over the calibration
tokens of each input column squared; and `<name>.counts`, float32 [experts, 1], how many tokens were
summed. Layout: llama.cpp `tools/imatrix/imatrix.cpp`, `IMatrixCollector::save_imatrix`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
from numpy.typing import NDArray

from edgecomp.common.atomic import replacing
from edgecomp.common.errors import FileCorrupt
from edgecomp.models.gguf.header import read_gguf_header

SUMS, COUNTS = ".in_sum2", ".counts"

Weights = dict[str, NDArray[np.float32]]


class ColumnSums(NamedTuple):
    """Input columns of one tensor, squared and summed [experts, columns] over the tokens that each
    expert saw [experts]. A plain matrix counts as one expert that saw all."""

    squares: NDArray[np.float64]
    tokens: NDArray[np.int64]


def write_importance(
    path: Path,
    sums: Mapping[str, ColumnSums],
    *,
    chunks: int,
    chunk_tokens: int,
    datasets: Sequence[str],
) -> None:
    """Write the sums of squares of each tensor's input columns, by GGUF names.

    `chunks` samples of `chunk_tokens` tokens were read from `datasets`.
    Raises DiskFull, NotWritable.
    """
    with replacing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, arch="")
        # The writer insists on an architecture; an imatrix file has none.
        writer.kv_data[0].pop("general.architecture", None)
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", list(datasets))
        writer.add_uint32("imatrix.chunk_count", chunks)
        writer.add_uint32("imatrix.chunk_size", chunk_tokens)
        for name, (squares, tokens) in sorted(sums.items()):
            writer.add_tensor(name + SUMS, squares.astype(np.float32))
            writer.add_tensor(name + COUNTS, tokens.astype(np.float32)[:, None])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_importance(path: Path) -> Weights:
    """The mean of each input column squared, by GGUF tensor name: what the quantizer is given.

    float32 [columns], or [experts x columns] flat where a tensor holds several experts; an expert
    that saw no token weighs all columns 1, as in llama.cpp. Raises ModelNotFound, FileCorrupt.
    """
    weights: Weights = {}
    for name, (squares, tokens) in read_sums(path).items():
        counts = tokens[:, None]
        mean = np.where(counts > 0, squares / np.maximum(counts, 1), 1)
        weights[name] = np.ascontiguousarray(mean, np.float32).reshape(-1)
    return weights


def read_sums(path: Path) -> dict[str, ColumnSums]:
    """What `write_importance` wrote, by GGUF tensor name. Raises ModelNotFound, FileCorrupt."""
    header = read_gguf_header(path)
    if header.get("general.type") != "imatrix":
        raise FileCorrupt(path, "it is a GGUF file, but no importance matrix.")
    arrays = {
        row.name: np.fromfile(
            path, np.float32, row.size_bytes // 4, offset=header.data_start + row.offset
        ).reshape(row.shape)
        for row in header.tensors
        if row.type.name == "F32"
    }
    sums: dict[str, ColumnSums] = {}
    for name in (key.removesuffix(SUMS) for key in arrays if key.endswith(SUMS)):
        if name + COUNTS not in arrays:
            raise FileCorrupt(path, f"it lacks the counts of {name}.")
        squares, counts = np.atleast_2d(arrays[name + SUMS]), arrays[name + COUNTS].reshape(-1)
        if len(counts) != len(squares) or not np.isfinite(squares).all():
            raise FileCorrupt(path, f"the sums or counts of {name} are not what they should be.")
        sums[name] = ColumnSums(squares.astype(np.float64), counts.astype(np.int64))
    return sums
