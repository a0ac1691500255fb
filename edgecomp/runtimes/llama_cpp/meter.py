"""Load time, time to first token, prefill and decode speed of one artifact, in a fresh process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgecomp.errors import RuntimeRefused
from edgecomp.events import Progress
from edgecomp.measure.memory_timeline import MemoryTimeline
from edgecomp.runtimes.llama_cpp.session import Session
from edgecomp.runtimes.settings import RunSettings

CHARACTERS_PER_TOKEN = 8
"""More than tokenizers need for text in any script."""


def measure(
    path: str,
    settings: RunSettings,
    text: str,
    depths: Sequence[int],
    decode_tokens: int,
    repeats: int,
    progress: Progress,
) -> dict[str, Any]:
    """Time the model at `path` at each depth (tokens already in the context).

    One pass before the first repeat of a depth warms up and is not counted. The fields are those
    of `edgecomp.runtimes.protocol.RawMeasurement`, less the buffers.
    """
    timeline = MemoryTimeline()
    started = timeline.sample()
    began = time.perf_counter()
    session = Session(path, settings)
    load_seconds = time.perf_counter() - began
    with session:
        loaded = timeline.sample()
        # No more of a long text than is needed: its tokens would count as the model's memory.
        beginning = text[: CHARACTERS_PER_TOKEN * max(depths)]
        tokens = session.tokenize(beginning, add_special=True, parse_special=False)
        if not tokens:
            raise RuntimeRefused("The text to measure with has no tokens.")
        while len(tokens) < max(depths):
            tokens += tokens
        passes = []
        steps = len(depths) * (repeats + 1)
        for row, depth in enumerate(depths):
            runs = []
            prompt = session.text(tokens[:depth])
            for repeat in range(repeats + 1):
                began = time.perf_counter()
                session.tokenize(prompt, add_special=True, parse_special=False)
                tokenize_seconds = time.perf_counter() - began
                run = pace(session, tokens[:depth], decode_tokens)
                runs.append({"tokenize_seconds": tokenize_seconds, **run})
                timeline.sample()
                progress(row * (repeats + 1) + repeat + 1, steps)
            passes.append({"depth": depth, "runs": runs[1:]})
        peak = timeline.sample()
    return {
        "load_seconds": load_seconds,
        "started_memory": started,
        "loaded_memory": loaded,
        "peak_memory": peak,
        "memory_timeline": timeline.samples,
        "depths": passes,
    }


def pace(session: Session, prompt: Sequence[int], decode_tokens: int) -> dict[str, Any]:
    """Seconds of one prefill of `prompt` and of each of `decode_tokens` greedy tokens after it."""
    session.clear()
    began = time.perf_counter()
    token = int(session.prefill(prompt).argmax())
    prefill_seconds = time.perf_counter() - began
    token_seconds = []
    for index in range(decode_tokens):
        before = time.perf_counter()
        session.decode([(token, len(prompt) + index, 0, True)])
        token = int(session.logits(0).argmax())
        token_seconds.append(time.perf_counter() - before)
    return {"prefill_seconds": prefill_seconds, "token_seconds": token_seconds}
