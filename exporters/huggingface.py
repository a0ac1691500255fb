"""Write a GGUF model, or a quantized checkpoint, as a float checkpoint that transformers loads.

Of a GGUF the inverse of gguf_tensors: Hugging Face's names, rows of Q and K back in their places,
experts apart. The tokenizer is written only where it gives llama.cpp's ids over the whole corpus;
compression needs no tokenizer files, since token ids come from the GGUF file's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.atomic import new_folder, write_text
from edgecomp.common.errors import (
    ArchitectureUnsupported,
    ChildDied,
    RuntimeMissing,
    RuntimeRefused,
)
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.formats.exporting import ExportRecord, FloatType, default_float_type
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.models.architectures import BY_GGUF_NAME, Architecture
from edgecomp.models.float_conversion import float32_pieces, round_to_type
from edgecomp.models.gguf.header import GgufHeader, read_gguf_header
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.reading import read_model
from edgecomp.models.safetensors_writer import shards_size_bytes, split_into_shards, write_shards
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.runtimes.protocol import find_runtime

from .gguf_tensors import deinterleave
from .huggingface_config import config_of
from .huggingface_tokenizer import FILES, write_tokenizer

ACTION = "written as a Hugging Face checkpoint"


def export(
    model: ModelSpec,
    destination: Path,
    float_type: FloatType | None = None,
    progress: Progress = ignore_progress,
) -> ExportRecord:
    """Write `model`, a GGUF file or a quantized checkpoint, as the folder `destination`, whole or
    not at all.

    Vectors, and matrices that llama.cpp never quantizes, are F32. Raises ArchitectureUnsupported,
    ExportRefused, DiskFull or NotWritable (also where the folder exists and is not empty).
    """
    chosen = float_type or default_float_type(model)
    if model.source == "huggingface":
        from .huggingface_dequantized import export_dequantized

        return export_dequantized(model, destination, chosen, progress)
    architecture = _architecture(model)
    header = read_gguf_header(model.path)
    config = config_of(model, header, chosen)
    sources = _sources(model, architecture)
    shards = split_into_shards(_weights(sources, chosen))

    def pieces(weight: OutputTensor) -> Iterator[NDArray[Any]]:
        for values in _values(model, header, architecture, sources[weight.name]):
            yield round_to_type(np.ascontiguousarray(values), weight.type, weight.name)

    with new_folder(destination) as partial:
        write_text(partial / "config.json", json.dumps(config, indent=2) + "\n")
        write_shards(partial, shards, pieces, progress)
        notes = _add_tokenizer(model, header, partial)
    return ExportRecord(
        path=destination,
        size_bytes=sum(file.stat().st_size for file in destination.iterdir()),
        float_type=chosen,
        tensors={weight.name: weight.type for group in shards.values() for weight in group},
        notes=notes,
    )


def export_quantized(
    checkpoint: Path, destination: Path, format_name: str, progress: Progress = ignore_progress
) -> ExportRecord:
    """Write the codes that a method chose as a quantized checkpoint: see huggingface_quantized."""
    # Planning finds this module and must not load torch, which reading codes needs.
    from .huggingface_quantized import export_quantized as write

    return write(checkpoint, destination, format_name, progress)


def differing_weights(folder: Path, checkpoint: Path) -> tuple[str, ...]:
    """The weights of a quantized folder that are not those of `checkpoint`: see
    huggingface_dequantized."""
    from .huggingface_dequantized import differing_weights as compare

    return compare(folder, checkpoint)


def expected_float_size_bytes(model: ModelSpec, float_type: FloatType | None = None) -> int:
    """The size of the safetensors files `export` writes, to the byte."""
    architecture = _architecture(model)
    chosen = float_type or default_float_type(model)
    weights = _weights(_sources(model, architecture), chosen)
    return shards_size_bytes(split_into_shards(weights))


def _architecture(model: ModelSpec) -> Architecture:
    row = BY_GGUF_NAME.get(model.architecture)
    if model.source != "gguf" or row is None or row.hf_type is None:
        known = [row.gguf_name for row in BY_GGUF_NAME.values() if row.hf_type]
        raise ArchitectureUnsupported(model.architecture, ACTION, known)
    return row


class _Source(NamedTuple):
    """Where a weight comes from: a GGUF tensor, or one expert's part of it, and its shape there."""

    tensor: TensorSpec
    shape: tuple[int, ...]
    expert: int | None = None


def _sources(model: ModelSpec, architecture: Architecture) -> dict[str, _Source]:
    """The source of each checkpoint name; rotary tables go into config.json instead."""
    found = {}
    for tensor in model.tensors:
        name = tensor.name != "rope_freqs.weight" and _hf_name(tensor.name, architecture)
        if not name:
            continue
        if "_exps." in tensor.name:
            for expert in range(tensor.shape[0]):
                own = name.replace(".experts.", f".experts.{expert}.")
                found[own] = _Source(tensor, tensor.shape[1:], expert)
        elif _is_transposed(tensor, architecture):
            found[name] = _Source(tensor, tensor.shape[::-1])
        elif ".ffn_gate_inp_shexp." in tensor.name:
            found[name] = _Source(tensor, (1, *tensor.shape))  # a vector in GGUF only
        else:
            found[name] = _Source(tensor, tensor.shape)
    return found


def _hf_name(name: str, architecture: Architecture) -> str | None:
    layer = re.match(r"blk\.(\d+)\.", name)
    role, _, suffix = name[layer.end() if layer else 0 :].rpartition(".")
    if role not in architecture.hf_tensors:
        raise ArchitectureUnsupported(
            f"{architecture.gguf_name} with the tensor {name}", ACTION, list(BY_GGUF_NAME)
        )
    own = architecture.hf_tensors[role]
    if own is None:
        return None
    return (
        f"{architecture.hf_layers}.{layer.group(1)}.{own}.{suffix}" if layer else f"{own}.{suffix}"
    )


def _is_transposed(tensor: TensorSpec, architecture: Architecture) -> bool:
    return len(tensor.shape) == 2 and any(f".{r}." in tensor.name for r in architecture.transposed)


def _weights(sources: dict[str, _Source], float_type: FloatType) -> list[OutputTensor]:
    return [
        OutputTensor(name, source.shape, float_type if quantizable(source.tensor) else "F32")
        for name, source in sources.items()
    ]


def _values(
    model: ModelSpec, header: GgufHeader, architecture: Architecture, source: _Source
) -> Iterator[NDArray[np.float32]]:
    """The weight's values as the checkpoint orders them."""
    tensor = source.tensor
    row = next(row for row in header.tensors if row.name == tensor.source_name)
    if source.expert is not None:
        size = row.size_bytes // row.shape[0]
        start = row.offset + source.expert * size
        row = replace(row, shape=row.shape[1:], offset=start, size_bytes=size)
    heads = {"attn_q": model.heads, "attn_k": model.kv_heads}.get(tensor.name.split(".")[-2])
    permuted = architecture.interleaved_rope and heads is not None
    shifted = architecture.norm_offset and "_norm." in tensor.name
    if not (permuted or shifted or _is_transposed(tensor, architecture)):
        yield from float32_pieces(header, row)
        return
    whole = np.concatenate(list(float32_pieces(header, row))).reshape(tensor.shape)
    if permuted:
        assert heads is not None
        yield deinterleave(whole, heads)
    elif shifted:
        yield whole - np.float32(architecture.norm_offset)
    else:
        yield whole.T


def _add_tokenizer(model: ModelSpec, header: GgufHeader, folder: Path) -> tuple[str, ...]:
    """Write the tokenizer files and compare; returns a note where they are not kept."""
    fault = write_tokenizer(header, folder)
    if fault is None:
        try:
            result = check_token_ids(read_model(folder), model.path, find_runtime("llama.cpp"))
            fault = (
                None if result.passed else f"rebuilt, its ids are not llama.cpp's: {result.detail}"
            )
        except (RuntimeMissing, RuntimeRefused, ChildDied) as error:
            fault = f"it could not be compared with llama.cpp's ({error})"
    if fault is None:
        return ()
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    return (f"No tokenizer files are written: {fault}.",)
