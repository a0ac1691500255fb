"""What the time for questions can decide."""

from __future__ import annotations

import re

from edgecomp.jobs.question_budget import decidable


def test_time_enough_decides_what_is_promised() -> None:
    found = decidable(0.1, 600.0)
    assert found.enough and "5 points" in found.sentence


def test_little_time_says_what_it_decides_and_which_time_would_do() -> None:
    found = decidable(2.0, 600.0)
    assert not found.enough and "points only" in found.sentence
    minutes = re.search(r"--budget (\d+)min", found.sentence)
    assert minutes and decidable(2.0, 60.0 * int(minutes[1])).enough


def test_no_time_decides_nothing() -> None:
    assert "decide nothing" in decidable(100.0, 60.0).sentence
