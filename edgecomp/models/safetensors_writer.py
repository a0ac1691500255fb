"""Write a checkpoint's weights as safetensors shards, one tensor in memory at a time.

The `safetensors` package wants a whole shard in memory. Layout: 8 bytes of little-endian length,
that many bytes of JSON (padded to 8), the data (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgecomp.common.atomic import write_text
from edgecomp.common.events import Progress
from edgecomp.models.output_tensor import OutputTensor

LARGEST_SHARD_BYTES = 4_000_000_000
INDEX = "model.safetensors.index.json"


Shards = dict[str, list[OutputTensor]]
"""The weights of each file, by its name."""


def split_into_shards(weights: Sequence[OutputTensor]) -> Shards:
    """`weights` in files of at most LARGEST_SHARD_BYTES, named as transformers names them."""
    groups: list[list[OutputTensor]] = [[]]
    filled = 0
    for weight in weights:
        if groups[-1] and filled + weight.size_bytes > LARGEST_SHARD_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(weight)
        filled += weight.size_bytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    count = len(groups)
    return {
        f"model-{number:05d}-of-{count:05d}.safetensors": group
        for number, group in enumerate(groups, start=1)
    }


def shards_size_bytes(shards: Shards) -> int:
    """Bytes of all shards together."""
    return sum(
        len(_header(weights)) + sum(weight.size_bytes for weight in weights)
        for weights in shards.values()
    )


def write_shards(
    folder: Path,
    shards: Shards,
    pieces: Callable[[OutputTensor], Iterable[NDArray[Any]]],
    progress: Progress,
) -> None:
    """Write the shards, and their index where there are several. `progress` counts bytes."""
    total = sum(weight.size_bytes for weights in shards.values() for weight in weights)
    done = 0
    for name, weights in shards.items():
        with (folder / name).open("wb") as file:
            file.write(_header(weights))
            for weight in weights:
                written = 0
                for piece in pieces(weight):
                    written += file.write(piece.tobytes())
                    progress(done + written, total)
                if written != weight.size_bytes:
                    raise ValueError(f"{weight.name}: {written} of {weight.size_bytes} bytes given")
                done += written
    if len(shards) > 1:
        places = {weight.name: name for name, weights in shards.items() for weight in weights}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")


def _header(weights: Sequence[OutputTensor]) -> bytes:
    rows: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for weight in weights:
        rows[weight.name] = {
            "dtype": weight.type,
            "shape": weight.shape,
            "data_offsets": [end, end + weight.size_bytes],
        }
        end += weight.size_bytes
    text = json.dumps(rows, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
