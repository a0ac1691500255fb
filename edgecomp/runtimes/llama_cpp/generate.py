"""Greedy generation, several sequences to a batch."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.events import Progress
from edgecomp.runtimes.llama_cpp.session import Position, Session


def generate(
    session: Session,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    progress: Progress,
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `limits[i]` tokens each, without the end token.

    As many prompts run at once as the session has sequences and cells; a finished one makes room
    for the next, so a long answer holds up nobody.
    """
    waiting = list(reversed(range(len(prompts))))
    produced: list[list[int]] = [[] for _ in prompts]
    free = list(range(session.settings.sequences))
    running: dict[int, int] = {}
    reserved: dict[int, int] = {}
    next_token: dict[int, int] = {}
    session.clear()
    finished = 0
    while waiting or running:
        while waiting and free:
            item = waiting[-1]
            need = len(prompts[item]) + limits[item]
            if running and sum(reserved.values()) + need > session.settings.context:
                break
            waiting.pop()
            sequence = free.pop()
            running[sequence], reserved[sequence] = item, need
            next_token[sequence] = int(session.prefill(prompts[item], sequence).argmax())
        batch: list[Position] = []
        order: list[int] = []
        for sequence, item in list(running.items()):
            token = next_token[sequence]
            if len(produced[item]) >= limits[item] or session.ends_generation(token):
                session.forget(sequence)
                free.append(sequence)
                del running[sequence], reserved[sequence]
                finished += 1
                progress(finished, len(prompts))
                continue
            position = len(prompts[item]) + len(produced[item])
            produced[item].append(token)
            batch.append((token, position, (sequence,), True))
            order.append(sequence)
        if batch:
            session.decode(batch)
            for index, sequence in enumerate(order):
                next_token[sequence] = int(session.logits(index).argmax())
    return produced
