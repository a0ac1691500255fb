"""A projector's GGUF file (llama.cpp's `mmproj`): what it says, and the one that lies beside a
model."""

from __future__ import annotations

from pathlib import Path

from edgecomp.common.errors import EdgecompError
from edgecomp.models.gguf.header import GgufHeader, read_gguf_header
from edgecomp.models.projector import TOWERS, Projector, Tower

ARCHITECTURE, TYPE = "clip", "mmproj"


def is_projector(header: GgufHeader) -> bool:
    """Whether a GGUF file holds towers and no text model."""
    return header.get("general.architecture") == ARCHITECTURE or (
        header.get("general.type") == TYPE
    )


def towers_of(header: GgufHeader) -> tuple[Tower, ...]:
    """The towers that a projector's file says it holds."""
    return tuple(tower for tower in TOWERS if header.get(f"clip.has_{tower}_encoder") is True)


def projection_widths(header: GgufHeader) -> set[int]:
    """The widths of what a projector's file gives to the text model, one a tower."""
    found = (header.get(f"clip.{tower}.projection_dim") for tower in TOWERS)
    return {width for width in found if isinstance(width, int)}


def projector_beside(model: Path, width: int) -> Projector | None:
    """The projector in the folder of the GGUF file `model` that fits a text model of this width;
    None where there is none. Of several that fit none is chosen."""
    fitting: dict[Path, Projector] = {}
    for path in sorted(model.parent.glob("*.gguf")):
        if TYPE not in path.name.lower() or path.name == model.name:
            continue
        try:
            header = read_gguf_header(path)
        except (EdgecompError, OSError):
            continue  # A damaged neighbour is no part of the model.
        if is_projector(header) and projection_widths(header) == {width}:
            fitting[path] = Projector(
                towers=towers_of(header), file_bytes=header.file_bytes, path=path
            )
    if len(fitting) < 2:
        return next(iter(fitting.values()), None)
    names = " and ".join(path.name for path in fitting)
    lacking = f"{names} beside it all fit. Leave one of them in the folder."
    return next(iter(fitting.values())).model_copy(update={"lacking": lacking})
