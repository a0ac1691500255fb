"""The speed of a loaded model: seconds of prefill and of each token after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edgecomp.runtimes.transformers.session import Session


def time_decode(session: Session, prompt: Sequence[int], decode_tokens: int) -> dict[str, Any]:
    """Seconds of one prefill of `prompt` and of each of `decode_tokens` greedy tokens after it."""
    session.rewind()
    began = time.perf_counter()
    # Taking the token's number waits for a card to be done.
    token = int(session.prefill(prompt).argmax())
    prefill_seconds = time.perf_counter() - began
    token_seconds = []
    for _ in range(decode_tokens):
        before = time.perf_counter()
        token = int(session.extend([token], last_only=True)[-1].argmax())
        token_seconds.append(time.perf_counter() - before)
    return {"prefill_seconds": prefill_seconds, "token_seconds": token_seconds}
