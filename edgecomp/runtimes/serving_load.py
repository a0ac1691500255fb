"""What a server is loaded with, and what it did: requests drawn by a seed, and their timings.

Prompt and output lengths are log-normal: most requests are short, a few long. A closed loop keeps
as many requests under way as there are sequences, so the queue is always empty; with Poisson
arrivals requests come at a mean rate, whether or not the server keeps up, and may queue.
"""

from __future__ import annotations

import math
import random
from typing import Literal

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.runtimes.process_memory import ProcessMemory

Arrivals = Literal["closed loop", "Poisson"]


class ServingLoad(FrozenModel):
    """The distribution of requests. Lengths are tokens; same seed, same requests."""

    prompt_median_tokens: int = Field(default=128, gt=0)
    output_median_tokens: int = Field(default=64, gt=0)
    spread: float = Field(default=0.7, ge=0)
    """Standard deviation of the lengths' logarithms."""

    longest_prompt_tokens: int = Field(default=512, gt=0)
    longest_output_tokens: int = Field(default=256, gt=0)
    requests_per_second: float | None = Field(default=None, gt=0)
    """Mean rate of Poisson arrivals; None: a closed loop."""

    seed: int = 0

    @property
    def arrivals(self) -> Arrivals:
        return "closed loop" if self.requests_per_second is None else "Poisson"

    @property
    def longest_tokens(self) -> int:
        """Cells of the KV cache that the longest request can take."""
        return self.longest_prompt_tokens + self.longest_output_tokens

    def within(self, context: int) -> ServingLoad:
        """The same load, its lengths scaled down where its longest request exceeds `context`."""
        share = min(1.0, context / self.longest_tokens)
        if share == 1.0:
            return self
        names = (
            "prompt_median_tokens", "output_median_tokens", "longest_prompt_tokens",
            "longest_output_tokens",
        )  # fmt: skip
        return self.model_copy(
            update={name: max(1, math.floor(getattr(self, name) * share)) for name in names}
        )


class DrawnRequest(FrozenModel):
    """One request before it is sent."""

    prompt_tokens: int
    output_tokens: int
    arrival_seconds: float | None
    """After the load began; None in a closed loop, where it comes when a sequence is free."""


class ServedRequest(FrozenModel):
    """One finished request. Seconds count from the beginning of the load."""

    prompt_tokens: int
    arrived_seconds: float
    admitted_seconds: float
    """When it got a sequence and room in the KV cache."""

    tokenize_seconds: float
    token_seconds: tuple[float, ...]
    """When each of its tokens was written."""


class RawServing(FrozenModel):
    """What a worker saw while it served one load."""

    load_seconds: float
    served_seconds: float
    requests: tuple[ServedRequest, ...]
    unfinished_token_seconds: tuple[float, ...]
    """Tokens of requests that the end of a timed load cut off."""

    cells: tuple[tuple[float, int], ...]
    """(seconds, cells of the KV cache in use), wherever the number of requests changed."""

    peak_memory: ProcessMemory


def draw_requests(load: ServingLoad, count: int) -> tuple[DrawnRequest, ...]:
    """The first `count` requests of a load: the same whatever the count."""
    lengths, gaps = random.Random(f"{load.seed}-lengths"), random.Random(f"{load.seed}-gaps")
    rate = load.requests_per_second
    requests = []
    arrival = 0.0
    for _ in range(count):
        prompt = _length(lengths, load.prompt_median_tokens, load.spread)
        output = _length(lengths, load.output_median_tokens, load.spread)
        arrival += gaps.expovariate(rate) if rate else 0.0
        requests.append(
            DrawnRequest(
                prompt_tokens=min(prompt, load.longest_prompt_tokens),
                output_tokens=min(output, load.longest_output_tokens),
                arrival_seconds=arrival if rate else None,
            )
        )
    return tuple(requests)


def _length(source: random.Random, median: int, spread: float) -> int:
    return max(1, round(source.lognormvariate(math.log(median), spread)))
