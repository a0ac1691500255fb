"""Choice scoring and divergence over one cache that is rewound to shared prefixes."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.common.events import Progress
from edgecomp.runtimes.divergence import Logits, log_probabilities, log_probability
from edgecomp.runtimes.onnx.session import Session


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
        for tokens in choices:
            session.rewind(len(context))
            later = session.extend(tokens[:-1]) if len(tokens) > 1 else ()
            found = [
                log_probability(row, [token])[0]
                for row, token in zip([first, *later], tokens, strict=True)
            ]
            scores[index].append(
                (sum(value for value, _ in found), all(greedy for _, greedy in found))
            )
        progress(done, len(questions))
    return scores


def start(session: Session, tokens: Sequence[int]) -> None:
    """Forget all, and read `tokens`."""
    session.rewind()
    session.prefill(tokens)


def rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    """Log-probabilities [end - begin, vocabulary] after each of the window's tokens."""
    return log_probabilities(session.extend(window[begin:end]))
