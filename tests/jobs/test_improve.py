"""The loop from verdict to remedy to a new run, over canned runs and one real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_reports import canned_report, scores, write_canned_bundle

from edgecomp.common.errors import ArtifactRejected
from edgecomp.common.events import ignore
from edgecomp.evaluate.comparison import Comparison
from edgecomp.jobs.fit import Fitted
from edgecomp.jobs.improve import Improvement, improve, record_path, recovered, same_questions
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.recipes.recipe import Recipe
from edgecomp.reporting.report import Report
from edgecomp.terminal.result_tables import improvement_table

Runs = list[tuple[Recipe, Path]]


@pytest.fixture(scope="module")
def spec(tiny_model: Callable[..., Path]) -> ModelSpec:
    return read_model(tiny_model("llama"))


@pytest.fixture
def start(spec: ModelSpec, tmp_path: Path) -> Path:
    """4 bits that lost 14 points of reasoning."""
    report = canned_report(spec, "Q4_0", scores({"reasoning": 14.0}), kl=0.2)
    return write_canned_bundle(report, tmp_path / "bundle")


@pytest.fixture
def outcomes(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Runs]:
    """Let the runs end as told: reports of a comparison each, or an error."""

    def told(*ends: Comparison | Exception) -> Runs:
        runs: Runs = []

        def carry_out(recipe: Recipe, folder: Path, data: Any, listen: Any, job: str) -> Fitted:
            assert job == "improve"
            end = ends[len(runs)]
            runs.append((recipe, folder))
            if isinstance(end, Exception):
                raise end
            report = canned_report(spec, recipe.format, end, kl=0.15)
            report = report.model_copy(update={"recipe": recipe})
            write_canned_bundle(report, folder)
            return Fitted(folder=folder, report=report)

        monkeypatch.setattr("edgecomp.jobs.improve.fit_recipe", carry_out)
        return runs

    return told


def test_r51_r52_the_first_remedy_is_carried_out_and_the_share_regained_is_reported(
    start: Path, outcomes: Callable[..., Runs]
) -> None:
    runs = outcomes(scores({"reasoning": 7.0}))
    found = improve(start, 1, None, ignore)
    (only,) = found.rounds
    assert only.kind == "recalibrate" and "calibration" in only.change
    assert only.recovered["reasoning"].share_of_lost_points_percent == pytest.approx(50.0)
    assert only.recovered["reasoning"].relative_gain_percent == pytest.approx(100 * 7 / 46)
    assert only.folder == runs[0][1] == start.with_name("bundle-round1")
    assert found.best == only.folder and found.ended == "1 rounds were made."


def test_g3_after_recalibration_comes_less_compression_with_the_same_calibration(
    start: Path, outcomes: Callable[..., Runs]
) -> None:
    runs = outcomes(scores({"reasoning": 9.0}), scores({}))
    found = improve(start, 5, None, ignore)
    assert [row.kind for row in found.rounds][:1] == ["recalibrate"]
    first, second = runs[0][0], runs[1][0]
    assert found.rounds[1].kind == "compress less"
    assert second.calibration == first.calibration and second.format != first.format
    assert found.best_level in ("ship", "ship with accepted losses")
    assert len(found.rounds) == 2 and "The verdict on" in found.ended


def test_a_round_that_makes_it_worse_is_recorded_and_not_gone_on_from(
    start: Path, outcomes: Callable[..., Runs]
) -> None:
    outcomes(scores({"reasoning": 20.0, "code": 30.0}), scores({"reasoning": 10.0}))
    found = improve(start, 2, None, ignore)
    assert [row.started_from for row in found.rounds] == [start, start]
    assert found.rounds[0].recovered["reasoning"].regained_points == pytest.approx(-6.0)
    assert found.best == found.rounds[1].folder


def test_r102_a_rejected_artifact_ends_its_round_and_not_the_loop(
    start: Path, outcomes: Callable[..., Runs]
) -> None:
    outcomes(ArtifactRejected("It writes garbage."), scores({"reasoning": 8.0}))
    found = improve(start, 2, None, ignore)
    assert found.rounds[0].rejected == "It writes garbage." and found.rounds[0].folder is None
    assert found.rounds[1].folder is not None


def test_every_round_is_recorded_beside_the_bundles(
    start: Path, outcomes: Callable[..., Runs]
) -> None:
    outcomes(scores({"reasoning": 9.0}), RuntimeError("killed"))
    before = set(start.iterdir())
    with pytest.raises(RuntimeError):
        improve(start, 2, None, ignore)
    kept = Improvement.model_validate_json(record_path(start).read_text())
    assert len(kept.rounds) == 1 and record_path(start).parent == start.parent
    assert set(start.iterdir()) == before


def test_other_questions_give_no_recovery_and_a_word_about_it(
    start: Path, outcomes: Callable[..., Runs]
) -> None:
    rows = scores({"reasoning": 5.0}).categories
    other = Comparison(
        categories=tuple(row.model_copy(update={"base_percent": 30.0}) for row in rows)
    )
    outcomes(other)
    (only,) = improve(start, 1, None, ignore).rounds
    assert only.recovered == {} and "--data" in only.notices[0]


def test_a_verdict_that_proposes_nothing_ends_at_once(spec: ModelSpec, tmp_path: Path) -> None:
    report = canned_report(spec, "Q8_0", scores({}), kl=0.001)
    found = improve(write_canned_bundle(report, tmp_path / "good"), 3, None, ignore)
    assert found.rounds == () and "proposes nothing" in found.ended
    assert improvement_table(found)


def test_recovery_is_told_for_categories_that_both_attempts_were_examined_in() -> None:
    before, after = scores({"reasoning": 10.0}), scores({"reasoning": 5.0})
    assert set(recovered({"reasoning", "privacy"}, before, after)) == {"reasoning"}
    assert same_questions(before, after)


def test_the_same_sets_are_the_same_questions_however_many_were_asked() -> None:
    before, after = scores({"reasoning": 10.0}), scores({"reasoning": 5.0})
    rows = tuple(
        row.model_copy(update={"items": 40, "base_percent": row.base_percent + 1})
        for row in after.categories
    )
    asked_less = after.model_copy(update={"categories": rows, "questions": "sets"})
    assert same_questions(before.model_copy(update={"questions": "sets"}), asked_less)
    assert not same_questions(before, asked_less)
    lost = recovered({"reasoning"}, before, asked_less)["reasoning"]
    assert lost.lost_points == pytest.approx(10.0) and lost.regained_points == pytest.approx(5.0)


@pytest.mark.slow
def test_r51_the_loop_closes_by_itself_on_a_real_model(start: Path) -> None:
    """Its questions are real ones, so nothing is paired with the canned start."""
    found = improve(start, 1, None, ignore)
    (only,) = found.rounds
    assert only.kind == "recalibrate" and only.folder is not None
    assert only.recovered == {} and "questions" in only.notices[0]
    made = Report.model_validate_json((only.folder / "report.json").read_text())
    assert made.artifact.calibration is not None
    assert made.artifact.calibration.mix == only.recipe.calibration
    assert made.recipe == only.recipe and only.level == made.verdict.level
