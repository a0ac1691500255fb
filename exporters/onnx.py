"""Decoder models as ONNX, written by the onnxruntime-genai model builder in a child process.

What comes out is a folder that ONNX Runtime and onnxruntime-genai read: the graph, external data,
genai_config.json and the tokenizer, whose file is the source's own (onnx_tokenizer.py). Only the
CPU provider can be run where these exports were tested; files for cuda and dml are written and
checked, not run.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Literal

from edgecomp.common.atomic import new_folder, write_text
from edgecomp.common.errors import ArtifactRejected, ExportRefused, RuntimeMissing
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.folders import scratch_folder
from edgecomp.formats.execution_providers import execution_provider, require_precision
from edgecomp.formats.exporting import ExportRecord, FloatType, OnnxRecord, find_exporter
from edgecomp.formats.onnx_formats import OnnxFormat, float_type, onnx_data_bytes, onnx_format
from edgecomp.models.huggingface.end_tokens import required_end_token_ids
from edgecomp.models.huggingface.tied_head import tied_config
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.models.onnx_folder import TOKENIZER, external_tensors, load_graph, read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.processes.child import Child

from .onnx_config import configure
from .onnx_tokenizer import copy_tokenizer

__all__ = ["configure", "expected_float_size_bytes", "export", "export_format", "insert_codes"]

WORKER = "edgecomp.exporters.onnx_builder"
FLOAT_FORMATS: dict[FloatType, str] = {"F32": "onnx-fp32", "F16": "onnx-fp16"}
ONNX_TYPES = {1: "F32", 2: "U8", 3: "I8", 6: "I32", 7: "I64", 10: "F16", 16: "BF16"}
"""TensorProto.DataType."""


def export(
    model: ModelSpec,
    destination: Path,
    float_type: FloatType | None = None,
    progress: Progress = ignore_progress,
) -> ExportRecord:
    """Write `model` with float weights: F32 for the CPU (the default), F16 for CUDA."""
    chosen = float_type or "F32"
    if chosen not in FLOAT_FORMATS:
        raise ExportRefused(
            f"ONNX models are not written as {chosen}. Choose {' or '.join(FLOAT_FORMATS)}."
        )
    provider = "cpu" if chosen == "F32" else "cuda"
    return export_format(model, destination, FLOAT_FORMATS[chosen], provider, progress=progress)


def export_format(
    model: ModelSpec,
    destination: Path,
    format_name: str,
    provider: str = "cpu",
    *,
    accuracy_level: Literal[1, 2, 3, 4] | None = None,
    progress: Progress = ignore_progress,
) -> OnnxRecord:
    """Write `model` to the folder `destination` in a format of `formats/onnx_formats.py`, whole or
    not.

    `accuracy_level` is how MatMulNBits computes: 1 in float32, 4 with activations rounded to int8
    (the builder's choice on the CPU). Weights are rounded to nearest; `insert_codes` puts better
    codes in their place. Raises CompressionSettingsInvalid for a format or provider that is none,
    RuntimeMissing without the builder, ExportRefused with the builder's reason, ArtifactRejected
    where the ONNX checker refuses what was built, DiskFull or NotWritable.
    """
    row = onnx_format(format_name)
    require_precision(provider, row.precision)
    _require_builder()
    options: dict[str, object] = {}
    if row.block_size:
        options["block_size"] = row.block_size
        if accuracy_level:
            options["accuracy_level"] = accuracy_level
    with new_folder(destination) as folder:
        with scratch_folder() as scratch:
            checkpoint = _checkpoint(model, scratch)
            required_end_token_ids(read_model(checkpoint))
            if model.tied_embeddings:
                checkpoint = _tied(checkpoint, scratch)
            with Child(WORKER) as child:
                child.call(
                    "build",
                    progress,
                    checkpoint=str(checkpoint),
                    destination=str(folder),
                    precision=row.precision,
                    provider=execution_provider(provider).graph,
                    options=options,
                )
                # The builder writes the tokenizer anew; ids must not change.
                note = copy_tokenizer(checkpoint / TOKENIZER, folder / TOKENIZER)
                fault = child.call("check", progress, folder=str(folder))
        if fault:
            raise ArtifactRejected(
                f"The ONNX builder wrote a graph of {model.name} that ONNX's checker refuses: "
                f"{fault}. Nothing was kept; choose another format."
            )
        record = _record(folder, destination, row, provider, note)
    return record


def insert_codes(folder: Path, checkpoint: Path) -> tuple[str, ...]:
    """Put the codes beside `checkpoint` into an int4 export of it, each matrix in the type that its
    codes have, and floats where it has none.

    Returns the GGUF names of the matrices that hold codes now. Raises ExportRefused where one has
    no place in the graph, ArtifactRejected where the ONNX checker refuses what came out.
    """
    from .onnx_codes import insert_codes as insert  # Reads and writes graphs: needs onnx.

    placed = insert(folder, checkpoint)
    with Child(WORKER) as child:
        fault = child.call("check", ignore_progress, folder=str(folder))
    if fault:
        raise ArtifactRejected(
            f"The graph with the codes of {checkpoint} is one that ONNX's checker refuses: {fault}."
        )
    return placed


def expected_float_size_bytes(model: ModelSpec, float_type: FloatType | None = None) -> int:
    """The size of the external data of a float export, to the byte."""
    return onnx_data_bytes(model, FLOAT_FORMATS[float_type or "F32"])


def _require_builder() -> None:
    try:
        importlib.metadata.version("onnxruntime-genai")
        importlib.metadata.version("onnx")
    except importlib.metadata.PackageNotFoundError as error:
        raise RuntimeMissing(
            f"ONNX export needs the package {error.name}, which is not installed. "
            f"Install it with: pip install {error.name}."
        ) from error


def _checkpoint(model: ModelSpec, scratch: Path) -> Path:
    """The Hugging Face folder to build from: the source, or one made of a GGUF file."""
    folder = model.path
    if model.source == "gguf":
        folder = scratch / "checkpoint"
        find_exporter("huggingface").export(model, folder)
    if not (folder / TOKENIZER).is_file():
        raise ExportRefused(
            f"{model.name} has no {TOKENIZER}, which an ONNX artifact must carry unchanged. "
            "Save the model with its fast tokenizer."
        )
    return folder


def _tied(checkpoint: Path, scratch: Path) -> Path:
    """The checkpoint, or links to it beside a config that ties its head: the builder goes by the
    config, where ours has found the head missing or equal to the embedding."""
    config = read_json(checkpoint / "config.json")
    if tied_config(config) == config:
        return checkpoint
    folder = scratch / "tied"
    folder.mkdir()
    for file in checkpoint.iterdir():
        if file.is_file() and file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    write_text(folder / "config.json", json.dumps(tied_config(config)))
    return folder


def _record(
    folder: Path, destination: Path, row: OnnxFormat, provider: str, note: str
) -> OnnxRecord:
    found = read_onnx_folder(folder)
    tensors = external_tensors(folder, load_graph(folder))
    notes: tuple[str, ...] = (note,)
    if provider != "cpu":
        notes += (f"It is written for {provider} and was not run there.",)
    return OnnxRecord(
        path=destination,
        size_bytes=found.size_bytes,
        float_type="F16" if float_type(row, provider) == "F16" else "F32",
        tensors={name: ONNX_TYPES.get(t.type, str(t.type)) for name, t in tensors.items()},
        notes=notes,
        format=row.name,
        provider=provider,
        ir_version=found.ir_version,
        opsets=found.opsets,
        builder=f"onnxruntime-genai {importlib.metadata.version('onnxruntime-genai')}",
    )
