"""The completions of the own set: proven by running them, which no evaluation does."""

from __future__ import annotations

import ast
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.own_set.code_completions import Completion, completions, indented

COMPLETIONS = tuple(completions())


class OutOfTime(Exception):
    """A body does not end, as a wrong loop may not."""


@contextmanager
def at_most_a_second() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(1)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def passes(completion: Completion, body: str) -> bool:
    names: dict[str, object] = {}
    exec(completion.prompt + indented(body), names)
    try:
        with at_most_a_second():
            return bool(eval(completion.check, names))
    except Exception:
        return False


def test_there_are_four_hundred_completions_and_all_are_asked() -> None:
    asked = {item.prompt for item in own_items(["code"])}
    assert len(COMPLETIONS) >= 400
    assert {completion.prompt for completion in COMPLETIONS} <= asked


def test_every_body_parses_and_only_the_right_one_passes() -> None:
    for completion in COMPLETIONS:
        right, *wrong = completion.bodies
        for body in completion.bodies:
            ast.parse(completion.prompt + indented(body))
        assert passes(completion, right), completion
        for body in wrong:
            assert not passes(completion, body), (completion, body)


@pytest.mark.parametrize("body", ["while True: pass", "return 1 / 0", "return 3"])
def test_a_body_that_hangs_fails_or_is_wrong_does_not_pass(body: str) -> None:
    assert not passes(Completion("easy", "Add", "add(a, b)", ("", ""), "add(1, 1) == 2"), body)
