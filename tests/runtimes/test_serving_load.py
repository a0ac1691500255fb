"""Requests drawn for a load: repeatable, within their bounds, at the rate asked for."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from edgecomp.runtimes.serving_load import ServingLoad, draw_requests


@given(seed=st.integers(0, 99), count=st.integers(1, 40), more=st.integers(0, 40))
def test_a_shorter_load_is_the_beginning_of_a_longer_one(seed: int, count: int, more: int) -> None:
    load = ServingLoad(seed=seed, requests_per_second=3.0)
    assert draw_requests(load, count + more)[:count] == draw_requests(load, count)


@given(
    prompt=st.integers(1, 300), output=st.integers(1, 300), context=st.integers(2, 2000),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_no_request_is_longer_than_the_context(
    prompt: int, output: int, context: int, seed: int
) -> None:
    load = ServingLoad(prompt_median_tokens=prompt, output_median_tokens=output, seed=seed).within(
        context
    )
    for request in draw_requests(load, 30):
        assert request.prompt_tokens >= 1 and request.output_tokens >= 1
        assert request.prompt_tokens + request.output_tokens <= context


def test_lengths_lie_around_their_median_and_differ() -> None:
    requests = draw_requests(ServingLoad(), 2000)
    prompts = [request.prompt_tokens for request in requests]
    assert 115 < statistics.median(prompts) < 141
    assert max(prompts) == 512 and len(set(prompts)) > 100


def test_poisson_arrivals_come_at_the_rate_asked_for_and_a_closed_loop_has_none() -> None:
    requests = draw_requests(ServingLoad(requests_per_second=5.0), 4000)
    arrivals = [request.arrival_seconds or 0.0 for request in requests]
    assert arrivals == sorted(arrivals)
    assert 4.7 < len(arrivals) / arrivals[-1] < 5.3
    assert {request.arrival_seconds for request in draw_requests(ServingLoad(), 5)} == {None}
