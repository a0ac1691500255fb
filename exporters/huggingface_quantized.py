"""Write the codes that a method chose as a checkpoint in GPTQ's or compressed-tensors' layout.

Both hold the solver's own bytes: its codes are unsigned, the first column lowest, as both layouts
want them; GPTQ's words run along the columns of the transposed matrix. Scales are float16 values
already. GPTQ stores zero points less 1 (`checkpoint_format: gptq`). Sources: AutoGPTQ's
`qlinear_cuda_old.py` and `quantize_config.json`, compressed-tensors' `pack_quantized.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.atomic import new_folder, write_text
from edgecomp.common.errors import ExportRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress.checkpoint import copy_companions
from edgecomp.compress.onnx_grids import SCALE_BYTES
from edgecomp.compress.packed import PackedEntry, read_packed, read_packed_index
from edgecomp.formats.exporting import ExportRecord
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS, HuggingfaceFormat
from edgecomp.models.float_conversion import convert, stored_array
from edgecomp.models.huggingface.model import read_json, stored_tensors
from edgecomp.models.huggingface.tied_head import tied_config
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.reading import read_model
from edgecomp.models.safetensors_writer import split_into_shards, write_shards
from edgecomp.models.tensor_types import TENSOR_TYPES

WORD_BITS = 32
HEAD = "lm_head.weight"
Parts = dict[str, NDArray[Any]]
Rows = NDArray[np.uint8]


def export_quantized(
    checkpoint: Path, destination: Path, format_name: str, progress: Progress = ignore_progress
) -> ExportRecord:
    """Write the rounded float checkpoint `checkpoint`, whose codes lie beside it, as the folder
    `destination`, whole or not at all.

    Raises ExportRefused where its codes are of another format, DiskFull or NotWritable.
    """
    row = HUGGINGFACE_FORMATS[format_name]
    codes = _codes(checkpoint, row)
    stored = stored_tensors(checkpoint)
    tied = read_model(checkpoint).tied_embeddings
    if tied:  # A stored head is the embedding over again.
        stored = {name: kept for name, kept in stored.items() if not name.endswith(HEAD)}
    weights: list[OutputTensor] = []
    for tensor in stored.values():
        if tensor.name in codes:
            weights += _part_weights(tensor.name.removesuffix("weight"), codes[tensor.name], row)
        else:
            weights.append(OutputTensor(tensor.name, tensor.shape, "F16"))
    shards = split_into_shards(weights)
    kept: dict[str, Parts] = {}

    def pieces(weight: OutputTensor) -> Iterable[NDArray[Any]]:
        if weight.name in stored:
            tensor = stored[weight.name]
            yield from convert(stored_array(tensor), tensor.dtype, "F16", weight.name)
            return
        prefix, _, part = weight.name.rpartition(".")
        if prefix not in kept:
            # A linear's parts stand together: one linear is in memory at a time.
            kept.clear()
            kept[prefix] = _parts(checkpoint, codes[f"{prefix}.weight"], row)
        yield np.ascontiguousarray(kept[prefix][part])

    with new_folder(destination) as partial:
        copy_companions(checkpoint, partial, None)
        _write_config(partial, row, _floats(stored, codes), tied=tied)
        write_shards(partial, shards, pieces, progress)
    return ExportRecord(
        path=destination,
        size_bytes=sum(file.stat().st_size for file in destination.iterdir()),
        float_type="F16",
        tensors={weight.name: weight.type for weight in weights},
        notes=(),
    )


def _codes(checkpoint: Path, row: HuggingfaceFormat) -> dict[str, PackedEntry]:
    """Where the codes of each weight are, by its name in the checkpoint."""
    index = read_packed_index(checkpoint)
    entries = index.tensors.values() if index else ()
    others = sorted({entry.type for entry in entries} - {row.type})
    if not entries or others:
        raise ExportRefused(
            f"{checkpoint} cannot be written as {row.name}: its codes are of "
            f"{', '.join(others) or 'no'} type. Round it for this format."
        )
    return {entry.tensor.partition(":")[2]: entry for entry in entries}


def _part_weights(prefix: str, entry: PackedEntry, row: HuggingfaceFormat) -> list[OutputTensor]:
    """The names, shapes and types of a linear's parts: those that `_parts` gives."""
    rows, columns = entry.shape
    groups, words = columns // row.group, columns * row.bits // WORD_BITS
    if row.layout == "gptq":
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "qweight": ((words, rows), "I32"),
            "qzeros": ((groups, rows * row.bits // WORD_BITS), "I32"),
            "scales": ((groups, rows), "F16"),
            "g_idx": ((columns,), "I32"),
        }
    else:
        shapes = {
            "weight_packed": ((rows, words), "I32"),
            "weight_scale": ((rows, groups), "F16"),
            "weight_shape": ((2,), "I64"),
        }
    return [OutputTensor(prefix + part, shape, kind) for part, (shape, kind) in shapes.items()]


def _parts(checkpoint: Path, entry: PackedEntry, row: HuggingfaceFormat) -> Parts:
    """The parts of one linear, as its layout holds them."""
    rows, columns = entry.shape
    packed: Rows = read_packed(checkpoint, entry).numpy()
    blocks = packed.reshape(rows, -1, TENSOR_TYPES[row.type].block_bytes)
    scales = np.ascontiguousarray(blocks[..., :SCALE_BYTES]).view("<f4")[..., 0].astype("<f2")
    words = np.ascontiguousarray(blocks[..., SCALE_BYTES:]).reshape(rows, -1).view("<i4")
    if row.layout == "compressed-tensors":
        shape = np.array([rows, columns], dtype="<i8")
        return {"weight_packed": words, "weight_scale": scales, "weight_shape": shape}
    zeros = _zero_word(row.bits)
    return {
        "qweight": words.T,
        "qzeros": np.full((columns // row.group, rows * row.bits // WORD_BITS), zeros, "<i4"),
        "scales": scales.T,
        "g_idx": (np.arange(columns) // row.group).astype("<i4"),
    }


def _zero_word(bits: int) -> int:
    """A word of the zero points of symmetric codes, less 1, as a signed number."""
    zero = (1 << (bits - 1)) - 1
    return sum(zero << shift for shift in range(0, WORD_BITS, bits))


def _floats(stored: Iterable[str], codes: Iterable[str]) -> list[str]:
    """The modules that look like quantized ones and are not: the head, the table, routers."""
    rounded = set(codes)
    return sorted(
        name.removesuffix(".weight")
        for name in stored
        if name.endswith(".weight") and name not in rounded and "norm" not in name
    )


def _write_config(folder: Path, row: HuggingfaceFormat, floats: list[str], *, tied: bool) -> None:
    config = read_json(folder / "config.json")
    config = tied_config(config) if tied else config
    config.pop("torch_dtype", None)
    said = _gptq(row) if row.layout == "gptq" else _compressed_tensors(row, floats)
    config |= {"dtype": "float16", "quantization_config": said}
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    if row.layout == "gptq":
        write_text(folder / "quantize_config.json", json.dumps(said, indent=2) + "\n")


def _gptq(row: HuggingfaceFormat) -> dict[str, Any]:
    return {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": row.bits,
        "group_size": row.group,
        "sym": True,
        "desc_act": False,
        "lm_head": False,
    }


def _compressed_tensors(row: HuggingfaceFormat, floats: list[str]) -> dict[str, Any]:
    weights = {
        "num_bits": row.bits,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": row.group,
        "dynamic": False,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": sorted({*floats, "lm_head"}),
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
