"""The calibration texts that ship with edgecomp, written by us or generated with a fixed seed.

They need no download and no licence. None of them is evaluated: `evaluate/own_set` asks other
questions about other things, and a test holds the two apart.
"""

from __future__ import annotations

import importlib.resources

from edgecomp.calibration.own import (
    code,
    general_reasoning,
    instructions,
    knowledge,
    math,
    multilingual,
    safety,
)
from edgecomp.common.errors import DataMissing
from edgecomp.common.tasks import SourceName

SOURCES = {
    "math": math.pairs,
    "general_reasoning": general_reasoning.pairs,
    "instructions": instructions.pairs,
    "multilingual": multilingual.pairs,
    "code": code.pairs,
    "knowledge": knowledge.pairs,
    "safety": safety.pairs,
}


def own_pairs(name: SourceName) -> list[tuple[str, str]]:
    """Questions and answers of a source, always the same in the same order.

    Raises DataMissing for `text`, which has no questions: see `own_passages`.
    """
    if name not in SOURCES:
        raise DataMissing(f"The calibration source {name} has no questions, only passages.")
    return SOURCES[name]()


def own_passages() -> str:
    """Prose in several registers: one paragraph a line, an empty line between passages."""
    file = importlib.resources.files("edgecomp.calibration.own") / "passages.txt"
    return file.read_text(encoding="utf-8")
