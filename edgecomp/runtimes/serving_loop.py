"""The loop of a server with continuous batching: who waits, who runs in which sequence, what was
seen. What a step runs is each runtime's own.

A sequence that is done makes room for the next request at once. Each request is tokenized when it
comes in, and writes exactly as many tokens as were asked for (an end token ends nothing), so that
every artifact does the same work.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from edgecomp.common.events import Progress

REPORT_SECONDS = 1.0


@dataclass
class Waiting:
    """A request that has come in, is tokenized, and has no sequence yet."""

    tokens: list[int]
    output_tokens: int
    arrived: float
    tokenize_seconds: float

    @property
    def cells(self) -> int:
        """What it takes of the KV cache in the end."""
        return len(self.tokens) + self.output_tokens


@dataclass
class Running:
    """A request in a sequence: `held` of its tokens are in the KV cache."""

    request: Waiting
    admitted: float
    held: int = 0
    following: int | None = None
    """The token that was chosen last and is not yet in the cache."""

    written: list[float] = field(default_factory=list)


class Coming:
    """The requests of a load in their order, round and round while time limits the load."""

    def __init__(self, requests: Sequence[dict[str, Any]], seconds: float | None) -> None:
        self.requests, self.seconds = requests, seconds
        self.closed_loop = requests[0]["arrival_seconds"] is None
        rounds = count() if seconds is not None else range(1)
        self._places = (index for _ in rounds for index in range(len(requests)))
        self.next = next(self._places, None)
        """The place of the request that comes next; None: all have come."""

    def advance(self) -> None:
        """Go on to the request after the next."""
        self.next = next(self._places, None)

    @property
    def arrival(self) -> float:
        """Seconds after which the next request comes, unless others must end before."""
        assert self.next is not None
        return float(self.requests[self.next]["arrival_seconds"] or 0.0)

    def done(self, finished: int, now: float) -> tuple[float, float]:
        """How far the load is, and what is all of it."""
        if self.seconds is not None:
            return min(now, self.seconds), self.seconds
        return finished, len(self.requests)


class ServingLoop(ABC):
    """The state of one load. `context`: cells that all sequences share."""

    def __init__(
        self,
        requests: Sequence[dict[str, Any]],
        prompts: Sequence[str],
        seconds: float | None,
        *,
        context: int,
        sequences: int,
    ) -> None:
        self.requests = requests
        self.prompts = prompts
        self.seconds = seconds
        self.context = context
        self.coming = Coming(requests, seconds)
        self.waiting: deque[Waiting] = deque()
        self.running: dict[int, Running] = {}
        self.free = set(range(sequences))
        self.finished: list[dict[str, Any]] = []
        self.cells: list[tuple[float, int]] = []

    @abstractmethod
    def tokenize(self, prompt: str) -> list[int]:
        """Token ids of a prompt, with the special tokens that begin it."""

    @abstractmethod
    def step(self) -> list[tuple[int, int]]:
        """Run one batch; the tokens that were chosen, each with its sequence."""

    @abstractmethod
    def forget(self, sequence: int) -> int:
        """Let a sequence hold nothing; the one that is free then, where the last takes its
        place."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Serve until all is done, or the time is over. The fields are those of
        `edgecomp.runtimes.serving_load.RawServing`, less what the process knows."""
        progress(*self._done(0.0))
        began, reported, now = time.perf_counter(), 0.0, 0.0
        while self.seconds is None or now < self.seconds:
            self._receive(now)
            self._admit(began)
            if not self.running:
                if self.coming.next is None:
                    break
                time.sleep(max(self.coming.arrival - (time.perf_counter() - began), 0.0))
            else:
                self._write_down(self.step(), began)
            now = time.perf_counter() - began
            if now - reported >= REPORT_SECONDS:
                reported = now
                progress(*self._done(now))
        progress(*self._done(now))
        unfinished = [moment for slot in self.running.values() for moment in slot.written]
        return {
            "served_seconds": now,
            "requests": self.finished,
            "unfinished_token_seconds": sorted(unfinished),
            "cells": self.cells,
        }

    def _done(self, now: float) -> tuple[float, float]:
        return self.coming.done(len(self.finished), now)

    def _receive(self, now: float) -> None:
        """Take in the requests that have come by now: in a closed loop, one a free sequence."""
        coming = self.coming
        while coming.next is not None:
            if coming.closed_loop:
                if len(self.waiting) >= len(self.free):
                    return
            elif coming.arrival > now:
                return
            arrived = now if coming.closed_loop else coming.arrival
            self.waiting.append(self._tokenized(coming.next, arrived))
            coming.advance()

    def _tokenized(self, index: int, arrived: float) -> Waiting:
        output_tokens = self.requests[index]["output_tokens"]
        before = time.perf_counter()
        tokens = self.tokenize(self.prompts[index])
        return Waiting(
            # A text tokenized again may be a little longer than the tokens it was made of.
            tokens=tokens[: self.longest - output_tokens],
            output_tokens=output_tokens,
            arrived=arrived,
            tokenize_seconds=time.perf_counter() - before,
        )

    @property
    def longest(self) -> int:
        """Cells that one sequence can take."""
        return self.context

    def _admit(self, began: float) -> None:
        """Give waiting requests, in their order, a sequence and their cells of the cache."""
        while self.waiting and self.free:
            taken = sum(slot.request.cells for slot in self.running.values())
            if taken + self.waiting[0].cells > self.context:
                return
            request = self.waiting.popleft()
            sequence = min(self.free)
            self.free.remove(sequence)
            self.running[sequence] = Running(request, time.perf_counter() - began)

    def _write_down(self, chosen: Sequence[tuple[int, int]], began: float) -> None:
        now = time.perf_counter() - began
        for sequence, token in chosen:
            slot = self.running[sequence]
            slot.following = token
            slot.written.append(now)
        self._release(now)

    def _release(self, now: float) -> None:
        held = self._held()
        ended = [
            sequence
            for sequence, slot in self.running.items()
            if len(slot.written) >= slot.request.output_tokens
        ]
        # From the last on: one that takes the place of another has not ended.
        for sequence in sorted(ended, reverse=True):
            slot = self.running.pop(sequence)
            self.free.add(self.forget(sequence))
            self.finished.append(
                {
                    "prompt_tokens": len(slot.request.tokens),
                    "arrived_seconds": slot.request.arrived,
                    "admitted_seconds": slot.admitted,
                    "tokenize_seconds": slot.request.tokenize_seconds,
                    "token_seconds": slot.written,
                }
            )
        if ended:
            # Cells are at their most just before a request leaves.
            self.cells.append((now, held))
            self.cells.append((now, self._held()))

    def _held(self) -> int:
        return sum(slot.held for slot in self.running.values())
