"""What every exporter can do, and how one is found.

An exporter is a module found by the entry-point group `edgecomp.exporters` under its name.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast

from edgecomp.common.errors import ExportRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.learned_layout import LearnedLayout
from edgecomp.models.spec import ModelSpec, dominant_type

FloatType = Literal["F32", "F16", "BF16"]


class ExportRecord(FrozenModel):
    """What an exporter wrote."""

    schema_version: Literal[1] = 1
    path: Path
    size_bytes: int
    """Size of the file, or of all files of the folder."""

    float_type: FloatType
    tensors: dict[str, str]
    """The type of each tensor, by its name in the export."""

    notes: tuple[str, ...]
    """What the export does not carry, or carries otherwise than the source; one sentence each."""


class OnnxRecord(ExportRecord):
    """What the exporter of ONNX wrote."""

    format: str
    provider: str
    ir_version: int
    opsets: dict[str, int]
    builder: str


class Exporter(Protocol):
    """One format."""

    def export(
        self,
        model: ModelSpec,
        destination: Path,
        float_type: FloatType | None = None,
        progress: Progress = ignore_progress,
    ) -> ExportRecord:
        """Write `model` with float weights to `destination`, whole or not at all.

        Without `float_type` the source's own is kept (F32 and quantized sources give F16).
        Raises ArchitectureUnsupported, ExportRefused, DiskFull or NotWritable.
        """

    def expected_float_size_bytes(
        self, model: ModelSpec, float_type: FloatType | None = None
    ) -> int:
        """The size of the files that hold the weights, to the byte, without reading a weight."""


class GgufExporter(Protocol):
    """The exporter of GGUF, whose files' sizes are planned before any is written."""

    def export(
        self,
        model: ModelSpec,
        destination: Path,
        float_type: FloatType | None = None,
        progress: Progress = ignore_progress,
        vocabulary: Path | None = None,
    ) -> ExportRecord:
        """As `Exporter.export`; `vocabulary` is a GGUF file to take the tokenizer from."""

    def export_projector(
        self, model: ModelSpec, destination: Path, progress: Progress
    ) -> ExportRecord:
        """Write the towers of a checkpoint, which read pictures or sounds, as llama.cpp's `mmproj`.
        Raises ExportRefused, DiskFull or NotWritable."""

    def insert_codes(
        self, file: Path, checkpoint: Path, layout: LearnedLayout | None = None
    ) -> tuple[str, ...]:
        """Put the codes that a method chose into a quantized file of the same model; the names of
        the tensors that hold them now. `layout`: where its rows go, if no row here says it."""

    def insert_stored(self, file: Path, model: ModelSpec, names: Sequence[str]) -> None:
        """Put tensors of a GGUF model, as they are stored, into a quantized file of it whose types
        are the same there."""

    def expected_header_size_bytes(
        self, model: ModelSpec, float_type: FloatType | None = None
    ) -> int:
        """The size of what stands before the weights, in bytes; the quantizer keeps it."""

    def reservations(self, model: ModelSpec) -> tuple[str, ...]:
        """How the file of a checkpoint will differ from it. Raises ExportRefused or ModelIncomplete
        where its config.json or tokenizer allow none."""


class HuggingfaceExporter(Protocol):
    """The exporter of checkpoints, which writes float and quantized ones."""

    def export_quantized(
        self,
        checkpoint: Path,
        destination: Path,
        format_name: str,
        progress: Progress = ignore_progress,
    ) -> ExportRecord:
        """Write a rounded checkpoint, with the codes beside it, in one of
        `edgecomp.formats.huggingface_layouts` to the folder `destination`."""

    def differing_weights(self, folder: Path, checkpoint: Path) -> tuple[str, ...]:
        """The weights of a quantized folder whose values, read again, are not bit for bit those of
        the rounded checkpoint."""


class ServedLimits(NamedTuple):
    """What an application is told to serve a model with: tokens of context and of a prompt read at
    once, sequences, threads."""

    context: int
    sequences: int
    chunk: int
    threads: int


class OnnxExporter(Protocol):
    """The exporter of ONNX, which writes float and integer formats for several providers."""

    def export_format(
        self,
        model: ModelSpec,
        destination: Path,
        format_name: str,
        provider: str = "cpu",
        *,
        accuracy_level: Literal[1, 2, 3, 4] | None = None,
        progress: Progress = ignore_progress,
    ) -> OnnxRecord:
        """Write `model` in one of `edgecomp.formats.onnx_formats` to the folder `destination`."""

    def insert_codes(self, folder: Path, checkpoint: Path) -> tuple[str, ...]:
        """Put the codes that a method chose into an integer export of the same model; the names of
        the tensors that hold them now."""

    def configure(self, folder: Path, provider: str, limits: ServedLimits) -> str:
        """Write an export's genai_config.json for an execution provider; what the library's parser
        says against it, or ""."""


class OptimumExporter(Protocol):
    """The exporter of ONNX by optimum."""

    def optimum_python(self) -> Path:
        """The Python of the environment that has optimum. Raises RuntimeMissing."""

    def export_format(
        self,
        model: ModelSpec,
        destination: Path,
        format_name: str,
        progress: Progress = ignore_progress,
    ) -> OnnxRecord:
        """Write `model` in a format of `formats/optimum_formats.py` to the folder `destination`."""


def default_float_type(model: ModelSpec) -> FloatType:
    """The float type an export of `model` gets unless another is asked for."""
    return "BF16" if dominant_type(model.tensors) == "BF16" else "F16"


@cache
def find_exporter(name: str) -> Exporter:
    """The exporter called `name`. Raises ExportRefused where none has this name."""
    found = importlib.metadata.entry_points(group="edgecomp.exporters")
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise ExportRefused(f"There is no exporter called {name!r} here. Installed: {known}.")
    exporter: Exporter = found[name].load()
    return exporter


def find_gguf_exporter() -> GgufExporter:
    """The exporter of GGUF."""
    return cast(GgufExporter, find_exporter("gguf"))


def find_huggingface_exporter() -> HuggingfaceExporter:
    """The exporter of checkpoints."""
    return cast(HuggingfaceExporter, find_exporter("huggingface"))


def find_onnx_exporter() -> OnnxExporter:
    """The exporter of ONNX."""
    return cast(OnnxExporter, find_exporter("onnx"))


def find_optimum_exporter() -> OptimumExporter:
    """The exporter of ONNX by optimum."""
    return cast(OptimumExporter, find_exporter("onnx-optimum"))
