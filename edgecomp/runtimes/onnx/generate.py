"""Greedy generation, several sequences to a run where the graph can have them."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.common.events import Progress
from edgecomp.runtimes.answers import ends_generation
from edgecomp.runtimes.onnx.session import Session


def generate(
    session: Session,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stops: Sequence[Sequence[str]],
    progress: Progress,
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `limits[i]` tokens each, without the end token, or
    up to the token that completes one of `stops[i]`.

    A finished one makes room for the next, so a long answer holds up nobody.
    """
    session.divide(_sequences_together(session, prompts, limits))
    waiting = list(reversed(range(len(prompts))))
    written: list[list[int]] = [[] for _ in prompts]
    # Of each sequence that runs, the prompt it answers and the token it goes on with.
    running: list[int] = []
    following: list[int] = []
    while waiting or running:
        while waiting and len(running) < session.sequences:
            item = waiting.pop()
            following.append(int(session.prefill(prompts[item], len(running)).argmax()))
            running.append(item)
        for sequence in reversed(range(len(running))):
            item, token = running[sequence], following[sequence]
            if ends_generation(written[item], token, limits[item], stops[item], session.tokenizer):
                _retire(session, running, following, sequence)
                progress(len(prompts) - len(waiting) - len(running), len(prompts))
        if running:
            following = session.extend_each(following).argmax(axis=-1).tolist()
    return written


def _sequences_together(
    session: Session, prompts: Sequence[Sequence[int]], limits: Sequence[int]
) -> int:
    """How many sequences the context is divided among, so that each prompt and its answer fit."""
    if not session.takes_several:
        return 1
    needs = (len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
    settings = session.settings
    return max(1, min(len(prompts), settings.sequences, settings.context // max(needs, default=1)))


def _retire(session: Session, running: list[int], following: list[int], sequence: int) -> None:
    """Let the last sequence that runs take the place of one that is finished."""
    last = len(running) - 1
    if sequence != last:
        session.copy(last, sequence)
        running[sequence], following[sequence] = running[last], following[last]
    del running[last], following[last]
