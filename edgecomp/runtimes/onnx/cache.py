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

from edgecomp.errors import RuntimeRefused

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
PAST, PRESENT = "past_key_values", "present"


class SharedCache:
    """Buffers [1, KV heads, context, head size], bound as past and as present for good."""

    def __init__(self, binding: Any, inputs: Sequence[Any], shape: tuple[int, ...]) -> None:
        self._buffers = []
        for name, kind in _pasts(inputs):
            buffer = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, kind))
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace(PAST, PRESENT), buffer)
            self._buffers.append(buffer)

    @property
    def size_bytes(self) -> int:
        return sum(int(buffer.numpy().nbytes) for buffer in self._buffers)

    def offer(self, binding: Any, held: int) -> None:
        """Nothing to do: what lies beyond the positions held is written over."""

    def take(self, outputs: Sequence[Any]) -> None:
        """Nothing to do: what was written lies here."""


class GrowingCache:
    """Arrays [1, KV heads, tokens held, head size], bound anew for every run."""

    def __init__(self, inputs: Sequence[Any], shape: tuple[int, ...]) -> None:
        batch, heads, context, size = shape
        self._context = context
        self._values: dict[str, NDArray[Any]] = {
            name: np.zeros((batch, heads, 0, size), kind) for name, kind in _pasts(inputs)
        }

    @property
    def size_bytes(self) -> int:
        """Of a full context."""
        rows = self._values.values()
        return sum(row.shape[1] * self._context * row.shape[3] * row.dtype.itemsize for row in rows)

    def offer(self, binding: Any, held: int) -> None:
        """Bind the first `held` positions as past, and ask for the present."""
        for name, value in self._values.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value[:, :, :held]))
            binding.bind_output(name.replace(PAST, PRESENT), "cpu")

    def take(self, outputs: Sequence[Any]) -> None:
        """Keep the present, in the order of the past."""
        for name, output in zip(self._values, outputs, strict=True):
            self._values[name] = output.numpy()


def _pasts(inputs: Sequence[Any]) -> list[tuple[str, Any]]:
    """Name and number type of every input of keys or values. Raises RuntimeRefused."""
    rows = [row for row in inputs if row.name.startswith(f"{PAST}.")]
    for row in rows:
        if row.type not in TYPES:
            raise RuntimeRefused(f"The graph keeps keys and values as {row.type}.")
    return [(row.name, TYPES[row.type]) for row in rows]
