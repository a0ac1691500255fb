"""Keys and values of the tokens held, as a graph takes them: in one buffer, or as they grow.

Graphs with GroupQueryAttention write into the buffer that they read from, up to its length, so it
is taken once. Graphs of plain operators join past and new ones to a present that is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgecomp.common.errors import RuntimeRefused

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
PAST, PRESENT = "past_key_values", "present"


class SharedCache:
    """Buffers [sequences, KV heads, context, head size]; those of the sequences that run next are
    bound as past and as present."""

    def __init__(self, inputs: Sequence[Any], shape: tuple[int, ...]) -> None:
        self._buffers = {name: np.zeros(shape, kind) for name, kind in _pasts(inputs)}
        self._bound: slice | None = None

    @property
    def size_bytes(self) -> int:
        return sum(int(buffer.nbytes) for buffer in self._buffers.values())

    def offer(self, binding: Any, sequences: slice, held: int) -> None:
        """What lies beyond the positions held is written over."""
        if self._bound == sequences:
            return
        for name, buffer in self._buffers.items():
            # A view: these sequences are neighbours in memory.
            part = onnxruntime.OrtValue.ortvalue_from_numpy(buffer[sequences])
            binding.bind_ortvalue_input(name, part)
            binding.bind_ortvalue_output(name.replace(PAST, PRESENT), part)
        self._bound = sequences

    def take(self, outputs: Sequence[Any]) -> None:
        """Nothing to do: what was written lies here."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` hold the first `length` positions of `source`."""
        for buffer in self._buffers.values():
            buffer[target, :, :length] = buffer[source, :, :length]


class GrowingCache:
    """Arrays [1, KV heads, tokens held, head size] of one sequence, bound anew for every run."""

    def __init__(self, inputs: Sequence[Any], shape: tuple[int, ...]) -> None:
        batch, heads, context, size = shape
        self._context = context
        self._values: dict[str, NDArray[Any]] = {
            name: np.zeros((batch, heads, 0, size), kind) for name, kind in _pasts(inputs)
        }

    @property
    def size_bytes(self) -> int:
        """Size of the cache of a full context."""
        rows = self._values.values()
        return sum(row.shape[1] * self._context * row.shape[3] * row.dtype.itemsize for row in rows)

    def offer(self, binding: Any, sequences: slice, held: int) -> None:
        """Bind the first `held` positions as past, and ask for the present."""
        for name, value in self._values.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value[:, :, :held]))
            binding.bind_output(name.replace(PAST, PRESENT), "cpu")

    def take(self, outputs: Sequence[Any]) -> None:
        """Keep the present, in the order of the past."""
        for name, output in zip(self._values, outputs, strict=True):
            self._values[name] = output.numpy()

    def copy(self, source: int, target: int, length: int) -> None:
        """Nothing to do: there is one sequence."""


def _pasts(inputs: Sequence[Any]) -> list[tuple[str, Any]]:
    """Name and number type of every input of keys or values. Raises RuntimeRefused."""
    rows = [row for row in inputs if row.name.startswith(f"{PAST}.")]
    for row in rows:
        if row.type not in TYPES:
            raise RuntimeRefused(f"The graph keeps keys and values as {row.type}.")
    return [(row.name, TYPES[row.type]) for row in rows]
