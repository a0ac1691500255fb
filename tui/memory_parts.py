"""A memory estimate as parts of a stacked bar, and their legend."""

from __future__ import annotations

from rich.text import Text

from edgecomp.common.quantity import format_size
from edgecomp.planning.memory import MemoryEstimate

from .bars import Part


def memory_parts(memory: MemoryEstimate) -> tuple[Part, ...]:
    """Weights, KV cache, buffers (compute and output) and the runtime itself, in bytes."""
    buffers = memory.compute_bytes + memory.output_bytes
    return (
        Part("weights", memory.weights_bytes, "█", "cyan"),
        Part("KV cache", memory.kv_cache_bytes, "▓", "green"),
        Part("buffers", buffers, "▒", "yellow"),
        Part("runtime", memory.runtime_bytes, "░", "magenta"),
    )


def memory_legend(memory: MemoryEstimate) -> Text:
    """Each part's fill, name and size."""
    text = Text()
    for part in memory_parts(memory):
        text.append(part.fill, style=part.colour)
        text.append(f" {part.name} {format_size(part.amount)}  ")
    return text.append(f"({memory.basis})", style="dim")
