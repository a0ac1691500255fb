"""What a projector (llama.cpp's `mmproj`) must pass before it goes along with its text model."""

from __future__ import annotations

from pathlib import Path

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.projector_file import ARCHITECTURE, TYPE, projection_widths, towers_of


def check_projector(projector: Path, width: int) -> CheckResult:
    """Whether the file says that it is one, and gives rows of the text model's `width`. Raises
    FileCorrupt or FileTruncated."""
    header = read_gguf_header(projector)
    said = (header.get("general.architecture"), header.get("general.type"))
    widths = projection_widths(header)
    faults = []
    if said != (ARCHITECTURE, TYPE):
        faults.append(f"it is of architecture {said[0]} and type {said[1]}")
    if not towers_of(header):
        faults.append("it names no tower")
    if widths != {width}:
        given = " and ".join(map(str, sorted(widths))) or "no"
        faults.append(f"it gives rows of {given} values, and the text model takes {width}")
    towers = " and ".join(towers_of(header))
    return CheckResult(
        name="projector",
        passed=not faults,
        detail="; ".join(faults) or f"{towers}, {len(header.tensors)} tensors, rows of {width}",
    )
