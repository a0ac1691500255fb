"""The registry covers what the rules ask for."""

from __future__ import annotations

from edgecomp.common.tasks import REQUIRED_BENCHMARKS
from edgecomp.evaluate.benchmarks import (
    BENCHMARKS,
    coverage,
    suite,
    untested_after_complaints,
)
from edgecomp.evaluate.datasets import READERS
from edgecomp.evaluate.items import CAPABILITIES, RELIABILITY
from edgecomp.evaluate.own_set import own_items


def test_r17_more_than_forty_benchmarks_cover_every_category() -> None:
    assert len(BENCHMARKS) > 40
    covered = coverage((row.category, row.name) for row in BENCHMARKS.values())
    assert covered.missing == ()
    assert covered.warnings == ()
    assert set(covered.covered) == {*CAPABILITIES, *RELIABILITY}


def test_every_row_says_how_it_is_run() -> None:
    for row in BENCHMARKS.values():
        assert row.licence and row.source
        assert 0 <= row.chance_percent <= 50
        assert (row.file is not None) == (row.name in READERS)
        assert row.file or row.lm_eval_task or row.suite == "full"


def test_suites_grow_and_the_quick_one_is_read_from_files() -> None:
    quick, standard, full = (set(suite(name)) for name in ("quick", "standard", "full"))
    assert quick < standard < full == set(BENCHMARKS.values())
    assert all(row.file for row in quick)


def test_r44_the_quick_suite_has_knowledge_reasoning_and_instruction() -> None:
    assert {"mmlu", "gsm8k", "ifeval"} <= {row.name for row in suite("quick")}


def test_r45_the_quick_suite_has_truthfulness_bias_and_refusal() -> None:
    assert {"truthfulness", "bias", "refusal", "over-refusal"} <= {
        row.category for row in suite("quick")
    }


def test_r26_r65_r69_r96_every_bucket_requires_reasoning_and_code_requires_its_tests() -> None:
    for names in REQUIRED_BENCHMARKS.values():
        assert set(names) <= set(BENCHMARKS)
        assert "gsm8k" in names and "mmlu" in names
    assert "humaneval" in REQUIRED_BENCHMARKS["code"]


def test_r14_knowledge_alone_warns_of_overestimation() -> None:
    alone = coverage([("knowledge", "mmlu")])
    assert any("overestimates" in warning for warning in alone.warnings)
    assert "reasoning" in alone.missing


def test_r96_knowledge_without_reasoning_warns() -> None:
    found = coverage([("knowledge", "mmlu"), ("code", "mbpp"), ("bias", "bbq")])
    assert any("without reasoning" in warning for warning in found.warnings)


def test_r105_complaints_despite_good_accuracy_add_what_knowledge_cannot_see() -> None:
    assert untested_after_complaints(["knowledge"]) == ("reasoning", "instruction", "truthfulness")
    assert untested_after_complaints(["reasoning", "instruction"]) == ("truthfulness",)


def test_r15_the_own_set_covers_what_a_verdict_needs() -> None:
    from edgecomp.judging.verdict import REQUIRED as NEEDED

    covered = coverage((item.category, item.benchmark) for item in own_items(limit=2))
    assert set(NEEDED) <= set(covered.covered)
    assert covered.warnings == ()
