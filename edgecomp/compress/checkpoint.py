"""Float checkpoints, read tensor by tensor and written shard by shard.

Tensors are read with plain reads, not through a memory map: mapped pages count as the process's
memory, and the peak of a walk over the blocks would seem to grow with the depth of the model.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from edgecomp.common.atomic import copy_file, reading, replacing, write_text
from edgecomp.common.errors import ArchitectureUnsupported, FileCorrupt, FileTruncated
from edgecomp.common.inside_folder import path_inside
from edgecomp.models.huggingface.model import read_json
from edgecomp.models.safetensors_header import StoredTensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
INDEX = "model.safetensors.index.json"
WEIGHT_FILES = (
    ".safetensors", ".bin", ".pt", ".pth", ".index.json", ".h5", ".msgpack", ".ckpt", ".gguf",
    ".onnx", ".onnx_data", ".onnx.data", ".tflite", ".ot",
)  # fmt: skip
"""Ends of the names of files that hold weights, of any framework, or say where they lie."""

OF_THE_WEIGHTS = (
    "compression.json", "distillation.json", "packed.json", "quantize_config.json",
    "hf_quant_config.json",
)  # fmt: skip
"""Records that are true of the weights beside them only."""

OS_ERROR = re.compile(r"os error (\d+)")
ROWS_PER_READ = 8192
COPY_BYTES = 1 << 24


def read_tensor(stored: StoredTensor) -> Tensor:
    """One tensor, in the type and shape it is stored in. Raises FileCorrupt for exotic types."""
    return _read(stored, 0, stored.size_bytes).reshape(stored.shape)


def read_rows(stored: StoredTensor, rows: Tensor) -> Tensor:
    """The rows `rows` (sorted int64 [n]) of a matrix, without ever holding the whole of it."""
    row_bytes = stored.size_bytes // stored.shape[0]
    parts = []
    for first in range(0, stored.shape[0], ROWS_PER_READ):
        count = min(ROWS_PER_READ, stored.shape[0] - first)
        wanted = rows[(rows >= first) & (rows < first + count)] - first
        if len(wanted):
            chunk = _read(stored, first * row_bytes, count * row_bytes)
            parts.append(chunk.reshape(count, *stored.shape[1:])[wanted])
    return torch.cat(parts)


def _read(stored: StoredTensor, offset: int, size_bytes: int) -> Tensor:
    if stored.dtype not in DTYPES:
        raise FileCorrupt(
            stored.file,
            f"tensor {stored.name} has the type {stored.dtype}, which is no plain number.",
            "Give a float checkpoint.",
        )
    data = np.fromfile(stored.file, np.uint8, size_bytes, offset=stored.start + offset)
    return torch.from_numpy(data).view(DTYPES[stored.dtype])


def find_stored(stored: Mapping[str, StoredTensor], name: str) -> StoredTensor:
    """The stored tensor of the model's parameter `name`.

    Some folders were saved from the bare decoder, or carry the decoder inside a multimodal model;
    their names differ by a prefix. Mixtral's name their mixtures otherwise than the model does.
    Raises ArchitectureUnsupported where there is no such tensor.
    """
    bare = name.partition(".")[2]
    candidates = (
        name,
        name.replace(".mlp.", ".block_sparse_moe."),
        bare,
        f"language_model.{name}",
        f"model.language_model.{bare}",
        f"model.{name}",
        f"model.language_model.{name}",
        f"language_model.model.{name}",
    )
    for candidate in candidates:
        if candidate in stored:
            return stored[candidate]
    raise ArchitectureUnsupported(
        f"of this checkpoint (it has no {name})", "compressed", ["dense decoders"]
    )


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all. Raises DiskFull or NotWritable."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            # It tells a full disk, or one that fails, by the system's number in its text.
            number = OS_ERROR.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def copy_tensors(path: Path, tensors: Sequence[StoredTensor]) -> None:
    """Write a safetensors file of tensors copied byte by byte, without holding one of them."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        offsets = [end, end + tensor.size_bytes]
        header[tensor.name] = {
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets,
        }  # fmt: skip
        end += tensor.size_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, temporary.open("wb") as output:
        output.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for piece in _pieces(tensor):
                output.write(piece)


def _pieces(tensor: StoredTensor) -> Iterator[bytes]:
    """A stored tensor's bytes, a few at a time. Raises FileUnreadable or FileTruncated."""
    with reading(tensor.file):
        file = tensor.file.open("rb")
    with file:
        for first in range(0, tensor.size_bytes, COPY_BYTES):
            count = min(COPY_BYTES, tensor.size_bytes - first)
            with reading(tensor.file):
                file.seek(tensor.start + first)
                piece = file.read(count)
            if len(piece) < count:
                there = tensor.start + first + len(piece)
                raise FileTruncated(tensor.file, tensor.start + tensor.size_bytes, there)
            yield piece


def write_index(folder: Path, shards: Mapping[str, Iterable[str]], size_bytes: int) -> None:
    """Write the index that makes `folder` a loadable checkpoint; `shards`: file -> tensor names."""
    weight_map = {name: file for file, names in shards.items() for name in names}
    index = {"metadata": {"total_size": size_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")


def copy_companions(source: Path, destination: Path, dtype: torch.dtype | None) -> None:
    """Copy tokenizer, template, licence and the like unchanged; config.json gets the dtype.

    Raises PathOutside where one of them is a link that leads out of the checkpoint.
    """
    for file in sorted(source.iterdir()):
        if not file.is_file() or file.name.startswith(".") or file.name.endswith(WEIGHT_FILES):
            continue
        if file.name in OF_THE_WEIGHTS:
            continue
        path_inside(source, file.name, source)
        if file.name != "config.json":
            with replacing(destination / file.name) as temporary:
                copy_file(file, temporary)
    config = read_json(source / "config.json")
    if dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
    write_text(destination / "config.json", json.dumps(config, indent=2) + "\n")
