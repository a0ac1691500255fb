"""Serve many requests with one loaded model, as llama-server does: continuous batching.

Every step runs one batch: the next token of each sequence that is writing, then as much of the
waiting prompts as the micro-batch has room for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgecomp.common.events import Progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.session import Position, Session
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.serving_loop import ServingLoop
from edgecomp.runtimes.serving_prompts import cut_prompts


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
        served = Server(session, requests, prompts, seconds).run(progress)
    return {
        "load_seconds": load_seconds,
        **served,
        "peak_memory": process_memory().model_dump(),
    }


def _warm_up(session: Session, prompt: str) -> None:
    tokens = session.tokenize(prompt, add_special=True, parse_special=False)
    session.prefill(tokens[: session.settings.context])
    session.clear()


class Server(ServingLoop):
    """One load on llama.cpp."""

    def __init__(
        self,
        session: Session,
        requests: Sequence[dict[str, Any]],
        prompts: Sequence[str],
        seconds: float | None,
    ) -> None:
        settings = session.settings
        super().__init__(
            requests, prompts, seconds, context=settings.context, sequences=settings.sequences
        )
        self.session = session

    def tokenize(self, prompt: str) -> list[int]:
        return self.session.tokenize(prompt, add_special=True, parse_special=False)

    def step(self) -> list[tuple[int, int]]:
        batch: list[Position] = []
        rows: list[tuple[int, int]] = []
        for sequence, slot in self.running.items():
            if slot.following is not None:
                rows.append((len(batch), sequence))
                batch.append((slot.following, slot.held, (sequence,), True))
                slot.held += 1
        for sequence, slot in self.running.items():
            tokens = slot.request.tokens
            end = min(len(tokens), slot.held + self.session.settings.micro_batch - len(batch))
            for place in range(slot.held, end):
                last = place == len(tokens) - 1
                if last:
                    rows.append((len(batch), sequence))
                batch.append((tokens[place], place, (sequence,), last))
            slot.held = max(slot.held, end)
        self.session.decode(batch)
        return [(sequence, int(self.session.logits(row).argmax())) for row, sequence in rows]

    def forget(self, sequence: int) -> int:
        self.session.forget(sequence)
        return sequence
