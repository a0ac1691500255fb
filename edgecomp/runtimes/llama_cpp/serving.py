"""Serve many requests with one loaded model, as llama-server does: continuous batching.

Every step runs one batch: the next token of each sequence that is writing, then as much of the
waiting prompts as the micro-batch has room for. A sequence that is done makes room for the next
request at once. Each request is tokenized when it comes in, and writes exactly as many tokens as
were asked for (an end token ends nothing), so that every artifact does the same work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from edgecomp.common.events import Progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.session import Position, Session
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.serving_prompts import cut_prompts

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


def serve(
    path: str,
    settings: RunSettings,
    text: str,
    requests: Sequence[dict[str, Any]],
    seconds: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Load the model at `path` and serve `requests`, with prompts cut from `text`.

    With `seconds` the requests come round again until the time is over, and what is then under way
    is cut off. The fields are those of `edgecomp.runtimes.serving_load.RawServing`.
    """
    began = time.perf_counter()
    with Session(path, settings) as session:
        load_seconds = time.perf_counter() - began
        prompts = cut_prompts(session, text, [request["prompt_tokens"] for request in requests])
        _warm_up(session, prompts[0])
        server = Server(session, list(requests), prompts, seconds)
        served = server.run(progress)
    return {
        "load_seconds": load_seconds,
        **served,
        "peak_memory": process_memory().model_dump(),
    }


def _warm_up(session: Session, prompt: str) -> None:
    tokens = session.tokenize(prompt, add_special=True, parse_special=False)
    session.prefill(tokens[: session.settings.context])
    session.clear()


class Server:
    """The state of one load: who waits, who runs in which sequence, and what was seen."""

    def __init__(
        self,
        session: Session,
        requests: list[dict[str, Any]],
        prompts: list[str],
        seconds: float | None,
    ) -> None:
        self.session = session
        self.settings = session.settings
        self.requests = requests
        self.prompts = prompts
        self.seconds = seconds
        self.closed_loop = requests[0]["arrival_seconds"] is None
        self.coming = self._order()
        self.next = next(self.coming, None)
        self.waiting: deque[Waiting] = deque()
        self.running: dict[int, Running] = {}
        self.free = list(range(self.settings.sequences))
        self.finished: list[dict[str, Any]] = []
        self.cells: list[tuple[float, int]] = []

    def run(self, progress: Progress) -> dict[str, Any]:
        """Serve until all is done, or the time is over."""
        progress(*self._done(0.0))
        began, reported, now = time.perf_counter(), 0.0, 0.0
        while self.seconds is None or now < self.seconds:
            self._receive(now)
            self._admit(began)
            if not self.running:
                if self.next is None:
                    break
                time.sleep(max(self._arrival() - (time.perf_counter() - began), 0.0))
            else:
                self._step(began)
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

    def _order(self) -> Iterator[int]:
        """Places of the requests to come; round and round while time limits the load."""
        rounds = count() if self.seconds is not None else range(1)
        return (index for _ in rounds for index in range(len(self.requests)))

    def _arrival(self) -> float:
        assert self.next is not None
        return float(self.requests[self.next]["arrival_seconds"] or 0.0)

    def _done(self, now: float) -> tuple[float, float]:
        if self.seconds is not None:
            return min(now, self.seconds), self.seconds
        return len(self.finished), len(self.requests)

    def _receive(self, now: float) -> None:
        """Take in the requests that have come by now: in a closed loop, one a free sequence."""
        while self.next is not None:
            if self.closed_loop:
                if len(self.waiting) >= len(self.free):
                    return
            elif self._arrival() > now:
                return
            arrived = now if self.closed_loop else self._arrival()
            self.waiting.append(self._tokenized(self.next, arrived))
            self.next = next(self.coming, None)

    def _tokenized(self, index: int, arrived: float) -> Waiting:
        output_tokens = self.requests[index]["output_tokens"]
        before = time.perf_counter()
        tokens = self.session.tokenize(self.prompts[index], add_special=True, parse_special=False)
        return Waiting(
            # A text tokenized again may be a little longer than the tokens it was made of.
            tokens=tokens[: self.settings.context - output_tokens],
            output_tokens=output_tokens,
            arrived=arrived,
            tokenize_seconds=time.perf_counter() - before,
        )

    def _admit(self, began: float) -> None:
        """Give waiting requests, in their order, a sequence and their cells of the cache."""
        while self.waiting and self.free:
            taken = sum(slot.request.cells for slot in self.running.values())
            if taken + self.waiting[0].cells > self.settings.context:
                return
            request = self.waiting.popleft()
            self.running[self.free.pop()] = Running(request, time.perf_counter() - began)

    def _step(self, began: float) -> None:
        """Run one batch, and hand each finished row to its request."""
        batch: list[Position] = []
        rows: list[tuple[int, int]] = []
        for sequence, slot in self.running.items():
            if slot.following is not None:
                rows.append((len(batch), sequence))
                batch.append((slot.following, slot.held, (sequence,), True))
                slot.held += 1
        for sequence, slot in self.running.items():
            tokens = slot.request.tokens
            end = min(len(tokens), slot.held + self.settings.micro_batch - len(batch))
            for place in range(slot.held, end):
                last = place == len(tokens) - 1
                if last:
                    rows.append((len(batch), sequence))
                batch.append((tokens[place], place, (sequence,), last))
            slot.held = max(slot.held, end)
        self.session.decode(batch)
        chosen = [(sequence, int(self.session.logits(row).argmax())) for row, sequence in rows]
        now = time.perf_counter() - began
        for sequence, token in chosen:
            slot = self.running[sequence]
            slot.following = token
            slot.written.append(now)
        self._release(now)

    def _release(self, now: float) -> None:
        held = sum(slot.held for slot in self.running.values())
        ended = [
            (sequence, slot)
            for sequence, slot in self.running.items()
            if len(slot.written) >= slot.request.output_tokens
        ]
        for sequence, slot in ended:
            del self.running[sequence]
            self.session.forget(sequence)
            self.free.append(sequence)
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
            self.cells.append((now, sum(slot.held for slot in self.running.values())))
