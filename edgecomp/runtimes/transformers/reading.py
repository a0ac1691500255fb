"""Choice scoring, each sequence whole, and divergence over a cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.runtimes.divergence import Logits, log_probabilities
from edgecomp.runtimes.transformers.session import Session


def score_choices(
    session: Session,
    questions: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]],
    progress: Progress,
) -> list[list[tuple[float, bool]]]:
    """Log-likelihood in nats of each choice after its question's context, and whether each of its
    tokens is the most likely one.

    Each sequence is run whole and by itself, through the head as well, and summed as float32, as
    lm-eval's own model does: a cache, fewer rows of logits or a longer sum add up in another
    order, which was seen to move a sum by 3e-5. Choices that differ in their last token alone
    share a run.
    """
    scores = []
    for done, (context, choices) in enumerate(questions, start=1):
        if not context:
            raise RuntimeRefused("A model needs at least one token to go on from.")
        runs: dict[tuple[int, ...], Tensor] = {}
        rows = []
        for tokens in choices:
            session.require_room(len(context) + len(tokens))
            read = tuple(tokens[:-1])
            if read not in runs:
                runs[read] = session.run([[*context, *read]], None)[0, -len(tokens) :]
            rows.append(_score(runs[read], tokens))
        scores.append(rows)
        progress(done, len(questions))
    return scores


def _score(logits: Tensor, tokens: Sequence[int]) -> tuple[float, bool]:
    """What rows of logits [tokens, vocabulary] say of the tokens that follow them."""
    wanted = torch.tensor(tokens, device=logits.device)[:, None]
    values = logits.log_softmax(-1).gather(-1, wanted)
    greedy = logits.gather(-1, wanted)[:, 0] == logits.amax(-1)
    return float(values.sum()), bool(greedy.all())


def start(session: Session, tokens: Sequence[int]) -> None:
    """Forget all, and read `tokens`."""
    session.rewind()
    session.prefill(tokens)


def rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    """Log-probabilities [end - begin, vocabulary] after each of the window's tokens."""
    return log_probabilities(session.extend(window[begin:end]).cpu().numpy())
