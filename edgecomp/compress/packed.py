"""Codes of a GGUF type that a method chose, beside the float checkpoint that holds their values.

Layout: `packed/00000.safetensors`, one file a block, tensors uint8 [rows, row bytes], or [experts,
rows, row bytes] for all experts of a layer, which are one tensor in GGUF; and `packed.json`,
written last, which says for each GGUF tensor name its type, the shape of its weights and where its
bytes are. Rows stand in the checkpoint's order: whoever writes the GGUF file permutes them as it
permutes the float rows (llama's Q and K). A row's bytes are exactly those of the GGUF file;
`gguf.dequantize` of them equals the float weights bit for bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import FileCorrupt, ModelIncomplete
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.compress.checkpoint import read_tensor, write_shard
from edgecomp.models.huggingface.model import expert_number, gguf_names, shared_name
from edgecomp.models.safetensors_header import read_safetensors_header
from edgecomp.models.tensor_types import TENSOR_TYPES

FOLDER, INDEX = "packed", "packed.json"


class PackedTensor(NamedTuple):
    """A matrix in a GGUF type: its name in models/tensor_types.py, and uint8 [rows, row bytes]."""

    type: str
    rows: Tensor


class PackedEntry(FrozenModel):
    """Where the bytes of one GGUF tensor are. `shape` is that of its weights: [rows, columns], or
    [experts, rows, columns]."""

    type: str
    shape: tuple[int, ...]
    file: str
    tensor: str


class PackedIndex(FrozenModel):
    """packed.json: GGUF tensor name -> entry."""

    schema_version: Literal[1] = 1
    tensors: dict[str, PackedEntry]


def write_packed(folder: Path, index: int, codes: Mapping[str, PackedTensor]) -> None:
    """Write the codes of block `index`, by their Hugging Face weight names; none: no file."""
    tensors: dict[str, Tensor] = {}
    experts: dict[str, dict[int, Tensor]] = {}
    for name, packed in codes.items():
        key = f"{packed.type}:{shared_name(name)}"
        if shared_name(name) == name:
            tensors[key] = packed.rows
        else:
            experts.setdefault(key, {})[expert_number(name)] = packed.rows
    for key, rows in experts.items():
        tensors[key] = torch.stack([rows[number] for number in sorted(rows)])
    if tensors:
        write_shard(folder / FOLDER / f"{index:05d}.safetensors", tensors)


def write_packed_index(source: Path, folder: Path) -> None:
    """Write packed.json for the codes in `folder`, named as the model `source` is in GGUF."""
    files = sorted((folder / FOLDER).glob("*.safetensors"))
    if not files:
        return
    name_of = gguf_names(source)
    entries: dict[str, PackedEntry] = {}
    for file in files:
        for key, stored in read_safetensors_header(file).items():
            kind, _, name = key.partition(":")
            row = TENSOR_TYPES[kind]
            *rows, row_bytes = stored.shape
            gguf_name = name_of(name)
            assert gguf_name is not None
            entries[gguf_name] = PackedEntry(
                type=kind,
                shape=(*rows, row_bytes // row.block_bytes * row.block_elements),
                file=f"{FOLDER}/{file.name}",
                tensor=key,
            )
    index = PackedIndex(tensors=entries)
    write_text(folder / INDEX, index.model_dump_json(indent=2) + "\n")


def read_packed_index(folder: Path) -> PackedIndex | None:
    """The codes beside a checkpoint, or None where it has none."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        return PackedIndex.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileCorrupt(path, f"it is no index of codes ({error}).") from error


def read_packed(folder: Path, entry: PackedEntry) -> Tensor:
    """The bytes of one tensor, uint8 [[experts,] rows, row bytes]. Raises ModelIncomplete."""
    file = folder / entry.file
    if not file.is_file():
        raise ModelIncomplete(folder, f"{entry.file} is missing.", "Compress it again.")
    return read_tensor(read_safetensors_header(file)[entry.tensor])


def clear_packed(folder: Path) -> None:
    """Remove all codes."""
    (folder / INDEX).unlink(missing_ok=True)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
