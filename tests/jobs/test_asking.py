"""Asking until it is known what was lost, by a runtime that answers as it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgecomp.common.errors import EvidenceTooNarrow
from edgecomp.common.events import Event, StandingsSeen
from edgecomp.evaluate.items import Category, ChoiceItem, Item
from edgecomp.evaluate.question_bank import pilot
from edgecomp.jobs.asking import Asked, Asking, ask_until_decided
from edgecomp.jobs.evaluation_stages import ModelUnderTest
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.recipe import EvaluationSettings
from edgecomp.recipes.tolerances import Tolerances
from edgecomp.runtimes.protocol import ChoiceScore

CATEGORIES: tuple[Category, ...] = ("knowledge", "reasoning", "code")
Wrong = Callable[[str], bool]
"""Whether a question, by its text, is answered wrongly."""


def chance(text: str, salt: str) -> float:
    """A number in [0, 1) of a text."""
    return int(hashlib.sha256(f"{salt} {text}".encode()).hexdigest()[:8], 16) / 16**8


class ToldRuntime:
    """Chooses rightly but where it is told not to."""

    name = "told"

    def __init__(self, wrong: Wrong) -> None:
        self.wrong = wrong
        self.asked: list[str] = []
        self.dies_at: int | None = None

    def version(self) -> str:
        return "1"

    def score(
        self,
        artifact: Path,
        settings: object,
        questions: Sequence[tuple[str, Sequence[str]]],
        *_: object,
    ) -> list[list[ChoiceScore]]:
        if self.dies_at is not None and len(self.asked) >= self.dies_at:
            raise KeyboardInterrupt
        self.asked += [context for context, _ in questions]
        return [
            [ChoiceScore(loglikelihood=value, greedy=False) for value in self.values(context)]
            for context, _ in questions
        ]

    def values(self, context: str) -> tuple[float, float]:
        return (-2.0, -1.0) if self.wrong(context) else (-1.0, -2.0)


def questions(count: int = 400) -> list[Item]:
    return [
        ChoiceItem(
            benchmark=f"set of {name}",
            id=str(index),
            category=name,
            prompt=f"{name} {index}",
            choices=("a", "b"),
            answer=0,
        )
        for name in CATEGORIES
        for index in range(count)
    ]


def base_wrong(text: str) -> bool:
    return chance(text, "base") < 0.2


def subject(who: str, runtime: ToldRuntime, listen: Callable[[Event], None]) -> ModelUnderTest:
    template = ChatTemplate(source="")
    return ModelUnderTest(
        who,
        Path(who),
        who * 8,
        runtime,
        template,
        1,
        listen,
        "a model",  # type: ignore[arg-type]
    )


class Told:
    """Two models that answer as told, and what was heard."""

    def __init__(self, artifact_wrong: Wrong, name: str = "artifact") -> None:
        self.names = ("base", name)
        self.runtimes = ToldRuntime(base_wrong), ToldRuntime(artifact_wrong)
        self.heard: list[StandingsSeen] = []
        self.repeats_base = False

    def ask(self, items: Sequence[Item], **wanted: object) -> Asked:
        def listen(event: Event) -> None:
            if isinstance(event, StandingsSeen):
                self.heard.append(event)

        base, artifact = (
            subject(who, runtime, listen)
            for who, runtime in zip(self.names, self.runtimes, strict=True)
        )
        settings = EvaluationSettings.model_validate({"budget_seconds": None, **wanted})
        asking = Asking(base, artifact, settings, "general", self.repeats_base)
        return ask_until_decided(asking, items)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))


def decisions(asked: Asked) -> dict[str, str | None]:
    return {row.name: row.decision for row in asked.comparison.categories}


def test_an_artifact_that_repeats_its_base_is_kept_by_a_part_of_the_questions() -> None:
    told = Told(base_wrong)
    asked = told.ask(questions())
    assert asked.ended == "decided"
    assert set(decisions(asked).values()) == {"kept"}
    assert all(row.items is not None and row.items < 200 for row in asked.comparison.categories)
    assert told.heard[-1].asked_next == ()


def test_a_great_loss_ends_the_asking_at_once_and_is_named() -> None:
    told = Told(
        lambda text: base_wrong(text) or (text.startswith("code") and chance(text, "a") < 0.7)
    )
    asked = told.ask(questions())
    assert asked.ended == "a loss is shown"
    assert decisions(asked)["code"] == "lost"
    assert len(told.runtimes[1].asked) < 300


def test_what_is_decided_is_not_asked_on() -> None:
    told = Told(
        lambda text: base_wrong(text) != (text.startswith("code") and chance(text, "a") < 0.1)
    )
    asked = told.ask(questions())
    rows = {row.name: row.items or 0 for row in asked.comparison.categories}
    assert rows["code"] > rows["knowledge"]
    assert "code" in told.heard[-2].asked_next and "knowledge" not in told.heard[-2].asked_next


def test_a_whole_set_decides_whatever_its_noise() -> None:
    told = Told(lambda text: base_wrong(text) != (chance(text, "a") < 0.25))
    asked = told.ask(questions(), tolerances=Tolerances(code=40, knowledge=40, reasoning=40))
    assert set(decisions(asked).values()) == {"kept"}


def test_no_question_is_asked_twice_and_the_base_answers_once_for_all_artifacts() -> None:
    told = Told(base_wrong)
    told.ask(questions())
    first = told.runtimes[0]
    assert len(first.asked) == len(set(first.asked))
    again = Told(base_wrong)
    again.ask(questions(), seed=0, windows=8)
    assert again.runtimes[0].asked == [] and again.runtimes[1].asked == []


def test_an_asking_that_was_cut_goes_on_where_it_was() -> None:
    cut = Told(base_wrong)
    cut.runtimes[1].dies_at = 96
    with pytest.raises(KeyboardInterrupt):
        cut.ask(questions())
    whole = Told(base_wrong)
    asked = whole.ask(questions())
    assert asked.ended == "decided"
    assert not set(cut.runtimes[1].asked) & set(whole.runtimes[1].asked)


def test_the_same_seed_asks_the_same_questions_and_every_seed_decides_alike() -> None:
    found = [
        Told(lambda text: base_wrong(text) != (chance(text, "a") < 0.02)).ask(
            questions(), seed=seed
        )
        for seed in range(5)
    ]
    assert len({str(decisions(row)) for row in found}) == 1
    assert len({row.base[0].id for row in found}) > 1
    assert len({row.comparison.questions for row in found}) == 5


def test_a_spent_budget_ends_the_asking_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 10_000, 3))
    monkeypatch.setattr("edgecomp.jobs.asking.time.monotonic", lambda: next(seconds))
    asked = Told(lambda text: base_wrong(text) != (chance(text, "a") < 0.1)).ask(
        questions(), budget_seconds=30.0
    )
    assert asked.ended == "time is spent"
    assert "not decided" in decisions(asked).values()
    assert all(row.items for row in asked.comparison.categories)


def test_what_repeats_its_base_is_looked_at_once() -> None:
    told = Told(base_wrong)
    told.repeats_base = True
    asked = told.ask(questions())
    assert asked.ended == "it repeats its base"
    assert {row.items for row in asked.comparison.categories} == {32}
    broken = Told(lambda text: base_wrong(text) or chance(text, "a") < 0.9, "broken")
    broken.repeats_base = True
    assert broken.ask(questions()).ended == "a loss is shown"


def test_a_budget_for_no_round_is_refused_with_the_time_that_would_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter(range(0, 10_000, 60))
    monkeypatch.setattr("edgecomp.jobs.asking.time.monotonic", lambda: next(seconds))
    graded = [row.model_copy(update={"difficulty": "easy"}) for row in questions()]
    with pytest.raises(EvidenceTooNarrow, match=r"--budget \d+min"):
        Told(base_wrong).ask(graded, budget_seconds=130.0)


def test_every_artifact_of_a_base_is_asked_from_the_same_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though the base's first answers took long and were few."""
    parts = [
        row.model_copy(update={"benchmark": name, "id": f"{row.id} {name}", "difficulty": level,
                               "prompt": f"{row.prompt} {name}"})
        for name, level in (("a", "easy"), ("b", "hard"))
        for row in questions(100)
    ]  # fmt: skip
    later = {item.prompt for item in pilot(parts, 12)} - {item.prompt for item in pilot(parts, 4)}
    missed = sorted(text for text in map(str, later) if text.endswith(" b"))[::3]

    def wrong(text: str) -> bool:
        """The part b is all right but for some of what a longer look shows."""
        return text in missed if text.endswith(" b") else base_wrong(text)

    with monkeypatch.context() as slow:
        seconds = iter(range(0, 10**6, 700))
        slow.setattr("edgecomp.jobs.asking.time.monotonic", lambda: next(seconds))
        first = Told(wrong)
        first.runtimes[0].wrong = wrong
        asked = first.ask(parts, budget_seconds=20_000.0)
    second = Told(wrong, "other")
    second.runtimes[0].wrong = wrong
    again = second.ask(parts)
    assert asked.comparison.questions == again.comparison.questions
