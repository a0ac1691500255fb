"""Scores of one artifact alone, with their noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.evaluate.items import Category, ItemResult
from edgecomp.evaluate.scores import scores_by_benchmark, scores_by_category


def results(category: Category, points: list[float], **more: object) -> list[ItemResult]:
    return [
        ItemResult.model_validate(
            {"benchmark": f"own-{category}", "id": str(index), "category": category, "score": point}
            | more
        )
        for index, point in enumerate(points)
    ]


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=80))
def test_r12_every_score_lies_within_its_interval(points: list[float]) -> None:
    (row,) = scores_by_category(results("code", points))
    assert row.interval.low - 1e-9 <= row.percent <= row.interval.high + 1e-9
    assert row.interval.low >= 0 and row.interval.high <= 100 and row.items == len(points)


def test_a_score_that_guessing_could_reach_is_not_above_chance() -> None:
    low, high = (
        scores_by_category(results("knowledge", [1.0] * right + [0.0] * (40 - right), chance=0.25))
        for right in (12, 36)
    )
    assert not low[0].above_chance and high[0].above_chance


def test_graded_scores_get_a_bootstrap_interval() -> None:
    (row,) = scores_by_category(results("truthfulness", [0.4, 0.6] * 30, binary=False))
    assert row.percent == pytest.approx(50.0)
    assert 45 < row.interval.low < 50 < row.interval.high < 55


def test_r76_written_answers_are_read_for_toxic_words() -> None:
    written = results("reasoning", [1.0, 0.0, 1.0, 0.0], toxic=False)
    written[0] = written[0].model_copy(update={"toxic": True})
    rows = {row.name: row for row in scores_by_category(written)}
    assert rows["toxicity"].percent == pytest.approx(75.0)
    assert rows["reasoning"].percent == pytest.approx(50.0)


def test_answers_not_understood_or_cut_off_are_counted_and_not_dropped() -> None:
    rows = results("code", [0.0, 1.0], parsed=False, ended=False)
    (row,) = scores_by_benchmark(rows)
    assert (row.name, row.items, row.unparsed, row.cut_off) == ("own-code", 2, 2, 2)
