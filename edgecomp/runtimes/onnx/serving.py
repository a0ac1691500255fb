"""Serve many requests with one loaded ONNX model: continuous batching, prompts one at a time.

The graphs' operators take several tokens of one sequence, or one token of several. So a step reads
a piece of one prompt, a micro batch long, and then writes the next token of all that have read
theirs: a long prompt holds nobody up for longer than a piece.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.onnx.session import Logits, Session
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
    """One load on ONNX Runtime. Those that write are always the first sequences, and those that
    still read their prompts follow."""

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
        writing = self._writing()
        chosen = []
        if writing < len(self.running):
            logits = self._read_piece(writing)
            if logits is not None:
                chosen.append((writing, int(logits.argmax())))
        if writing:
            following = [self.running[sequence].following or 0 for sequence in range(writing)]
            rows = self.session.extend_each(following)
            for sequence, row in enumerate(rows):
                self.running[sequence].held += 1
                chosen.append((sequence, int(row.argmax())))
        return chosen

    def _writing(self) -> int:
        """How many have read their prompts."""
        return sum(slot.following is not None for slot in self.running.values())

    def _read_piece(self, sequence: int) -> Logits | None:
        """Read on in a prompt; the logits of its last token where that was read."""
        slot = self.running[sequence]
        if not slot.held:
            self.session.rewind(0, sequence)
        end = slot.held + self.session.settings.micro_batch
        piece = slot.request.tokens[slot.held : end]
        logits = self.session.extend(piece, sequence)
        slot.held += len(piece)
        last: Logits = logits[-1]
        return last if slot.held == len(slot.request.tokens) else None

    def forget(self, sequence: int) -> int:
        # Its place goes to the last that writes, and that one's to the last of all.
        for source in (self._writing(), len(self.running)):
            if source > sequence:
                self.session.copy(source, sequence)
                self.running[sequence] = self.running.pop(source)
                sequence = source
        return sequence
