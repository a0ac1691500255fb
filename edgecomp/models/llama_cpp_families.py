"""What llama.cpp of this installation knows: the classes its converter writes, and the families its
runtime loads.

Both stand in `families.json` beside the converter, which `make install` keeps
(tools/keep_converter.py).
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Literal

from edgecomp.common.errors import FileCorrupt
from edgecomp.common.frozen_model import FrozenModel

VARIABLE = "EDGECOMP_CONVERTER"
INDEX = "families.json"


class LlamaCppFamilies(FrozenModel):
    """families.json."""

    schema_version: Literal[1] = 1
    version: str
    """llama-cpp-python's."""

    classes: dict[str, str]
    """Hugging Face class -> the family it is written as, by GGUF's name."""

    runtime: tuple[str, ...]
    """The families that the runtime of that version loads."""


def converter_folder() -> Path:
    """Where llama.cpp's converter is kept: where EDGECOMP_CONVERTER says, or in the environment."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(sys.prefix) / "share" / "edgecomp" / "llama.cpp"


def llama_cpp_families() -> LlamaCppFamilies | None:
    """What is known; None where no converter is kept. Raises FileCorrupt."""
    return _read(converter_folder() / INDEX)


def converted_family(hf_class: str) -> str | None:
    """The family as which the converter writes a Hugging Face class, by GGUF's name; None where it
    does not know the class, or the runtime does not load the family."""
    known = llama_cpp_families()
    family = known.classes.get(hf_class) if known else None
    return family if known and family in known.runtime else None


@lru_cache(maxsize=4)
def _read(path: Path) -> LlamaCppFamilies | None:
    if not path.is_file():
        return None
    try:
        return LlamaCppFamilies.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileCorrupt(path, f"it is no list of families ({error}).") from error
