"""Serve many requests with one loaded ONNX model: continuous batching, prompts one at a time.

The graphs' operators take several tokens of one sequence, or one token of several. So a prompt is
read whole when its request gets a sequence, and then writes with the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.onnx.session import Session
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
    """Load the ONNX folder at `path` and serve `requests`, with prompts cut from `text`.

    With `seconds` the requests come round again until the time is over, and what is then under way
    is cut off. The fields are those of `edgecomp.runtimes.serving_load.RawServing`. Raises
    RuntimeRefused for several sequences where the graph takes one.
    """
    began = time.perf_counter()
    needs = (request["prompt_tokens"] + request["output_tokens"] for request in requests)
    longest, sequences = min(max(needs), settings.context), settings.sequences
    # Each sequence has a buffer for the longest request; what is never written takes no memory.
    roomy = settings.model_copy(update={"context": longest * sequences})
    session = Session(path, roomy, spin=True)
    if sequences > 1 and not session.takes_several:
        raise RuntimeRefused(
            f"The graph of {path} takes one sequence at a time: it has no position_ids, by which "
            "those of several are told apart. Serve it with --concurrency 1."
        )
    load_seconds = time.perf_counter() - began
    prompts = cut_prompts(session, text, [request["prompt_tokens"] for request in requests])
    session.prefill(session.tokenizer.prompt(prompts[0])[:longest])
    session.divide(sequences)
    served = Server(session, requests, prompts, seconds, settings).run(progress)
    return {
        "load_seconds": load_seconds,
        **served,
        "peak_memory": process_memory().model_dump(),
    }


class Server(ServingLoop):
    """One load on ONNX Runtime. The sequences that run are always the first ones."""

    def __init__(
        self,
        session: Session,
        requests: Sequence[dict[str, Any]],
        prompts: Sequence[str],
        seconds: float | None,
        settings: RunSettings,
    ) -> None:
        super().__init__(
            requests, prompts, seconds, context=settings.context, sequences=settings.sequences
        )
        self.session = session

    @property
    def longest(self) -> int:
        return self.session.room

    def tokenize(self, prompt: str) -> list[int]:
        return self.session.tokenize(prompt, add_special=True, parse_special=False)

    def step(self) -> list[tuple[int, int]]:
        for sequence, slot in self.running.items():
            if slot.following is None:
                logits = self.session.prefill(slot.request.tokens, sequence)
                slot.held = len(slot.request.tokens)
                # Written down when it is chosen, not when the others have gone on.
                return [(sequence, int(logits.argmax()))]
        following = [self.running[sequence].following or 0 for sequence in range(len(self.running))]
        chosen = self.session.extend_each(following).argmax(axis=-1)
        for slot in self.running.values():
            slot.held += 1
        return [(sequence, int(token)) for sequence, token in enumerate(chosen)]

    def forget(self, sequence: int) -> int:
        last = len(self.running)
        if sequence != last:
            self.session.copy(last, sequence)
            self.running[sequence] = self.running.pop(last)
        self.session.rewind(0, last)
        return last
