"""The folder a compressed checkpoint grows in: one shard a block, then the rest, then the index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import NotWritable
from edgecomp.compress.checkpoint import INDEX, copy_companions, copy_tensors, write_index
from edgecomp.compress.packed import clear_packed, write_packed_index
from edgecomp.models.huggingface.model import read_json
from edgecomp.models.safetensors_header import StoredTensor, read_safetensors_header

JOB = "compression.json"


class Destination(NamedTuple):
    """Where a walk writes the checkpoint that it makes."""

    folder: Path
    job: str = ""
    """The method and its settings: what another job left there is started anew, and what the same
    left is gone on with."""

    dtype: torch.dtype | None = None
    """The type of the written block weights; None: as stored at the source."""


def shard_name(number: int, layers: int) -> str:
    """File name of a shard: block i is number i + 1, everything outside the blocks is 0."""
    return f"model-{number + 1:05d}-of-{layers + 1:05d}.safetensors"


def fingerprint(
    stored: Mapping[str, StoredTensor], tokens: Tensor, job: str, dtype: torch.dtype | None
) -> str:
    """What makes two walks the same job: method, calibration and source."""
    files = {tensor.file for tensor in stored.values()}
    source = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    calibration = hashlib.sha256(tokens.contiguous().numpy().tobytes()).hexdigest()
    said = json.dumps([job, str(dtype), list(tokens.shape), calibration, source])
    return hashlib.sha256(said.encode()).hexdigest()


def begin(folder: Path, fingerprint: str) -> bool:
    """Take up the walk with this fingerprint, or clear away another one; True where it is done.

    Raises NotWritable where the folder holds a model that no walk wrote.
    """
    record = folder / JOB
    if record.is_file() and read_json(record).get("fingerprint") == fingerprint:
        return (folder / INDEX).is_file()
    stale = [file for file in (folder / INDEX, *folder.glob("*.safetensors")) if file.exists()]
    if stale and not record.is_file():
        raise NotWritable(folder, "it already holds a model")
    for file in stale:
        file.unlink()
    clear_packed(folder)
    write_text(record, json.dumps({"schema_version": 1, "fingerprint": fingerprint}) + "\n")
    return False


def require_empty(folder: Path) -> None:
    """Raises NotWritable where the folder already holds a model."""
    if any(folder.glob("*.safetensors")):
        raise NotWritable(folder, "it already holds a model")


def finish(
    source: Path, destination: Destination, stored: Mapping[str, StoredTensor], layers: int
) -> None:
    """Write what lies outside the blocks, unchanged, then the index that completes the folder."""
    folder = destination.folder
    names = [shard_name(number + 1, layers) for number in range(layers)]
    shards = {name: read_safetensors_header(folder / name) for name in names}
    inside = {name for tensors in shards.values() for name in tensors}
    rest = shard_name(0, layers)
    copy_tensors(folder / rest, [stored[name] for name in sorted(stored) if name not in inside])
    shards[rest] = read_safetensors_header(folder / rest)
    copy_companions(source, folder, destination.dtype)
    write_packed_index(source, folder)
    size = sum(tensor.size_bytes for tensors in shards.values() for tensor in tensors.values())
    write_index(folder, shards, size)
