"""Write a quantized checkpoint (GPTQ, AWQ, compressed-tensors) as a float one, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.atomic import new_folder, write_text
from edgecomp.common.errors import ExportRefused
from edgecomp.common.events import Progress
from edgecomp.formats.exporting import ExportRecord, FloatType
from edgecomp.models.float_conversion import convert, round_to_type, stored_array, to_float32
from edgecomp.models.huggingface.dequantized import dequantize
from edgecomp.models.huggingface.model import read_json, stored_tensors
from edgecomp.models.huggingface.quantization_config import SAID_IN, read_quantization
from edgecomp.models.huggingface.quantized import joined_tensors, quantized_linears
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.safetensors_header import StoredTensor
from edgecomp.models.safetensors_writer import split_into_shards, write_shards
from edgecomp.models.spec import ModelSpec

from .huggingface_config import DTYPES


def export_dequantized(
    model: ModelSpec, destination: Path, float_type: FloatType, progress: Progress
) -> ExportRecord:
    """Write `model` as the folder `destination`, whole or not at all: matrices in `float_type`,
    vectors as they are stored; every other file of the folder goes over unchanged.

    Raises ExportRefused for a checkpoint that is not quantized, FileCorrupt, DiskFull, NotWritable.
    """
    from edgecomp.compress.checkpoint import copy_companions

    config = read_json(model.path / "config.json")
    quantization = read_quantization(config, model.path)
    if quantization is None:
        raise ExportRefused(f"{model.path} is a float checkpoint already. Take it as it is.")
    stored = stored_tensors(model.path)
    linears = quantized_linears(stored, quantization)
    tensors = joined_tensors(stored, linears)
    shards = split_into_shards([_weight(tensor, float_type) for tensor in tensors.values()])

    def pieces(weight: OutputTensor) -> Iterator[NDArray[Any]]:
        if weight.name in linears:
            yield round_to_type(
                dequantize(linears[weight.name], quantization), weight.type, weight.name
            )
            return
        tensor = tensors[weight.name]
        yield from convert(stored_array(tensor), tensor.dtype, weight.type, weight.name)

    with new_folder(destination) as partial:
        copy_companions(model.path, partial, None)
        config = {key: value for key, value in config.items() if key not in SAID_IN}
        config.pop("torch_dtype", None)
        config["dtype"] = DTYPES[float_type]
        write_text(partial / "config.json", json.dumps(config, indent=2) + "\n")
        write_shards(partial, shards, pieces, progress)
    return ExportRecord(
        path=destination,
        size_bytes=sum(file.stat().st_size for file in destination.iterdir()),
        float_type=float_type,
        tensors={weight.name: weight.type for group in shards.values() for weight in group},
        notes=(f"The weights are those of {model.quantization}, not of the original.",),
    )


def _weight(tensor: StoredTensor, float_type: FloatType) -> OutputTensor:
    matrix = len(tensor.shape) > 1
    return OutputTensor(tensor.name, tensor.shape, float_type if matrix else tensor.dtype)


def differing_weights(folder: Path, checkpoint: Path) -> tuple[str, ...]:
    """The quantized weights of `folder` that are not bit for bit those of the float `checkpoint`.

    Raises ExportRefused for a folder that is not quantized, and FileCorrupt.
    """
    quantization = read_quantization(read_json(folder / "config.json"), folder)
    if quantization is None:
        raise ExportRefused(f"{folder} holds no quantized weights.")
    floats = stored_tensors(checkpoint)
    return tuple(
        name
        for name, linear in quantized_linears(stored_tensors(folder), quantization).items()
        if not np.array_equal(
            dequantize(linear, quantization),
            to_float32(stored_array(floats[name]), floats[name].dtype),
        )
    )
