"""Formats of quantized checkpoints for transformers and vLLM: a layout, bits, and a group.

The linears inside the blocks become symmetric integers with one float16 scale a group of columns;
everything else is float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.models.spec import ModelSpec

Layout = Literal["gptq", "compressed-tensors"]


@dataclass(frozen=True)
class HuggingfaceFormat:
    """One format: how codes are laid out, their bits, and the columns that share a scale."""

    layout: Layout
    bits: int
    group: int

    @property
    def name(self) -> str:
        return f"{self.layout}-int{self.bits}-g{self.group}"

    @property
    def type(self) -> str:
        """The tensor type that a solver chooses codes of."""
        return f"INT{self.bits}_{self.group}"


LAYOUTS: tuple[Layout, ...] = ("gptq", "compressed-tensors")
HUGGINGFACE_FORMATS = {
    row.name: row
    for row in (
        HuggingfaceFormat(layout, bits, group)
        for layout in LAYOUTS
        for bits in (4, 8)
        for group in (32, 64, 128)
    )
}


def huggingface_types(model: ModelSpec, name: str) -> dict[str, str]:
    """The type of every tensor of `model` in a format, by GGUF name.

    Raises CompressionSettingsInvalid where the format's group does not divide a matrix's columns,
    and for a mixture of experts.
    """
    row = HUGGINGFACE_FORMATS[name]
    if model.experts:
        raise CompressionSettingsInvalid(
            f"{model.name} is a mixture of experts, whose quantized checkpoints transformers does "
            f"not load expert by expert: {name} is for dense models. Choose a GGUF format."
        )
    types = {}
    for tensor in model.tensors:
        rounded = tensor.name.startswith("blk.") and quantizable(tensor) and len(tensor.shape) == 2
        if rounded and (tensor.shape[1] % row.group or tensor.shape[0] * row.bits % 32):
            raise CompressionSettingsInvalid(
                f"{tensor.source_name} has the shape {list(tensor.shape)}, which {name} cannot "
                f"hold: its groups of {row.group} must divide the columns, its 32-bit words the "
                "rows. Choose a format with smaller groups (-g64 or -g32), or a GGUF format."
            )
        types[tensor.name] = row.type if rounded else "F16"
    return types


def huggingface_bytes(model: ModelSpec, name: str) -> int:
    """The bytes of all tensors of `model` in a format, less its files' headers."""
    row, types, total = HUGGINGFACE_FORMATS[name], huggingface_types(model, name), 0
    for tensor in model.tensors:
        if types[tensor.name] != row.type:
            total += 2 * tensor.elements
            continue
        groups = tensor.elements // row.group
        total += tensor.elements * row.bits // 8 + 2 * groups
        # Zero points and each column's group; or two numbers of 8 bytes that tell the shape.
        total += groups * row.bits // 8 + 4 * tensor.shape[1] if row.layout == "gptq" else 16
    return total
