"""Greedy generation and choice scoring, several sequences to a batch."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.events import Progress
from edgecomp.runtimes.divergence import log_probabilities
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
            batch.append((token, position, sequence, True))
            order.append(sequence)
        if batch:
            session.decode(batch)
            for index, sequence in enumerate(order):
                next_token[sequence] = int(session.logits(index).argmax())
    return produced


def score_choices(
    session: Session,
    questions: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]],
    progress: Progress,
) -> list[list[float]]:
    """Log-likelihood (nats) of each choice after its question's context.

    `questions` are (context tokens, choices' tokens). The context is run once and shared by the
    choices, which then run together.
    """
    scores: list[list[float]] = []
    for index, (context, choices) in enumerate(questions):
        session.clear()
        first = log_probabilities(session.prefill(context, 0))
        values = [float(first[choice[0]]) for choice in choices]
        room = session.settings.sequences - 1
        for begin in range(0, len(choices), room):
            group = range(begin, min(begin + room, len(choices)))
            for slot in range(1, len(group) + 1):
                session.share(0, slot)
            _add_continuations(session, len(context), choices, group, values)
            for slot in range(1, room + 1):
                session.forget(slot)
        scores.append(values)
        progress(index + 1, len(questions))
    return scores


def _add_continuations(
    session: Session,
    start: int,
    choices: Sequence[Sequence[int]],
    group: range,
    values: list[float],
) -> None:
    entries: list[tuple[Position, int, int]] = []
    for slot, choice in enumerate(group, start=1):
        tokens = choices[choice]
        for offset, token in enumerate(tokens[:-1]):
            entries.append(((token, start + offset, slot, True), choice, tokens[offset + 1]))
    step = min(session.settings.micro_batch, session.settings.outputs)
    for begin in range(0, len(entries), step):
        part = entries[begin : begin + step]
        session.decode([position for position, _, _ in part])
        for row, (_, choice, following) in enumerate(part):
            values[choice] += float(log_probabilities(session.logits(row))[following])
