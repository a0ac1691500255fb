"""Greedy generation, several sequences to a batch; what all prompts begin with is read once."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.common.events import Progress
from edgecomp.runtimes.answers import ends_generation
from edgecomp.runtimes.llama_cpp.session import Session
from edgecomp.runtimes.splitting import common

TRUNK = 0


def generate(
    session: Session,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stops: Sequence[Sequence[str]],
    progress: Progress,
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `limits[i]` tokens each, without the end token, or
    up to the token that completes one of `stops[i]`.

    As many prompts run at once as the session has sequences and cells; a finished one makes room
    for the next, so a long answer holds up nobody.
    """
    trunk = _trunk(prompts) if session.settings.sequences > 1 else ()
    needs = [
        len(prompt) - len(trunk) + limit for prompt, limit in zip(prompts, limits, strict=True)
    ]
    session.clear()
    if trunk:
        session.prefill(trunk, TRUNK)
    waiting = list(reversed(range(len(prompts))))
    written: list[list[int]] = [[] for _ in prompts]
    free = list(range(1 if trunk else 0, session.settings.sequences))
    # By sequence, the prompt it answers and the token it goes on with.
    running: dict[int, int] = {}
    following: dict[int, int] = {}
    room = session.settings.context - len(trunk)
    while waiting or running:
        while waiting and free:
            together = [*running.values(), waiting[-1]]
            if running and sum(needs[item] for item in together) > room:
                break
            item, sequence = waiting.pop(), free.pop()
            if trunk:
                session.share(TRUNK, sequence)
            logits = session.prefill(prompts[item][len(trunk) :], sequence, len(trunk))
            running[sequence], following[sequence] = item, int(logits.argmax())
        for sequence, item in list(running.items()):
            token = following[sequence]
            if ends_generation(written[item], token, limits[item], stops[item], session):
                session.forget(sequence)
                free.append(sequence)
                del running[sequence]
                progress(len(prompts) - len(waiting) - len(running), len(prompts))
        following = _run_on(session, prompts, written, running)
    return written


def _run_on(
    session: Session,
    prompts: Sequence[Sequence[int]],
    written: Sequence[Sequence[int]],
    running: dict[int, int],
) -> dict[int, int]:
    """By sequence, the token that follows the last one written."""
    if running:
        ends = {row: len(prompts[item]) + len(written[item]) for row, item in running.items()}
        session.decode(
            [(written[item][-1], ends[row] - 1, (row,), True) for row, item in running.items()]
        )
    return {row: int(session.logits(index).argmax()) for index, row in enumerate(running)}


def _trunk(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """What several prompts begin with; each keeps a last token of its own, for its logits."""
    if len(prompts) < 2:
        return ()
    return prompts[0][: min(min(common(prompts[0], row), len(row) - 1) for row in prompts)]
