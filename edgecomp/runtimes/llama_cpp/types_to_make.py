"""The types that llama.cpp's quantizer is to give a file's tensors."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel


class Types(FrozenModel):
    """A preset, and what wins over its rule."""

    preset: str
    overrides: dict[str, str] = Field(default={})
    """Types of single tensors, by name."""

    importance: Path | None = None
    """An importance matrix in llama.cpp's GGUF layout."""

    unweighed: tuple[str, ...] = ()
    """Tensors that get an importance of ones where they have none and their type needs one: an
    embedding, whose errors count alike, and what is written over anyway."""
