"""Bundles beside each other: what is compared, what is refused, what is said."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_reports import canned_report, scores, write_canned_bundle
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.bundles.compare import (
    BundleComparison,
    Variant,
    compare_bundles,
    on_front,
    read_report,
)
from edgecomp.bundles.compare_report import comparison_sections, html_comparison, write_comparison
from edgecomp.common.errors import BundleBroken, EvidenceTooNarrow
from edgecomp.evaluate.bias_score import BiasScores
from edgecomp.evaluate.comparison import BiasComparison, Comparison
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.reporting.report_text import html_report, markdown_report

MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def spec(tiny_model: Callable[..., Path]) -> ModelSpec:
    return read_model(tiny_model("llama"))


@pytest.fixture
def bundle(spec: ModelSpec, tmp_path: Path) -> MakeBundle:
    def make(
        name: str, format_name: str, drops: dict[Any, float] | None = None, **more: Any
    ) -> Path:
        comparison = more.pop("comparison", None) or scores(drops or {})
        report = canned_report(spec, format_name, comparison, **more)
        return write_canned_bundle(report, tmp_path / name)

    return make


@pytest.fixture(scope="module")
def variant(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Variant:
    report = canned_report(spec, "Q8_0", scores({}))
    folder = tmp_path_factory.mktemp("two")
    folders = [write_canned_bundle(report, folder / name) for name in ("one", "two")]
    return compare_bundles(folders).variants[0]


@pytest.fixture
def three(bundle: MakeBundle) -> BundleComparison:
    """A small and lossy one, a large and good one, and one that the large one dominates."""
    bias = BiasComparison(
        base=BiasScores(ambiguous=0.1, disambiguated=None),
        artifact=BiasScores(ambiguous=0.3, disambiguated=None),
    )
    small = scores({"reasoning": 12.0}).model_copy(update={"bias": bias})
    return compare_bundles(
        [
            bundle("small", "Q4_0", comparison=small, decode=80.0, kl=0.2),
            bundle("good", "Q8_0", decode=60.0, kl=0.01),
            bundle("worse", "Q8_0", decode=55.0, kl=0.02),
        ]
    )


def section(comparison: BundleComparison, title: str) -> Any:
    return next(row for row in comparison_sections(comparison) if row.title == title)


def test_r8_r43_every_dimension_has_its_table(three: BundleComparison) -> None:
    titles = [row.title for row in comparison_sections(three)]
    assert titles[1:4] == ["Efficiency", "Performance", "Reliability"]
    assert {"Bias scores", "Divergence from the base", "Verdicts"} < set(titles)
    efficiency = section(three, "Efficiency")
    assert [row[0] for row in efficiency.rows] == ["small", "good", "worse"]
    assert {"size", "peak memory", "decode tok/s", "prefill tok/s", "first token s"} < set(
        efficiency.columns
    )


def test_drops_in_points_and_retentions_never_share_a_column(three: BundleComparison) -> None:
    table = section(three, "Performance")
    row = next(row for row in table.rows if row[:2] == ("reasoning", "small"))
    cells = dict(zip(table.columns, row, strict=True))
    assert cells["drop points"] == "+12.0" and cells["retention %"] == "80.0"
    assert cells["95 % interval"] == "+10.5 to +13.5"


def test_r46_bias_amplification_stands_in_a_table_of_its_own(three: BundleComparison) -> None:
    assert section(three, "Bias scores").rows == (
        ("small", "ambiguous", "+0.100", "+0.300", "+0.200"),
    )


def test_the_front_holds_what_nothing_dominates(three: BundleComparison) -> None:
    assert [row.on_front for row in three.variants] == [True, True, False]


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8
    )
)
def test_the_front_is_never_empty_and_dominates_the_rest(
    variant: Variant, figures: list[tuple[int, int, int]]
) -> None:
    variants = [
        variant.model_copy(
            update={
                "artifact_bytes": size,
                "decode_tokens_per_second": variant.decode_tokens_per_second.model_copy(
                    update={"median": float(speed)}
                ),
                "divergence": variant.divergence.model_copy(update={"kl_mean": float(kl)}),
            }
        )
        for size, speed, kl in figures
    ]
    front = [
        figure for figure, row in zip(figures, variants, strict=True) if on_front(row, variants)
    ]
    assert front
    for size, speed, kl in set(figures) - set(front):
        assert any(a <= size and b >= speed and c <= kl for a, b, c in front)


@pytest.mark.parametrize("kept", [0, 1])
def test_r100_perplexity_or_one_aggregate_alone_is_refused_and_what_is_missing_said(
    bundle: MakeBundle, kept: int
) -> None:
    narrow = Comparison(categories=scores({}).categories[:kept])
    folders = [bundle("wide", "Q8_0"), bundle("narrow", "Q4_0", comparison=narrow)]
    with pytest.raises(EvidenceTooNarrow, match=r"narrow: .*--only perplexity.*Missing: .*refusal"):
        compare_bundles(folders)
    found = compare_bundles(folders, "perplexity")
    titles = [row.title for row in comparison_sections(found)]
    assert titles[1:] == ["Divergence from the base"]
    assert any("R100" in notice and "reasoning" in notice for notice in found.notices)


def test_categories_that_were_not_examined_are_named(bundle: MakeBundle) -> None:
    partial = Comparison(categories=scores({}).categories[:3])
    found = compare_bundles([bundle("a", "Q8_0"), bundle("b", "Q4_0", comparison=partial)])
    notice = next(text for text in found.notices if text.startswith("b was not examined"))
    assert "refusal" in notice and "bias" in notice


def test_different_bases_questions_and_texts_are_never_paired_silently(bundle: MakeBundle) -> None:
    other = scores({})
    harder = tuple(row.model_copy(update={"base_percent": 40.0}) for row in other.categories)
    found = compare_bundles(
        [
            bundle("a", "Q8_0", decode=90.0, kl=0.01),
            bundle(
                "b", "Q8_0", decode=10.0, kl=0.9, base="b" * 64, windows=5,
                comparison=Comparison(categories=harder),
            ),
        ]
    )  # fmt: skip
    said = " ".join(found.notices)
    assert "different bases" in said and "different questions" in said
    assert "different amounts of text" in said and "(a; b)" in said
    assert all(row.on_front for row in found.variants)


def test_like_bundles_have_nothing_to_say(three: BundleComparison) -> None:
    assert not any("different" in notice for notice in three.notices)


def test_what_divergence_cannot_rank_is_said(bundle: MakeBundle, three: BundleComparison) -> None:
    near = [bundle("c", "Q8_0", kl=0.001), bundle("d", "Q8_0", kl=0.003)]
    said = " ".join(compare_bundles([*near, bundle("e", "Q4_0", kl=0.2)]).notices)
    assert "Not separable by divergence" in said and "c and d" in said and "and e" not in said
    assert not any("Not separable" in notice for notice in three.notices)


def test_the_page_is_self_contained_and_always_the_same(
    three: BundleComparison, tmp_path: Path
) -> None:
    write_comparison(three, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page == html_comparison(three)
    assert page.count("<svg") == 3 and "small" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:|url\(["']?https?:|@import""", page)


def test_a_folder_that_is_no_bundle_or_has_a_damaged_report_is_refused(
    bundle: MakeBundle, tmp_path: Path
) -> None:
    good = bundle("good", "Q8_0")
    with pytest.raises(EvidenceTooNarrow, match="two bundles"):
        compare_bundles([good])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleBroken, match="no bundle"):
        compare_bundles([good, tmp_path / "empty"])
    damaged = bundle("damaged", "Q8_0")
    (damaged / "report.json").write_text("{")
    with pytest.raises(BundleBroken, match=r"report\.json"):
        compare_bundles([good, damaged])


def test_the_command_prints_tables_and_json(bundle: MakeBundle, tmp_path: Path) -> None:
    folders = [str(bundle("a", "Q8_0")), str(bundle("b", "Q4_0"))]
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "edgecomp.cli", "compare", *folders]
    done = subprocess.run([*command, "-o", str(page)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Efficiency" in done.stdout and page.is_file()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert len(BundleComparison.model_validate_json(done.stdout).variants) == 2


@pytest.mark.parametrize("kl", [math.nan, math.inf])
def test_a_ruined_variant_is_compared_drawn_and_never_on_the_front(
    bundle: MakeBundle, kl: float
) -> None:  # A5
    ruined = bundle("ruined", "Q8_0", decode=50.0, kl=kl)
    found = compare_bundles([bundle("sound", "Q8_0", decode=50.0), ruined])
    assert [(row.level, row.on_front) for row in found.variants] == [
        ("ship", True),
        ("do not ship", False),
    ]
    assert repr(BundleComparison.model_validate_json(found.model_dump_json())) == repr(found)
    page = html_comparison(found)
    assert f"{kl:.4f}" in page and "do not ship" in page
    report = read_report(ruined)
    assert report.verdict.level == "do not ship"
    for written in (markdown_report(report), html_report(report)):
        assert f"{kl:.4f}" in written and "do not ship" in written
