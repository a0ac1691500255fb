"""What turns pictures or sounds into input of a text model: a file of its own beside it, which
llama.cpp calls `mmproj`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_size

Tower = Literal["vision", "audio"]
TOWERS: tuple[Tower, ...] = ("vision", "audio")


class Projector(FrozenModel):
    """The towers of a model, and what their file weighs."""

    towers: tuple[Tower, ...]
    file_bytes: int
    """Of its file, or of the weights that it will hold, by the checkpoint's headers."""

    path: Path | None = None
    """The file, where there is one already; None: it is written from the checkpoint."""

    lacking: str | None = None
    """Why no file can be written here, in a sentence; None: it can."""

    @property
    def title(self) -> str:
        return f"{' and '.join(self.towers)} tower{'s' if len(self.towers) > 1 else ''}"

    @property
    def note(self) -> str:
        """What the user must know of it."""
        if self.lacking:
            return (
                f"The text model is taken alone, without its {self.title} "
                f"({format_size(self.file_bytes)}): {self.lacking}"
            )
        place = f"{self.path.name}, is taken along" if self.path else "a GGUF artifact gets it"
        return (
            f"Its {self.title}, {format_size(self.file_bytes)} in a file of its own (mmproj): "
            f"{place} beside the text model. --max-size counts both files, and memory holds both."
        )
