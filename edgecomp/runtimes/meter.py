"""Load time, time to first token, prefill and decode speed of one artifact, in a fresh process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.runtimes.memory_timeline import MemoryTimeline
from edgecomp.runtimes.protocol import Timing

CHARACTERS_PER_TOKEN = 8
"""More than tokenizers need for text in any script."""


class Reader(Protocol):
    """A loaded model's tokenizer."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def text(self, tokens: Sequence[int]) -> str: ...


Session = TypeVar("Session", bound=Reader)
TimeDecode = Callable[[Session, Sequence[int], int], dict[str, Any]]
"""Seconds of one prefill of the tokens and of each of so many greedy tokens after it."""


def measure(
    load: Callable[[], AbstractContextManager[Session]],
    time_decode: TimeDecode[Session],
    text: str,
    timing: Timing,
    progress: Progress,
    buffers: Callable[[Session], dict[str, int]] = lambda session: {},
) -> dict[str, Any]:
    """Time the model that `load` opens.

    One pass before the first repeat of a depth warms up and is not counted. The fields are those
    of `edgecomp.runtimes.protocol.RawMeasurement`; `buffers` names those the worker knows of.
    """
    timeline = MemoryTimeline()
    started = timeline.sample()
    began = time.perf_counter()
    opened = load()
    load_seconds = time.perf_counter() - began
    with opened as session:
        loaded = timeline.sample()
        tokens = _tokens(session, text, max(timing.depths))
        passes = []
        rounds = timing.repeats + 1
        steps = len(timing.depths) * rounds
        for row, depth in enumerate(timing.depths):
            runs = []
            prompt = session.text(tokens[:depth])
            for repeat in range(rounds):
                began = time.perf_counter()
                session.tokenize(prompt, add_special=True, parse_special=False)
                tokenize_seconds = time.perf_counter() - began
                run = time_decode(session, tokens[:depth], timing.decode_tokens)
                runs.append({"tokenize_seconds": tokenize_seconds, **run})
                timeline.sample()
                progress(row * rounds + repeat + 1, steps)
            passes.append({"depth": depth, "runs": runs[1:]})
        peak = timeline.sample()
        known = buffers(session)
    return {
        "load_seconds": load_seconds,
        "started_memory": started,
        "loaded_memory": loaded,
        "peak_memory": peak,
        "memory_timeline": timeline.samples,
        "buffer_bytes": known,
        "depths": passes,
    }


def time_model(
    load: Callable[[], AbstractContextManager[Session]],
    time_decode: TimeDecode[Session],
    timing: Timing,
) -> list[list[dict[str, Any]]]:
    """Repeated timings at each depth with token ids that mean nothing: for random models."""
    with load() as session:
        time_decode(session, [0] * min(timing.depths), 1)
        return [
            [time_decode(session, [0] * depth, timing.decode_tokens) for _ in range(timing.repeats)]
            for depth in timing.depths
        ]


def _tokens(session: Reader, text: str, count: int) -> list[int]:
    """At least `count` tokens from the beginning of `text`, repeated where it is short."""
    # No more of a long text than is needed: its tokens would count as the model's memory.
    beginning = text[: CHARACTERS_PER_TOKEN * count]
    tokens = session.tokenize(beginning, add_special=True, parse_special=False)
    if not tokens:
        raise RuntimeRefused("The text to measure with has no tokens.")
    while len(tokens) < count:
        tokens += tokens
    return tokens
