"""What ggml's allocator takes for the values of a graph.

A graph is run in order. Each value gets the smallest free place that holds it, else the end of the
buffer grows; its place is free again once all that read it have run. Some operations write over
their first operand of the same layout where nobody else reads it. The buffer is as long as the
furthest place that was ever taken, so what is lost between places counts (ggml/src/ggml-alloc.c as
of llama-cpp-python 0.3.36).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

ALIGNMENT = 32


class Value:
    """What an operation puts out, of a shape. A view lies where another value does."""

    __slots__ = ("over", "place", "readers", "root", "shape", "size", "sources", "views")

    def __init__(
        self,
        shape: tuple[int, ...],
        sources: Sequence[Value] = (),
        *,
        item_bytes: int = 4,
        over: bool = False,
        view_of: Value | None = None,
    ) -> None:
        """over: whether it may take the place of an operand."""
        size = 0 if view_of else item_bytes * prod(shape)
        self.size = -(-size // ALIGNMENT) * ALIGNMENT
        self.shape, self.over = shape, over
        self.sources = tuple(sources)
        self.root: Value | None = view_of and (view_of.root or view_of)
        self.place: int | None = None
        self.readers = self.views = 0


class Graph:
    """Values in the order in which they are computed: each after what it is computed from."""

    def __init__(self) -> None:
        self.leaves: list[Value] = []
        self.nodes: list[Value] = []
        self._seen: set[int] = set()

    def expand(self, value: Value) -> None:
        """Have `value` computed, and before it what it needs that was not yet."""
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        for source in value.sources:
            self.expand(source)
        (self.nodes if value.sources else self.leaves).append(value)


class _Places:
    """Free stretches of a buffer [start, end), sorted; the last has no end."""

    def __init__(self) -> None:
        self.free: list[list[float]] = [[0, float("inf")]]
        self.size = 0

    def take(self, size: int) -> int:
        fitting = [s for s in self.free[:-1] if s[1] - s[0] >= size]
        # Of equal ones the last.
        stretch = min(reversed(fitting), key=lambda s: s[1] - s[0], default=self.free[-1])
        start = int(stretch[0])
        stretch[0] += size
        if stretch[0] == stretch[1]:
            self.free.remove(stretch)
        self.size = max(self.size, start + size)
        return start

    def give_back(self, start: int, size: int) -> None:
        self.free.append([start, start + size])
        self.free.sort()
        joined: list[list[float]] = []
        for stretch in self.free:
            if joined and joined[-1][1] == stretch[0]:
                joined[-1][1] = stretch[1]
            else:
                joined.append(stretch)
        self.free = joined


def buffer_bytes(graph: Graph) -> int:
    """The buffer's length. A graph is measured once: its values remember their places."""
    places = _Places()
    for leaf in graph.leaves:
        _put(places, leaf)
    for node in graph.nodes:
        if node.root is not None:
            node.root.views += 1
        for source in node.sources:
            source.readers += 1
    for node in graph.nodes:
        _put(places, node)
        for source in node.sources:
            source.readers -= 1
            if source.readers or source.views:
                continue
            if source.root is None:
                _free(places, source)
                continue
            source.root.views -= 1
            if not source.root.views and not source.root.readers:
                _free(places, source.root)
    return places.size


def _put(places: _Places, value: Value) -> None:
    if value.root is not None or value.place is not None or not value.size:
        return
    for source in value.sources if value.over else ():
        # A view's place is never written over.
        alone = source.readers == 1 and source.views == 0 and source.place is not None
        if alone and source.shape == value.shape:
            value.place, source.place = source.place, None
            return
    value.place = places.take(value.size)


def _free(places: _Places, value: Value) -> None:
    if value.place is not None:
        places.give_back(value.place, value.size)
        value.place = None
