"""Log-likelihoods of choices, the questions that begin alike sharing what they begin with.

Questions are taken in the order of their tokens, so those with a common beginning (a system turn,
the examples of a few-shot prompt) are neighbours. That beginning, the trunk, stays in sequence 0;
each question's own tokens belong to the sequences of all its choices, each choice's to its own, and
the questions of a pack run in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.runtimes.divergence import log_probability
from edgecomp.runtimes.llama_cpp.session import Position, Session
from edgecomp.runtimes.splitting import common

Tokens = Sequence[int]
Question = tuple[Tokens, Sequence[Tokens]]
"""The tokens of a context, and those of each choice."""

TRUNK = 0


class Job(NamedTuple):
    """Choices of one question that run together."""

    question: int
    choices: range


class Wanted(NamedTuple):
    """The token of a choice whose log-probability a row of logits gives."""

    job: Job
    choice: int
    token: int


def score_choices(
    session: Session, questions: Sequence[Question], progress: Progress
) -> list[list[tuple[float, bool]]]:
    """Log-likelihood in nats of each choice after its question's context, and whether each of its
    tokens is the most likely one. Raises RuntimeRefused for an empty context."""
    if not all(context for context, _ in questions):
        raise RuntimeRefused("A choice needs at least one token before it to be scored after.")
    scores = [[(0.0, True)] * len(choices) for _, choices in questions]
    waiting = _jobs(questions, session.settings.sequences - 1)
    held: Tokens = ()
    done, count = 0, len(waiting)
    session.clear()
    while waiting:
        pack, trunk = _next_pack(waiting, questions, session)
        del waiting[: len(pack)]
        _hold_trunk(session, held, trunk)
        held = trunk
        _score_pack(session, questions, pack, len(trunk), scores)
        done += len(pack)
        progress(done, count)
    return scores


def following_likelihoods(session: Session, prompt: Tokens, rest: Tokens) -> list[float]:
    """Log-likelihood in nats of each token of `rest` after all that comes before it."""
    session.clear()
    found = []
    read, start = prompt, 0
    for token in rest:
        logits = session.prefill(read, start=start)
        found.append(log_probability(logits, [token])[0][0])
        read, start = [token], start + len(read)
    return found


def _jobs(questions: Sequence[Question], room: int) -> list[Job]:
    """Every choice once, at most `room` of them together, by the tokens of the context."""
    jobs = [
        Job(index, range(begin, min(begin + room, len(choices))))
        for index, (_, choices) in enumerate(questions)
        for begin in range(0, len(choices), room)
    ]
    return sorted(jobs, key=lambda job: list(questions[job.question][0]))


def _next_pack(
    waiting: Sequence[Job], questions: Sequence[Question], session: Session
) -> tuple[list[Job], Tokens]:
    """The first jobs of `waiting` that fit into a batch, at least one; what all of them begin with.

    A trunk leaves every context a last token of its own: its logits are the first choice token's.
    """
    first = questions[waiting[0].question][0]
    pack, shared = [waiting[0]], len(first) - 1
    limits = session.settings
    sequences = len(waiting[0].choices)
    tokens = _tokens(waiting[0], questions)
    for job in waiting[1:]:
        context = questions[job.question][0]
        sequences += len(job.choices)
        tokens += _tokens(job, questions)
        beginning = min(common(first, context), len(context) - 1, shared)
        own = tokens - beginning * (len(pack) + 1)
        if sequences >= limits.sequences or own > limits.micro_batch:
            break
        if beginning + own > limits.context:
            break
        pack.append(job)
        shared = beginning
    return pack, first[:shared]


def _tokens(job: Job, questions: Sequence[Question]) -> int:
    context, choices = questions[job.question]
    return len(context) + sum(len(choices[choice]) - 1 for choice in job.choices)


def _hold_trunk(session: Session, held: Tokens, trunk: Tokens) -> None:
    """Have sequence 0 hold `trunk` instead of `held`, and nothing else hold anything."""
    for sequence in range(1, session.settings.sequences):
        session.forget(sequence)
    kept = common(held, trunk)
    session.forget(TRUNK, kept)
    if kept < len(trunk):
        session.prefill(trunk[kept:], TRUNK, kept)


def _score_pack(
    session: Session,
    questions: Sequence[Question],
    pack: Sequence[Job],
    start: int,
    scores: list[list[tuple[float, bool]]],
) -> None:
    """Add the scores of `pack`, whose contexts are held up to `start`."""
    entries: list[Position] = []
    wanted: list[list[Wanted]] = []
    sequence = TRUNK + 1
    for job in pack:
        context, choices = questions[job.question]
        together = tuple(range(sequence, sequence + len(job.choices)))
        for own in together:
            session.share(TRUNK, own)
        last = len(context) - 1
        for position in range(start, len(context)):
            entries.append((context[position], position, together, position == last))
        wanted.append([Wanted(job, choice, choices[choice][0]) for choice in job.choices])
        for choice, own in zip(job.choices, together, strict=True):
            tokens = choices[choice]
            for offset, token in enumerate(tokens[:-1]):
                entries.append((token, len(context) + offset, (own,), True))
                wanted.append([Wanted(job, choice, tokens[offset + 1])])
        sequence += len(job.choices)
    rows = iter(wanted)
    for batch in _batches(entries, session.settings.micro_batch, session.settings.outputs):
        session.decode(batch)
        for index, entry in enumerate(batch):
            if entry[-1]:
                _add(scores, next(rows), session, index)


def _batches(entries: Sequence[Position], size: int, outputs: int) -> list[list[Position]]:
    """`entries` in order, at most `size` in a batch and `outputs` of them with logits."""
    batches: list[list[Position]] = []
    rows = 0
    for entry in entries:
        rows += entry[-1]
        if not batches or len(batches[-1]) == size or rows > outputs:
            batches.append([])
            rows = int(entry[-1])
        batches[-1].append(entry)
    return batches


def _add(
    scores: list[list[tuple[float, bool]]], wanted: Sequence[Wanted], session: Session, index: int
) -> None:
    logits = session.logits(index)
    values = log_probability(logits, [row.token for row in wanted])
    for row, (value, greedy) in zip(wanted, values, strict=True):
        before, so_far = scores[row.job.question][row.choice]
        scores[row.job.question][row.choice] = (before + value, so_far and greedy)
