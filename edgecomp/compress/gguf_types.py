"""The types our solvers can choose codes for, and a type per tensor as the solvers want it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.gguf_grids import SIMPLE_GRIDS
from edgecomp.compress.gguf_k_grids import K_GRIDS
from edgecomp.compress.gguf_vector_grids import VECTOR_GRIDS
from edgecomp.compress.grids import Grid
from edgecomp.compress.onnx_grids import ONNX_GRIDS
from edgecomp.compress.quantized import GridOf
from edgecomp.models.huggingface.model import gguf_names

GGUF_GRIDS = SIMPLE_GRIDS | K_GRIDS | VECTOR_GRIDS
SOLVED_GRIDS = GGUF_GRIDS | ONNX_GRIDS


def gguf_grid(kind: str) -> Grid:
    """The grid of a tensor type. Raises CompressionSettingsInvalid for types without a solver."""
    if kind not in SOLVED_GRIDS:
        raise CompressionSettingsInvalid(
            f"There is no solver for the type {kind}. Known: {', '.join(SOLVED_GRIDS)}. "
            "llama.cpp's own quantizer offers the others."
        )
    return SOLVED_GRIDS[kind]


def grids_of_types(checkpoint: Path, types: Mapping[str, str]) -> GridOf:
    """The grid for each weight of `checkpoint`, given types by GGUF tensor name; tensors without a
    type, and those of a float type, stay as they are."""
    grids = {
        name: gguf_grid(kind) for name, kind in types.items() if kind not in ("F32", "F16", "BF16")
    }
    name_of = gguf_names(checkpoint)
    return lambda weight: grids.get(name_of(weight) or "")


def named_in(checkpoint: Path, names: Iterable[str]) -> Callable[[str], bool]:
    """Whether a weight of `checkpoint` has one of these GGUF tensor names."""
    wanted, name_of = frozenset(names), gguf_names(checkpoint)
    return lambda weight: name_of(weight) in wanted
