"""Choice scoring and divergence over one cache that is rewound to shared prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from edgecomp.common.events import Progress
from edgecomp.runtimes.divergence import Logits, log_probabilities
from edgecomp.runtimes.transformers.session import Session

ROWS = 256
"""Rows of logits in memory at a time while choices are scored."""


def score_choices(
    session: Session,
    questions: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]],
    progress: Progress,
) -> list[list[tuple[float, bool]]]:
    """Log-likelihood in nats of each choice after its question's context, and whether each of its
    tokens is the most likely one. Questions that begin alike follow one another."""
    scores: list[list[tuple[float, bool]]] = [[] for _ in questions]
    order = sorted(range(len(questions)), key=lambda index: list(questions[index][0]))
    for done, index in enumerate(order, start=1):
        context, choices = questions[index]
        first = session.prefill(context)
        longest = max(len(tokens) for tokens in choices)
        session.require_room(len(context) + longest)
        beginnings = [_found(first[None], tokens[:1]) for tokens in choices]
        for begun, rest in zip(beginnings, _rests(session, choices, len(context)), strict=True):
            found = begun + rest
            scores[index].append(
                (sum(value for value, _ in found), all(greedy for _, greedy in found))
            )
        progress(done, len(questions))
    return scores


def _rests(
    session: Session, choices: Sequence[Sequence[int]], held: int
) -> Iterator[list[tuple[float, bool]]]:
    """Of each choice all tokens but the first, several choices at a time where the cache allows."""
    if not session.keeps:
        for tokens in choices:
            session.rewind(held)
            yield _found(session.extend(tokens[:-1]), tokens[1:]) if len(tokens) > 1 else []
        return
    longest = max(len(tokens) for tokens in choices)
    together = max(1, ROWS // max(longest - 1, 1))
    for begin in range(0, len(choices), together):
        yield from _together(session, choices[begin : begin + together])


def _together(session: Session, choices: Sequence[Sequence[int]]) -> list[list[tuple[float, bool]]]:
    """The same of choices that are run side by side, each a row. Shorter ones are filled up at
    their end, where nothing that counts sees it."""
    found: list[list[tuple[float, bool]]] = [[] for _ in choices]
    length = max(len(tokens) for tokens in choices) - 1
    if not length:
        return found
    rows = [[*tokens[:-1], *[tokens[-1]] * (length + 1 - len(tokens))] for tokens in choices]
    cache = session.repeated_cache(len(choices))
    step = max(1, ROWS // len(choices))
    for begin in range(0, length, step):
        logits = session.run([row[begin : begin + step] for row in rows], cache)
        for place, tokens in enumerate(choices):
            following = tokens[begin + 1 : begin + 1 + step]
            found[place] += _found(logits[place, : len(following)], following)
    return found


def _found(logits: Tensor, tokens: Sequence[int]) -> list[tuple[float, bool]]:
    """What rows of logits [tokens, vocabulary] say of the token that follows each."""
    if not tokens:
        return []
    wanted = torch.tensor(tokens, device=logits.device)[:, None]
    values = logits.log_softmax(-1).gather(-1, wanted)[:, 0].tolist()
    greedy = (logits.gather(-1, wanted)[:, 0] == logits.amax(-1)).tolist()
    return list(zip(values, greedy, strict=True))


def start(session: Session, tokens: Sequence[int]) -> None:
    """Forget all, and read `tokens`."""
    session.rewind()
    session.prefill(tokens)


def rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    """Log-probabilities [end - begin, vocabulary] after each of the window's tokens."""
    return log_probabilities(session.extend(window[begin:end]).cpu().numpy())
