"""Write a model as a GGUF file with float weights, one tensor in memory at a time.

A Hugging Face checkpoint is laid out as llama.cpp wants it (gguf_tensors, gguf_metadata,
gguf_tokenizer); one of a family without a row here by llama.cpp's own converter (gguf_converted).
A GGUF file is dequantized; its metadata goes over byte for byte, the tokenizer
above all, except for the two entries that say how the weights are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
from numpy.typing import NDArray

from edgecomp.common.errors import ArchitectureUnsupported, ExportRefused, ModelIncomplete
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.formats.exporting import ExportRecord, FloatType, default_float_type
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.formats.presets import PRESETS
from edgecomp.models.architectures import BY_GGUF_NAME, Architecture
from edgecomp.models.float_conversion import (
    NUMPY_TYPES,
    float32_pieces,
    raw_pieces,
    require_finite,
    round_to_type,
)
from edgecomp.models.gguf.header import DEFAULT_ALIGNMENT, read_gguf_header
from edgecomp.models.gguf.size import gguf_file_bytes
from edgecomp.models.gguf.writer import (
    UINT32,
    copied_fields,
    header_bytes,
    packed_field,
    packed_fields,
    write_gguf,
)
from edgecomp.models.huggingface.model import language_config, read_json, weight_tensors
from edgecomp.models.learned_layout import LearnedLayout
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

from .gguf_converted import export_converted
from .gguf_converted import export_projector as export_projector
from .gguf_kept import insert_stored as insert_stored
from .gguf_metadata import add_metadata, check_config, notes
from .gguf_tensors import CheckpointTensors, output_tensors
from .gguf_tokenizer import add_tokenizer, name_in_file, tokenizer_definition, tokenizer_notes

FILE_TYPE, QUANTIZATION_VERSION = "general.file_type", "general.quantization_version"
Pieces = Iterator[NDArray[Any]]


@dataclass(frozen=True)
class _Export:
    """All that a file will hold. Its header needs nothing of the weights."""

    float_type: FloatType
    fields: dict[str, bytes]
    tensors: list[OutputTensor]
    alignment: int
    weights: Callable[[], Callable[[OutputTensor], Pieces]]
    """Opens their source, and gives what reads a tensor's pieces from it."""

    notes: tuple[str, ...]


def export(
    model: ModelSpec,
    destination: Path,
    float_type: FloatType | None = None,
    progress: Progress = ignore_progress,
    vocabulary: Path | None = None,
) -> ExportRecord:
    """Write `model` to the file `destination`, whole or not at all.

    Without `float_type` the source's own is kept (F32 and quantized sources give F16).
    `vocabulary`: a GGUF file whose tokenizer and description go over byte for byte, for a
    checkpoint that was made of it and has no tokenizer files. Raises ArchitectureUnsupported,
    ExportRefused, ModelIncomplete, DiskFull or NotWritable.
    """
    if model.source == "huggingface" and model.layout == "learned":
        return export_converted(
            model, destination, float_type or default_float_type(model), progress
        )
    if model.source == "huggingface" and model.quantization:
        raise ExportRefused(
            f"{model.path} cannot be written as GGUF: its weights are quantized by "
            f"{model.quantization}. Write it as a float checkpoint first."
        )
    plan = _planned(model, float_type, vocabulary)
    size_bytes = write_gguf(
        destination, plan.fields, plan.tensors, plan.weights(), plan.alignment, progress
    )
    return ExportRecord(
        path=destination,
        size_bytes=size_bytes,
        float_type=plan.float_type,
        tensors={tensor.name: tensor.type for tensor in plan.tensors},
        notes=plan.notes,
    )


def reservations(model: ModelSpec) -> tuple[str, ...]:
    """How a GGUF file of a checkpoint differs from it, read without its weights. Raises
    ExportRefused or ModelIncomplete where it, or the tokenizer's absence, says that there can be
    none; nothing is said of architectures that are not known."""
    architecture = model.family
    if model.source != "huggingface" or architecture is None:
        return ()
    config = _checked_config(model, architecture)
    tokenizer = tokenizer_definition(model.path)
    return _notes(model, architecture, config, tokenizer)


def insert_codes(
    file: Path, checkpoint: Path, layout: LearnedLayout | None = None
) -> tuple[str, ...]:
    """Put the codes that a method chose into a quantized file: see gguf_codes."""
    # Planning finds this module and must not load torch, which reading codes needs.
    from .gguf_codes import insert_by_layout
    from .gguf_codes import insert_codes as insert

    return insert_by_layout(file, checkpoint, layout) if layout else insert(file, checkpoint)


def expected_float_size_bytes(model: ModelSpec, float_type: FloatType | None = None) -> int:
    """The size of the file `export` writes, to the byte, without reading a weight."""
    plan = _planned(model, float_type)
    return gguf_file_bytes(
        len(header_bytes(plan.fields, plan.tensors, plan.alignment)),
        [(math.prod(tensor.shape), tensor.type) for tensor in plan.tensors],
        plan.alignment,
    )


def expected_header_size_bytes(model: ModelSpec, float_type: FloatType | None = None) -> int:
    """The size of that file's header, before its padding; llama.cpp's quantizer keeps it."""
    plan = _planned(model, float_type)
    return len(header_bytes(plan.fields, plan.tensors, plan.alignment))


def _planned(
    model: ModelSpec, float_type: FloatType | None, vocabulary: Path | None = None
) -> _Export:
    chosen = float_type or default_float_type(model)
    if model.source == "gguf":
        return _from_gguf(model, chosen)
    return _from_huggingface(model, chosen, vocabulary)


def _from_huggingface(model: ModelSpec, float_type: FloatType, vocabulary: Path | None) -> _Export:
    architecture = model.family
    if architecture is None:
        raise ArchitectureUnsupported(model.architecture, "written as GGUF", list(BY_GGUF_NAME))
    config = _checked_config(model, architecture)

    def weights() -> Callable[[OutputTensor], Pieces]:
        stored = weight_tensors(model.path, config)
        return CheckpointTensors(model, architecture, stored, config).pieces

    writer = gguf.GGUFWriter(None, architecture.gguf_name)
    tokenizer: dict[str, Any] | None = None
    if vocabulary is None:
        tokenizer = tokenizer_definition(model.path)
        name = name_in_file(tokenizer, model.name)
        add_metadata(writer, model, architecture, config, float_type, name)
        add_tokenizer(writer, model.path, tokenizer, model.vocabulary)
        fields = packed_fields(writer.kv_data[0])
    else:
        add_metadata(writer, model, architecture, config, float_type, model.name)
        fields = packed_fields(writer.kv_data[0]) | _read_vocabulary(vocabulary)
    return _Export(
        float_type,
        fields,
        output_tensors(model.tensors, float_type),
        DEFAULT_ALIGNMENT,
        weights,
        _notes(model, architecture, config, tokenizer),
    )


def _notes(
    model: ModelSpec,
    architecture: Architecture,
    config: dict[str, Any],
    tokenizer: dict[str, Any] | None,
) -> tuple[str, ...]:
    found = notes(model, architecture, config)
    if tokenizer:
        found += tokenizer_notes(model.path, tokenizer, model.vocabulary)
    return tuple(found)


def _checked_config(model: ModelSpec, architecture: Architecture) -> dict[str, Any]:
    config = language_config(read_json(model.path / "config.json"))
    check_config(model, architecture, config)
    return config


def _read_vocabulary(vocabulary: Path) -> dict[str, bytes]:
    """The entries of a GGUF file that tell of its tokenizer and origin, not of its weights."""
    return {
        key: raw
        for key, raw in copied_fields(read_gguf_header(vocabulary)).items()
        if key.startswith(("tokenizer.", "general."))
        and key not in (FILE_TYPE, QUANTIZATION_VERSION)
    }


def _from_gguf(model: ModelSpec, float_type: FloatType) -> _Export:
    header = read_gguf_header(model.path)
    if header.get("split.count", 1) != 1:
        raise ModelIncomplete(
            header.path, "it is one part of a split file.", "Join the parts with llama-gguf-split."
        )
    fields = copied_fields(header)
    fields[FILE_TYPE] = packed_field(FILE_TYPE, PRESETS[float_type].ftype, UINT32)
    fields[QUANTIZATION_VERSION] = packed_field(
        QUANTIZATION_VERSION, gguf.GGML_QUANT_VERSION, UINT32
    )
    tensors = [
        OutputTensor(spec.name, spec.shape, _float_of(spec, float_type)) for spec in model.tensors
    ]
    stored = {row.name: row for row in header.tensors}
    rows = {spec.name: stored[spec.source_name] for spec in model.tensors}

    def pieces(tensor: OutputTensor) -> Pieces:
        row = rows[tensor.name]
        if tensor.type == row.type.name:
            for piece in raw_pieces(header, row):
                if row.type.name in NUMPY_TYPES:
                    values = piece.view(NUMPY_TYPES[row.type.name])
                    require_finite(values, row.type.name, tensor.name)
                yield piece
            return
        for floats in float32_pieces(header, row):
            yield round_to_type(floats, tensor.type, tensor.name)

    return _Export(float_type, fields, tensors, header.alignment, lambda: pieces, ())


def _float_of(tensor: TensorSpec, float_type: FloatType) -> str:
    """Matrices get `float_type`; what llama.cpp never quantizes stays as it is stored."""
    if quantizable(tensor):
        return float_type
    return tensor.dtype if TENSOR_TYPES[tensor.dtype].is_float else "F32"
