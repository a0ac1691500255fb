"""Where the bytes of a model are: a bar a tensor group."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgecomp.common.quantity import format_size
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

from .bars import bar


def bytes_by_group(model: ModelSpec, width: int) -> RenderableType:
    """Stored bytes of each group, largest first, beside a bar of `width` cells."""
    sizes: dict[str, int] = {}
    for tensor in model.tensors:
        kind = TENSOR_TYPES.get(tensor.dtype)
        # Types that GGUF has not (8-bit floats of some checkpoints) take a byte.
        size = kind.size_bytes(tensor.elements) if kind else tensor.elements
        sizes[tensor.group] = sizes.get(tensor.group, 0) + size
    total = max(sum(sizes.values()), 1)
    table = Table.grid(padding=(0, 1))
    for group, size in sorted(sizes.items(), key=lambda row: -row[1]):
        table.add_row(
            Text(group),
            bar(size / total, width, "cyan"),
            Text(f"{100 * size / total:.1f} %", justify="right"),
            Text(format_size(size), justify="right"),
        )
    heading = Text(f"Where its {format_size(model.file_bytes)} are", style="bold")
    return Group(heading, table)
