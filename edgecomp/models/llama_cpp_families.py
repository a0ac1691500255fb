"""What llama.cpp of this installation knows: the classes its converter writes, and the families its
runtime loads.

Both stand in `families.json` beside the converter, which `make install` keeps
(tools/keep_converter.py).
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Literal

from edgecomp.common.errors import FileCorrupt
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.package_versions import LLAMA_CPP_PACKAGE, package_version

VARIABLE = "EDGECOMP_CONVERTER"
INDEX = "families.json"
TABLES = "conversion/__init__.py"
PROJECTOR_TABLE = "MMPROJ_MODEL_MAP"
NO_CONVERTER = "no converter of llama.cpp's is kept here (`make install` keeps it)"


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


def who_lacks_projector(hf_class: str) -> str | None:
    """A sentence on towers, of the class by which they are known, that cannot be written here; None
    where they can. Raises FileCorrupt."""
    known = llama_cpp_families()
    if known is None:
        return NO_CONVERTER[0].upper() + NO_CONVERTER[1:] + "."
    if hf_class in _projector_classes(converter_folder() / TABLES):
        return None
    return (
        f"The converter of {LLAMA_CPP_PACKAGE} {known.version} writes no towers of {hf_class}. A "
        "later version may, or take the mmproj file that others made."
    )


def who_lacks(hf_class: str) -> str:
    """A sentence on a class that cannot be written here: which of llama.cpp's converter, its
    runtime, and transformers lack it, in which versions. Loads none of them."""
    known = llama_cpp_families()
    if known is None:
        converter = NO_CONVERTER
    elif hf_class not in known.classes:
        converter = f"the converter of {LLAMA_CPP_PACKAGE} {known.version} does not know the class"
    else:
        converter = (
            f"the converter of {LLAMA_CPP_PACKAGE} {known.version} writes it as "
            f"{known.classes[hf_class]}, which its runtime does not load"
        )
    runs = "runs" if _transformers_knows(hf_class) else "does not know"
    version = package_version("transformers")
    return (
        f"Nothing here can make an artifact of {hf_class}: {converter}, and transformers {version} "
        f"{runs} it. A later version of them may, or a GGUF file that others made."
    )


def _transformers_knows(hf_class: str) -> bool:
    """Whether transformers lists the class, by the text of its table."""
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None:
        return False
    table = Path(found.origin).parent / "models" / "auto" / "modeling_auto.py"
    return table.is_file() and f'"{hf_class}"' in table.read_text(encoding="utf-8")


@lru_cache(maxsize=4)
def _projector_classes(tables: Path) -> frozenset[str]:
    """The classes whose towers the converter writes, by the text of its table."""
    if not tables.is_file():
        return frozenset()
    try:
        statements = ast.parse(tables.read_text(encoding="utf-8")).body
        typed = [row for row in statements if isinstance(row, ast.AnnAssign) and row.value]
        found = [row.value for row in typed if ast.unparse(row.target) == PROJECTOR_TABLE]
        return frozenset(ast.literal_eval(found[0])) if found and found[0] else frozenset()
    except (ValueError, SyntaxError) as error:
        raise FileCorrupt(tables, f"it is no table of classes ({error}).") from error


@lru_cache(maxsize=4)
def _read(path: Path) -> LlamaCppFamilies | None:
    if not path.is_file():
        return None
    try:
        return LlamaCppFamilies.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileCorrupt(path, f"it is no list of families ({error}).") from error
