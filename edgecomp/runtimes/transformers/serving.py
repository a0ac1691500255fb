"""Serve many requests with one loaded model by transformers' own continuous batching.

Its manager batches in a thread of its own, over a paged cache that holds as many tokens as the
context. Here requests are handed to it as they come, in a closed loop one for each that ends, and
what it says of each is written down. Every request writes exactly as many tokens as were asked for
(an end token ends nothing), so that every artifact does the same work.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.serving_loop import REPORT_SECONDS, Coming
from edgecomp.runtimes.serving_prompts import cut_prompts
from edgecomp.runtimes.transformers.session import Session

PAGE_TOKENS = 32
"""Tokens of a page of the cache."""

NO_TOKEN = -1
"""Ends nothing."""

POLL_SECONDS = 0.2


def serve(
    path: str,
    settings: RunSettings,
    text: str,
    requests: Sequence[dict[str, Any]],
    seconds: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Load the folder at `path` and serve `requests`, with prompts cut from `text`.

    With `seconds` the requests come round again until the time is over, and what is then under way
    is cut off. The fields are those of `edgecomp.runtimes.serving_load.RawServing`. Raises
    RuntimeRefused where transformers cannot batch this model.
    """
    began = time.perf_counter()
    session = Session(path, settings)
    load_seconds = time.perf_counter() - began
    prompts = cut_prompts(session, text, [request["prompt_tokens"] for request in requests])
    kind: Any = GenerationConfig
    greedy = kind(do_sample=False, eos_token_id=NO_TOKEN)
    try:
        with session.model.continuous_batching_context_manager(
            generation_config=greedy,
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=-(-settings.context // PAGE_TOKENS),
                max_batch_tokens=settings.micro_batch,
                max_requests_per_batch=settings.sequences,
                # Each prompt is to be read whole.
                allow_block_sharing=False,
            ),
        ) as manager:
            served = _Load(session, manager, list(requests), prompts, seconds).run(progress)
    except RuntimeRefused:
        raise
    except Exception as error:
        # What its caches and attention do not support, each has its own exception.
        raise RuntimeRefused(
            f"transformers' continuous batching cannot serve {path} ({error}). `edgecomp evaluate` "
            "measures it with one request at a time."
        ) from error
    return {
        "load_seconds": load_seconds,
        **served,
        "peak_memory": process_memory().model_dump(),
    }


class _Load:
    """One load on its way: what is still to come, what is under way, and what was seen."""

    def __init__(
        self,
        session: Session,
        manager: Any,
        requests: list[dict[str, Any]],
        prompts: list[str],
        seconds: float | None,
    ) -> None:
        self.session = session
        self.manager = manager
        self.requests = requests
        self.prompts = prompts
        self.seconds = seconds
        self.coming = Coming(requests, seconds)
        self.under_way: dict[str, dict[str, Any]] = {}
        self.finished: list[dict[str, Any]] = []
        self.cells: list[tuple[float, int]] = []
        self.numbers = count()
        self.began = 0.0

    def run(self, progress: Progress) -> dict[str, Any]:
        """Serve until all is done, or the time is over."""
        self._serve_one()
        progress(*self._done(0.0))
        self.began, reported, now = time.perf_counter(), 0.0, 0.0
        while self.seconds is None or now < self.seconds:
            self._send(now)
            if not self.under_way and self.coming.next is None:
                break
            self._receive(self.manager.get_result(timeout=self._patience(now)))
            now = time.perf_counter() - self.began
            if now - reported >= REPORT_SECONDS:
                reported = now
                progress(*self._done(now))
        progress(*self._done(now))
        unfinished = [moment for row in self.under_way.values() for moment in row["token_seconds"]]
        return {
            "served_seconds": now,
            "requests": self.finished,
            "unfinished_token_seconds": sorted(unfinished),
            "cells": self.cells,
        }

    def _serve_one(self) -> None:
        """Warm up by a request that is not counted."""
        self._add("warm-up", self.session.tokenizer.prompt(self.prompts[0]), 1)
        while not (result := self.manager.get_result(timeout=POLL_SECONDS)):
            self._require_running()
        if result.error:
            raise RuntimeRefused(f"transformers' continuous batching failed: {result.error}")

    def _send(self, now: float) -> None:
        """Hand over what has come by now: in a closed loop, one a free sequence."""
        coming = self.coming
        while coming.next is not None:
            wanted = self.requests[coming.next]
            if coming.closed_loop:
                if len(self.under_way) >= self.session.settings.sequences:
                    return
            elif coming.arrival > now:
                return
            arrived = now if coming.closed_loop else coming.arrival
            before = time.perf_counter()
            tokens = self.session.tokenize(
                self.prompts[coming.next], add_special=True, parse_special=False
            )
            # A text tokenized again may be a little longer than the tokens it was made of.
            tokens = tokens[: self.session.settings.context - wanted["output_tokens"]]
            name = str(next(self.numbers))
            self.under_way[name] = {
                "prompt_tokens": len(tokens),
                "arrived_seconds": arrived,
                "tokenize_seconds": time.perf_counter() - before,
                "token_seconds": [],
            }
            self._add(name, tokens, wanted["output_tokens"])
            coming.advance()

    def _add(self, name: str, tokens: list[int], output_tokens: int) -> None:
        self.manager.add_request(
            tokens,
            request_id=name,
            max_new_tokens=output_tokens,
            eos_token_id=NO_TOKEN,
            streaming=True,
            record_timestamps=True,
        )

    def _patience(self, now: float) -> float:
        """Seconds to wait for a result: no longer than until the next request comes."""
        if self.coming.closed_loop or self.coming.next is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(self.coming.arrival - now, 0.001))

    def _receive(self, result: Any) -> None:
        """Write down what the manager says of a request that has gone on."""
        if result is None:
            self._require_running()
            return
        if result.error:
            raise RuntimeRefused(f"transformers' continuous batching failed: {result.error}")
        row = self.under_way[result.request_id]
        admitted, _ = result.lifespan
        row["admitted_seconds"] = admitted - self.began
        row["token_seconds"] = [moment - self.began for moment in result.timestamps]
        if result.is_finished():
            # Cells are at their most just before a request leaves.
            moment = row["token_seconds"][-1]
            self.cells.append((moment, self._held()))
            self.finished.append(self.under_way.pop(result.request_id))
            self.cells.append((moment, self._held()))

    def _held(self) -> int:
        """Cells of the requests that have begun to write."""
        return sum(
            row["prompt_tokens"] + len(row["token_seconds"])
            for row in self.under_way.values()
            if row["token_seconds"]
        )

    def _require_running(self) -> None:
        if not self.manager.is_running():
            fault = self.manager.background_thread_status.fatal_error
            raise RuntimeRefused(f"transformers' continuous batching ended: {fault}")

    def _done(self, now: float) -> tuple[float, float]:
        return self.coming.done(len(self.finished), now)
