"""The types that lose least within any number of bytes, tensor by tensor, in milliseconds.

Each tensor's types form a curve of bytes and expected loss; its lower convex hull is a row of
steps, each of which saves less a byte than the one before. All tensors' steps, sorted by what they
save a byte, are the greedy solution of the multiple-choice knapsack, which is the best one at every
budget where a step ends (Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979). Between
two ends, later steps that still fit fill what is left. The largest tensors are too large for that:
all their types are tried. A job solves the same exactly, with measured losses
(compress/bit_allocation.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise, product
from typing import NamedTuple

from edgecomp.models.gguf.header import DEFAULT_ALIGNMENT
from edgecomp.models.gguf.size import padded_bytes
from edgecomp.models.spec import TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

ROUNDING = 1e-9
"""Relative; sums of losses in another order differ by less."""

LARGE_SHARE, MOST_LARGE = 0.03, 2
"""From this share of all weights on a tensor is large, and so many of them at most."""

Loss = Callable[[TensorSpec, str], float]
"""What a type costs a tensor."""

Size = Callable[[TensorSpec, str], int]
"""Bytes of a tensor in a type."""


class Option(NamedTuple):
    """One type of one tensor."""

    size_bytes: int
    """In a file, padded to its alignment."""

    loss: float
    kind: str


class Step(NamedTuple):
    """A tensor from the type before to a larger one."""

    tensor: str
    kind: str
    added_bytes: int
    saved_loss: float
    loss: float
    """What is lost then."""


@dataclass(frozen=True)
class TypeFrontier:
    """The least loss for every number of bytes."""

    large: Mapping[str, tuple[Option, ...]]
    """All sensible types of the largest tensors."""

    smallest: Mapping[str, Option]
    """The fewest bytes of each other tensor."""

    steps: tuple[Step, ...]
    """From there on, those that save most a byte first."""

    @cached_property
    def smallest_bytes(self) -> int:
        """Bytes of the smallest types of all."""
        return self._bytes_after[0] + sum(options[0].size_bytes for options in self.large.values())

    @cached_property
    def largest_bytes(self) -> int:
        """Bytes beyond which nothing more is saved."""
        large = sum(options[-1].size_bytes for options in self.large.values())
        return self._bytes_after[-1] + large

    @cached_property
    def least_loss(self) -> float:
        """What is lost with all bytes that save anything; 0: every tensor has an exact type."""
        large = sum(options[-1].loss for options in self.large.values())
        return large + sum(self._last_losses.values())

    @cached_property
    def _last_losses(self) -> dict[str, float]:
        losses = {name: option.loss for name, option in self.smallest.items()}
        return losses | {step.tensor: step.loss for step in self.steps}

    @cached_property
    def _bytes_after(self) -> tuple[int, ...]:
        """Bytes of all but the largest tensors after the first n steps, for every n."""
        first = sum(option.size_bytes for option in self.smallest.values())
        return tuple(accumulate((step.added_bytes for step in self.steps), initial=first))

    @cached_property
    def _loss_after(self) -> tuple[float, ...]:
        first = sum(option.loss for option in self.smallest.values())
        return tuple(accumulate((-step.saved_loss for step in self.steps), initial=first))

    def within(self, budget_bytes: int) -> dict[str, str]:
        """A type for each tensor, at most `budget_bytes` together where the smallest are."""
        best: tuple[tuple[Step, ...], Sequence[Option]] | None = None
        least = float("inf")
        for options in product(*self.large.values()):
            room = budget_bytes - sum(option.size_bytes for option in options)
            if room < self._bytes_after[0]:
                continue
            done = bisect_right(self._bytes_after, room) - 1
            loss = self._loss_after[done] + sum(option.loss for option in options)
            if loss - self._most_saved(done, room) > least:
                continue
            more = list(self._steps_within(done, room))
            loss -= sum(step.saved_loss for step in more)
            if loss < least:
                least, best = loss, ((*self.steps[:done], *more), options)
        smallest = [options[0] for options in self.large.values()]
        return self._types_after(*(best or ((), smallest)))

    def _most_saved(self, done: int, room: int) -> float:
        """What the steps after the first `done` could save at most, if a part of one could be
        taken: later ones save less a byte."""
        if done == len(self.steps):
            return 0.0
        following = self.steps[done]
        left = room - self._bytes_after[done]
        return (1 + ROUNDING) * left * following.saved_loss / following.added_bytes

    def _steps_within(self, done: int, room: int) -> Iterator[Step]:
        """The steps after the first `done` that still fit."""
        left, passed = room - self._bytes_after[done], set[str]()
        for at in range(done, len(self.steps)):
            if left < self._fewest_added[at]:
                return
            step = self.steps[at]
            # A tensor's steps build on each other: behind one that is left out none counts.
            if step.added_bytes > left or step.tensor in passed:
                passed.add(step.tensor)
            else:
                left -= step.added_bytes
                yield step

    @cached_property
    def _fewest_added(self) -> tuple[int, ...]:
        """The least that any step from the n-th on adds, for every n."""
        fewest = list(accumulate((step.added_bytes for step in reversed(self.steps)), min))
        return tuple(reversed(fewest))

    def _types_after(self, steps: Iterable[Step], large: Iterable[Option]) -> dict[str, str]:
        types = {name: option.kind for name, option in self.smallest.items()}
        types |= {step.tensor: step.kind for step in steps}
        return types | {name: option.kind for name, option in zip(self.large, large, strict=True)}


def type_frontier(
    choices: Mapping[str, Iterable[str]],
    tensors: Iterable[TensorSpec],
    loss: Loss,
    size: Size | None = None,
) -> TypeFrontier:
    """The frontier of those of `tensors` for which `choices` lists types by name; `size`: bytes of
    a tensor, in a GGUF file unless told."""
    size = size or file_bytes
    chosen = [tensor for tensor in tensors if choices.get(tensor.name)]
    total = sum(tensor.elements for tensor in chosen)
    by_size = sorted(chosen, key=lambda tensor: -tensor.elements)[:MOST_LARGE]
    large_names = {t.name for t in by_size if t.elements >= LARGE_SHARE * total}
    large: dict[str, tuple[Option, ...]] = {}
    smallest: dict[str, Option] = {}
    steps: list[Step] = []
    for tensor in chosen:
        kinds = choices[tensor.name]
        options = sorted(Option(size(tensor, k), loss(tensor, k), k) for k in kinds)
        if tensor.name in large_names:
            large[tensor.name] = _falling(options)
            continue
        hull = _hull(_falling(options))
        smallest[tensor.name] = hull[0]
        steps += [
            Step(tensor.name, b.kind, b.size_bytes - a.size_bytes, a.loss - b.loss, b.loss)
            for a, b in pairwise(hull)
        ]
    steps.sort(key=lambda step: -step.saved_loss / step.added_bytes)
    return TypeFrontier(large, smallest, tuple(steps))


def file_bytes(tensor: TensorSpec, kind: str) -> int:
    """Bytes of a tensor in a GGUF file of the usual alignment, padding included."""
    return _file_bytes(tensor.elements, kind)


@lru_cache(maxsize=4096)
def _file_bytes(elements: int, kind: str) -> int:
    return padded_bytes(TENSOR_TYPES[kind].size_bytes(elements), DEFAULT_ALIGNMENT)


def _falling(options: Iterable[Option]) -> tuple[Option, ...]:
    """Of options sorted by bytes, those that lose less than all smaller ones."""
    kept: list[Option] = []
    for option in options:
        if not kept or option.loss < kept[-1].loss:
            kept.append(option)
    return tuple(kept)


def _hull(options: Iterable[Option]) -> list[Option]:
    """The lower convex hull of falling options."""
    hull: list[Option] = []
    for option in options:
        while len(hull) > 1 and _saving(hull[-1], option) >= _saving(hull[-2], hull[-1]):
            hull.pop()
        hull.append(option)
    return hull


def _saving(before: Option, after: Option) -> float:
    """Loss saved a byte."""
    return (before.loss - after.loss) / (after.size_bytes - before.size_bytes)
