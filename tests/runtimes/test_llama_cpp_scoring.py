"""Choices scored together, against each scored alone by reading its whole text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import ignore_progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.divergence import log_probabilities, log_probability
from edgecomp.runtimes.llama_cpp.scoring import Question, score_choices
from edgecomp.runtimes.llama_cpp.session import Session

SETTINGS = RunSettings(
    context=256, micro_batch=32, sequences=6, outputs=16, threads=1, kv_type="F32",
    flash_attention=False,
)  # fmt: skip

tokens = st.lists(st.integers(0, 511), min_size=1, max_size=12)
beginnings = st.sampled_from([[1, 2, 3], [1, 2, 3, *range(40, 90)], [7]])
contexts = st.tuples(beginnings, tokens).map(lambda parts: [*parts[0], *parts[1]])
questions = st.lists(
    st.tuples(contexts, st.lists(tokens, min_size=1, max_size=9)), min_size=1, max_size=7
)


def alone(session: Session, context: Sequence[int], choice: Sequence[int]) -> tuple[float, bool]:
    session.clear()
    rows = [session.prefill(context).copy()]
    for place, token in enumerate(choice[:-1]):
        session.decode([(token, len(context) + place, (0,), True)])
        rows.append(session.logits(0).copy())
    found = log_probabilities(np.stack(rows))[np.arange(len(choice)), choice]
    greedy = all(int(row.argmax()) == token for row, token in zip(rows, choice, strict=True))
    return float(found.sum()), greedy


@pytest.fixture(scope="module")
def session(tiny_gguf: Path) -> Session:
    return Session(str(tiny_gguf), SETTINGS)


@settings(max_examples=40)
@given(asked=questions)
def test_choices_together_score_as_each_alone(session: Session, asked: list[Question]) -> None:
    found = score_choices(session, asked, ignore_progress)
    for (context, choices), row in zip(asked, found, strict=True):
        for choice, (value, greedy) in zip(choices, row, strict=True):
            wanted, wanted_greedy = alone(session, context, choice)
            # Several tokens at once take other kernels than one: seen up to 1.2e-3 nats apart.
            assert value == pytest.approx(wanted, abs=3e-3 * len(choice))
            assert greedy == wanted_greedy


def test_what_greedy_decoding_writes_is_called_greedy(session: Session) -> None:
    context = [5, 6, 7]
    session.clear()
    token = int(session.prefill(context).argmax())
    session.decode([(token, 3, (0,), True)])
    written = [token, int(session.logits(0).argmax())]
    other = [token, (written[1] + 1) % 512]
    ((right, wrong),) = score_choices(session, [(context, [written, other])], ignore_progress)
    assert right[1] and not wrong[1]
    assert right[0] > wrong[0]


def test_a_beginning_that_questions_share_is_read_once(
    session: Session, count_read: Callable[[Session], Callable[[], int]]
) -> None:
    beginning = list(range(100))
    asked: list[Question] = [([*beginning, 200 + i], [[1, 2], [3, 4]]) for i in range(8)]
    read = count_read(session)
    score_choices(session, asked, ignore_progress)
    own = len(asked) * (1 + 2)
    assert read() == len(beginning) + own


def test_nothing_before_a_choice_is_refused(session: Session) -> None:
    with pytest.raises(RuntimeRefused, match="at least one token"):
        score_choices(session, [([], [[1]])], ignore_progress)


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=40), st.data())
def test_one_token_and_whole_rows_have_the_same_log_probabilities(
    row: list[float], data: st.DataObject
) -> None:
    logits = np.asarray(row, np.float32)
    token = data.draw(st.integers(0, len(row) - 1))
    exact = logits.astype(np.float64)
    wanted = exact[token] - np.logaddexp.reduce(exact)
    ((value, greedy),) = log_probability(logits, [token])
    assert value == pytest.approx(wanted, abs=1e-4)
    assert log_probabilities(logits)[token] == pytest.approx(wanted, abs=1e-4)
    assert greedy == (logits[token] == logits.max())
