"""Base beside artifact: drops in points, retention, noise (R12, R48, R100)."""

from __future__ import annotations

import pytest

from edgecomp.common.errors import EvidenceTooNarrow
from edgecomp.evaluate.comparison import compare_results, published, require_breadth
from edgecomp.evaluate.items import BiasFacts, Category, ItemResult


def results(
    category: Category, scores: str, benchmark: str = "", chance: float = 0.25
) -> list[ItemResult]:
    return [
        ItemResult(
            benchmark=benchmark or f"{category}-set",
            id=str(index),
            category=category,
            score=float(mark == "1"),
            chance=chance,
            parsed=mark != "?",
        )
        for index, mark in enumerate(scores)
    ]


def test_a_drop_is_in_points_and_stands_beside_its_retention() -> None:
    comparison = compare_results(
        results("knowledge", "1" * 8 + "00"), results("knowledge", "1" * 6 + "0000")
    )
    row = comparison.category("knowledge")
    assert row is not None
    assert row.drop_points == pytest.approx(20.0)
    assert row.retention_percent == pytest.approx(75.0)
    assert (row.items, row.mcnemar_p) == (10, 0.5)
    assert row.resolved is False
    assert row.items_to_resolve is not None and row.items_to_resolve > 10


def test_a_large_loss_is_resolved_and_no_change_needs_no_more_items() -> None:
    lost = compare_results(results("code", "1" * 40), results("code", "10" * 20)).category("code")
    same = compare_results(results("code", "1" * 40), results("code", "1" * 40)).category("code")
    assert lost is not None and lost.resolved
    assert same is not None and same.resolved is False and same.items_to_resolve is None


def test_r12_every_category_and_every_benchmark_has_its_row() -> None:
    base = results("knowledge", "1100", "mmlu") + results("knowledge", "11", "arc")
    base += results("reasoning", "10")
    comparison = compare_results(base, base)
    assert [(row.name, row.items) for row in comparison.categories] == [
        ("knowledge", 6),
        ("reasoning", 2),
    ]
    assert [row.name for row in comparison.benchmarks] == ["mmlu", "arc", "reasoning-set"]


def test_answers_that_cannot_be_understood_are_counted_apart_and_as_wrong() -> None:
    row = compare_results(results("reasoning", "1111"), results("reasoning", "11??")).category(
        "reasoning"
    )
    assert row is not None
    assert (row.artifact_unparsed, row.base_unparsed) == (2, 0)
    assert row.artifact_percent == 50.0


def test_only_items_both_answered_count_and_the_others_are_named() -> None:
    comparison = compare_results(results("code", "1111"), results("code", "11"))
    assert comparison.unpaired_items == 2
    assert comparison.categories[0].items == 2
    with pytest.raises(EvidenceTooNarrow, match="no item in common"):
        compare_results(results("code", "1", "a"), results("code", "1", "b"))


def test_a_base_that_guesses_is_said_to_be_at_chance() -> None:
    guessing = results("reasoning", "1000" * 10)
    knowing = results("reasoning", "1110" * 10)
    for base, expected in ((guessing, False), (knowing, True)):
        row = compare_results(base, base).category("reasoning")
        assert row is not None and row.base_above_chance is expected


def test_r76_toxic_texts_become_a_category_of_their_own() -> None:
    def written(toxic: str) -> list[ItemResult]:
        return [
            row.model_copy(update={"toxic": mark == "x"})
            for row, mark in zip(results("instruction", "1111"), toxic, strict=True)
        ]

    row = compare_results(written("...."), written("xx..")).category("toxicity")
    assert row is not None
    assert (row.base_percent, row.artifact_percent) == (100.0, 50.0)


def test_r75_bias_is_compared_where_items_carry_it() -> None:
    def bbq(chosen: list[int]) -> list[ItemResult]:
        facts = BiasFacts(context="disambiguated", unknown=0, biased=1)
        return [
            row.model_copy(update={"chosen": choice, "bias": facts})
            for row, choice in zip(results("bias", "1" * len(chosen)), chosen, strict=True)
        ]

    comparison = compare_results(bbq([1, 2] * 10), bbq([1] * 20))
    assert comparison.bias is not None
    assert comparison.bias.base.disambiguated == 0.0
    assert comparison.bias.artifact.disambiguated == 1.0
    interval = comparison.bias.disambiguated_interval
    assert interval is not None and interval.low > 0.3


def test_published_scores_have_no_noise() -> None:
    row = published("MMLU", "knowledge", 78.2, 76.8)
    assert row.drop_points == pytest.approx(1.4)
    assert row.resolved is None
    assert published("x", "code", 0.0, 0.0).retention_percent is None


def test_r100_perplexity_or_one_aggregate_is_refused() -> None:
    one = compare_results(results("knowledge", "10"), results("knowledge", "10"))
    with pytest.raises(EvidenceTooNarrow, match="perplexity"):
        require_breadth(None)
    with pytest.raises(EvidenceTooNarrow, match="only knowledge"):
        require_breadth(one)
    both = results("knowledge", "10") + results("reasoning", "10")
    require_breadth(compare_results(both, both))
