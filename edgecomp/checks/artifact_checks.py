"""What an artifact must pass before it is called done.

Each check is a function that returns a CheckResult; none raises for a bad artifact. They look at
the file that will be shipped, in the runtime that will run it, never at a simulation of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgecomp.common.errors import ExportRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import read_gguf_header

CONTROL, USER_DEFINED = 3, 4
"""GGUF token types of special and of other added tokens."""


class CheckResult(FrozenModel):
    """One check: passed or not, and why, in a sentence."""

    name: str
    passed: bool
    detail: str
    warning: str | None = None
    """What its user should know although it passed."""


def check_size(
    file: Path, planned_bytes: int, *, name: str = "size", unit: str = "bytes"
) -> CheckResult:
    """Whether the file is exactly as large as the plan said."""
    actual = file.stat().st_size
    detail = f"{actual:,} {unit}" + (
        "" if actual == planned_bytes else f", planned {planned_bytes:,}"
    )
    return CheckResult(name=name, passed=actual == planned_bytes, detail=detail)


def tensor_types(artifact: Path) -> dict[str, str]:
    """The real type of every tensor of a GGUF file."""
    return {row.name: row.type.name for row in read_gguf_header(artifact).tensors}


def check_types(
    artifact: Path, planned: Mapping[str, str], fallbacks: Mapping[str, str]
) -> CheckResult:
    """Whether every tensor has the type the plan gave it; fallbacks are named.

    `fallbacks`: tensors whose columns do not divide by the format's block, with their type.
    """
    actual = tensor_types(artifact)
    wrong = sorted(
        name for name in actual.keys() | planned.keys() if actual.get(name) != planned.get(name)
    )
    if wrong:
        first = wrong[0]
        return CheckResult(
            name="tensor types",
            passed=False,
            detail=f"{len(wrong)} tensors are not as planned, such as {first}: "
            f"{actual.get(first, 'absent')} instead of {planned.get(first, 'nothing')}",
        )
    detail = ", ".join(
        f"{count} x {kind}" for kind, count in Counter(actual.values()).most_common()
    )
    if fallbacks:
        named = ", ".join(sorted(fallbacks)[:3])
        detail += f"; {len(fallbacks)} fell back for their column count ({named}"
        detail += ", …)" if len(fallbacks) > 3 else ")"
    return CheckResult(name="tensor types", passed=True, detail=detail)


def check_finite(artifact: Path, progress: Progress = ignore_progress) -> CheckResult:
    """Whether every weight of a GGUF file is a finite number, block scales included.

    Streams: a few MB are in memory at a time.
    """
    header = read_gguf_header(artifact)
    total = sum(row.size_bytes for row in header.tensors)
    done, bad, unread = 0, [], []
    for row in header.tensors:
        try:
            if not all(np.isfinite(values).all() for values in float32_pieces(header, row)):
                bad.append(row.name)
        except ExportRefused:
            unread.append(f"{row.name} ({row.type.name})")
        done += row.size_bytes
        progress(done, total)
    if bad or unread:
        named = f"{bad[0]} holds NaN or infinity" if bad else f"{unread[0]} cannot be read here"
        detail = f"{len(bad) + len(unread)} of {len(header.tensors)} tensors: {named}"
        return CheckResult(name="finite weights", passed=False, detail=detail)
    detail = f"all {len(header.tensors)} tensors"
    return CheckResult(name="finite weights", passed=True, detail=detail)
