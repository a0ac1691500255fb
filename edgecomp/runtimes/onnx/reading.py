"""Generation, choice scoring and divergence over one cache that is rewound to shared prefixes."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.runtimes.divergence import Logits, log_probabilities, log_probability
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


def score_choices(
    session: Session, context: str, choices: Sequence[str]
) -> list[tuple[float, bool]]:
    """Log-likelihood (nats) of each choice after `context`, which is run once, and whether each of
    its tokens is the most likely one."""
    shared, rest = split_choices(lambda text: prompt_tokens(session, text), context, choices)
    session.rewind()
    first = session.prefill(shared)
    scores = []
    for tokens in rest:
        session.rewind(len(shared))
        later = session.extend(tokens[:-1]) if len(tokens) > 1 else ()
        rows = [first, *later]
        found = [log_probability(row, [token])[0] for row, token in zip(rows, tokens, strict=True)]
        scores.append((sum(value for value, _ in found), all(greedy for _, greedy in found)))
    return scores


def start(session: Session, tokens: Sequence[int]) -> None:
    """Forget all, and read `tokens`."""
    session.rewind()
    session.prefill(tokens)


def rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    """Log-probabilities [end - begin, vocabulary] after each of the window's tokens."""
    return log_probabilities(session.extend(window[begin:end]))
