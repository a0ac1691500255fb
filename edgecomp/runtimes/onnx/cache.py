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

    def seen(self, totals: Sequence[int]) -> NDArray[np.bool_]:
        """Which positions [sequences, longest] hold one of so many tokens: the first."""
        return np.arange(max(totals)) < np.asarray(totals)[:, None]

    def offer(self, binding: Any, sequences: slice, held: Sequence[int]) -> None:
        """What lies beyond the positions held is written over."""
        if self._bound == sequences:
            return
        for name, buffer in self._buffers.items():
            # A view: these sequences are neighbours in memory.
            part = onnxruntime.OrtValue.ortvalue_from_numpy(buffer[sequences])
            binding.bind_ortvalue_input(name, part)
            binding.bind_ortvalue_output(name.replace(PAST, PRESENT), part)
        self._bound = sequences

    def take(self, outputs: Sequence[Any], sequences: slice, totals: Sequence[int]) -> None:
        """Nothing to do: what was written lies here."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` hold the first `length` positions of `source`."""
        for buffer in self._buffers.values():
            buffer[target, :, :length] = buffer[source, :, :length]


class GrowingCache:
    """Arrays [1, KV heads, tokens held, head size] of each sequence, bound anew for every run.

    Several that run together are filled up in front to the length of the longest, where the mask
    hides what was filled in. What comes of a run is the past of the next, as long as the same
    sequences go on.
    """

    def __init__(self, inputs: Sequence[Any], shape: tuple[int, ...]) -> None:
        count, heads, context, size = shape
        self._context = context
        self._rows: dict[str, list[NDArray[Any]]] = {
            name: [np.zeros((1, heads, 0, size), kind)] * count for name, kind in _pasts(inputs)
        }
        self._joined: tuple[slice, list[int], dict[str, NDArray[Any]]] | None = None

    @property
    def size_bytes(self) -> int:
        """Size of the cache of full contexts."""
        rows = (row for rows in self._rows.values() for row in rows)
        return sum(row.shape[1] * self._context * row.shape[3] * row.dtype.itemsize for row in rows)

    def seen(self, totals: Sequence[int]) -> NDArray[np.bool_]:
        """Which positions [sequences, longest] hold one of so many tokens: the last."""
        longest = max(totals)
        return np.arange(longest) >= longest - np.asarray(totals)[:, None]

    def offer(self, binding: Any, sequences: slice, held: Sequence[int]) -> None:
        """Bind what each sequence holds, its first `held` positions, as past, and ask for the
        present."""
        joined = self._joined
        if joined is None or joined[:2] != (sequences, list(held)):
            joined = (sequences, list(held), self._join(sequences, held))
            # What is bound must live until it has run.
            self._joined = joined
        for name, value in joined[2].items():
            binding.bind_cpu_input(name, value)
            binding.bind_output(name.replace(PAST, PRESENT), "cpu")

    def _join(self, sequences: slice, held: Sequence[int]) -> dict[str, NDArray[Any]]:
        longest = max(held)
        found = {}
        for name, rows in self._rows.items():
            chosen = [row[:, :, :n] for row, n in zip(rows[sequences], held, strict=True)]
            _, heads, _, size = chosen[0].shape
            both = np.zeros((len(chosen), heads, longest, size), chosen[0].dtype)
            for place, (row, count) in enumerate(zip(chosen, held, strict=True)):
                both[place, :, longest - count :] = row[0]
            found[name] = both
        return found

    def take(self, outputs: Sequence[Any], sequences: slice, totals: Sequence[int]) -> None:
        """Keep the present, in the order of the past."""
        longest, present = max(totals), {}
        for (name, rows), output in zip(self._rows.items(), outputs, strict=True):
            present[name] = both = output.numpy()
            for place, (index, total) in enumerate(
                zip(range(sequences.start, sequences.stop), totals, strict=True)
            ):
                rows[index] = both[place : place + 1, :, longest - total :]
        self._joined = (sequences, list(totals), present)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` hold the first `length` positions of `source`."""
        for rows in self._rows.values():
            rows[target] = rows[source][:, :, :length]
        self._joined = None


def _pasts(inputs: Sequence[Any]) -> list[tuple[str, Any]]:
    """Name and number type of every input of keys or values. Raises RuntimeRefused."""
    rows = [row for row in inputs if row.name.startswith(f"{PAST}.")]
    for row in rows:
        if row.type not in TYPES:
            raise RuntimeRefused(f"The graph keeps keys and values as {row.type}.")
    return [(row.name, TYPES[row.type]) for row in rows]
