"""Generation, choice scoring and divergence over one cache that is rewound to shared prefixes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecomp.runtimes.divergence import Logits, log_probabilities
from edgecomp.runtimes.onnx.session import Session
from edgecomp.runtimes.splitting import split_choices


def prompt_tokens(session: Session, prompt: str) -> list[int]:
    # A chat template may write BOS itself; the model has never seen two of them in a row.
    begin = session.tokenizer.begin_text
    begins = bool(begin) and prompt.startswith(begin)
    return session.tokenizer.ids(prompt, add_special=not begins, parse_special=True)


def generate(session: Session, prompt: Sequence[int], limit: int) -> list[int]:
    """The greedy continuation of `prompt`, at most `limit` tokens, without the end token."""
    session.rewind()
    token = int(session.prefill(prompt).argmax())
    written: list[int] = []
    while len(written) < limit and not session.tokenizer.ends_generation(token):
        written.append(token)
        if len(written) < limit:
            token = int(session.extend([token])[-1].argmax())
    return written


def score_choices(session: Session, context: str, choices: Sequence[str]) -> list[float]:
    """Log-likelihood (nats) of each choice after `context`, which is run once."""
    shared, rest = split_choices(lambda text: prompt_tokens(session, text), context, choices)
    session.rewind()
    first = log_probabilities(session.prefill(shared))
    scores = []
    for tokens in rest:
        value = float(first[tokens[0]])
        if len(tokens) > 1:
            session.rewind(len(shared))
            rows = log_probabilities(session.extend(tokens[:-1]))
            value += float(rows[np.arange(len(tokens) - 1), tokens[1:]].sum())
        scores.append(value)
    return scores


def start(session: Session, tokens: Sequence[int]) -> None:
    """Forget all, and read `tokens`."""
    session.rewind()
    session.prefill(tokens)


def rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    """Log-probabilities [end - begin, vocabulary] after each of the window's tokens."""
    return log_probabilities(session.extend(window[begin:end]))
