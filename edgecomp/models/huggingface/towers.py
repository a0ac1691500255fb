"""The weights of a checkpoint that are no part of its text model: towers that read pictures or
sounds, and heads for multi-token prediction."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.models.llama_cpp_families import who_lacks_projector
from edgecomp.models.projector import TOWERS, Projector, Tower
from edgecomp.models.safetensors_header import StoredTensor

MULTIMODAL = re.compile(
    r"(^|\.)(vision|visual|audio|image|speech|sound|multi_?modal|mm_projector|connector|aligner|"
    r"mlp1\.|mlp_AR|embed_vision|embed_audio)"
)
PREDICTION_HEADS = re.compile(r"(^|\.)mtp\.")
OF_TOWER: dict[Tower, re.Pattern[str]] = {
    "vision": re.compile(r"vision|visual|image"),
    "audio": re.compile(r"audio|speech|sound"),
}
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""How pictures are made ready: the converter reads what there is of these."""

FLOAT32 = re.compile(r"pos(ition)?_emb|embed_pos|\.embeddings\.")
"""Matrices that the converter keeps as F32, of most families."""


def beside_text(name: str) -> bool:
    """Whether a weight is no part of the text model."""
    return bool(MULTIMODAL.search(name) or PREDICTION_HEADS.search(name))


def prediction_heads_note(names: Sequence[str]) -> Iterator[str]:
    """That heads for multi-token prediction are left out, where there are any."""
    count = sum(1 for name in names if PREDICTION_HEADS.search(name))
    if count:
        yield (
            f"The text model is taken alone: {count} weights for multi-token prediction are left "
            "out."
        )


def read_towers(
    folder: Path, config: Mapping[str, Any], tensors: Sequence[StoredTensor]
) -> Projector | None:
    """The towers that `tensors`, those beside the text model, make up; None where they make up
    none. Raises FileCorrupt for a damaged list of llama.cpp's families."""
    held = [tensor for tensor in tensors if MULTIMODAL.search(tensor.name)]
    towers = tuple(tower for tower in TOWERS if any(OF_TOWER[tower].search(t.name) for t in held))
    if not towers:
        return None
    lacking = who_lacks_projector(projector_class(config))
    if lacking is None and "vision" in towers:
        lacking = _lacking_processor(folder)
    size = sum(_float_bytes(tensor) for tensor in held)
    return Projector(towers=towers, file_bytes=size, lacking=lacking)


def projector_class(config: Mapping[str, Any]) -> str:
    """The class by which llama.cpp's converter writes the towers of a model: the vision config's
    own, where it names one."""
    vision = config.get("vision_config")
    named = vision.get("architectures") if isinstance(vision, dict) else None
    names = named or config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _lacking_processor(folder: Path) -> str | None:
    if any((folder / name).is_file() for name in PROCESSORS):
        return None
    return (
        f"{PROCESSORS[0]} is missing in {folder}, which says how pictures are made ready. Copy it "
        "from the model's page."
    )


def _float_bytes(tensor: StoredTensor) -> int:
    """Its size in the projector's file: matrices are F16, vectors and embeddings F32."""
    count = math.prod(tensor.shape)
    return count * (4 if len(tensor.shape) < 2 or FLOAT32.search(tensor.name) else 2)
