"""Answers written together, against each written alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import ignore_progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.generate import generate
from edgecomp.runtimes.llama_cpp.session import Session

SETTINGS = RunSettings(
    context=96, micro_batch=32, sequences=4, outputs=16, threads=1, kv_type="F32",
    flash_attention=False,
)  # fmt: skip

TIE = 0.01
"""Of logits that spread by about one."""

beginnings = st.sampled_from([[], [1, 2, 3], [1, 2, 3, *range(40, 80)]])
own_tokens = st.lists(st.integers(0, 511), min_size=1, max_size=9)
prompts = st.tuples(beginnings, own_tokens).map(lambda parts: [*parts[0], *parts[1]])


@pytest.fixture(scope="module")
def session(tiny_gguf: Path) -> Session:
    return Session(str(tiny_gguf), SETTINGS)


def alone(session: Session, prompt: Sequence[int], limit: int) -> list[int]:
    session.clear()
    token = int(session.prefill(prompt).argmax())
    written: list[int] = []
    while len(written) < limit and not session.ends_generation(token):
        written.append(token)
        session.decode([(token, len(prompt) + len(written) - 1, (0,), True)])
        token = int(session.logits(0).argmax())
    return written


def behind(session: Session, prompt: Sequence[int], written: Sequence[int]) -> float:
    """By how much the likeliest logit is above that of a token written, at most, read alone."""
    session.clear()
    logits, worst = session.prefill(prompt), 0.0
    for place, token in enumerate(written):
        worst = max(worst, float(logits.max() - logits[token]))
        session.decode([(token, len(prompt) + place, (0,), True)])
        logits = session.logits(0)
    return worst


@settings(max_examples=40)
@given(asked=st.lists(st.tuples(prompts, st.integers(1, 12)), max_size=9))
def test_answers_together_are_those_written_alone(
    session: Session, asked: list[tuple[list[int], int]]
) -> None:
    texts, limits = [prompt for prompt, _ in asked], [limit for _, limit in asked]
    seen: list[int] = []
    found = generate(
        session, texts, limits, [()] * len(asked), lambda done, count: seen.append(done)
    )
    for written, (prompt, limit) in zip(found, asked, strict=True):
        assert len(written) == limit  # The model has no token that ends.
        # Kernels for one row and for several round F16 products otherwise: ties may fall anew.
        assert behind(session, prompt, written) < TIE
    assert seen == list(range(1, len(asked) + 1))


def test_what_all_prompts_begin_with_is_read_once(
    session: Session, count_read: Callable[[Session], Callable[[], int]]
) -> None:
    beginning = list(range(50))
    read = count_read(session)
    asked = [[*beginning, 200 + i] for i in range(8)]
    written = generate(session, asked, [3] * 8, [()] * 8, ignore_progress)
    ran_on = sum(len(row) - (len(row) == 3) for row in written)
    assert read() == len(beginning) + len(asked) + ran_on


def test_an_answer_ends_with_the_token_that_completes_a_stop(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model has no vocabulary.
    monkeypatch.setattr(session, "text", lambda tokens: "".join(f"<{token}>" for token in tokens))
    prompt = [5, 6, 7]
    whole = alone(session, prompt, 12)
    stop = session.text(whole[5:6])[:-1]
    (found,) = generate(session, [prompt], [12], [["never written", stop]], ignore_progress)
    assert found == whole[: whole.index(whole[5]) + 1]


def test_an_empty_prompt_is_refused(session: Session) -> None:
    with pytest.raises(RuntimeRefused, match="at least one token"):
        generate(session, [[]], [4], [()], ignore_progress)
