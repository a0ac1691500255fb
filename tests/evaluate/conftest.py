"""A runtime that gives recorded answers and keeps count of what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgecomp.common.errors import ChildDied
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import ChoiceScore, Completion


class RecordedRuntime:
    """Answers from two tables: scores by context, texts by prompt. What is missing kills it."""

    name = "recorded"

    def __init__(self) -> None:
        self.scores: dict[str, list[float]] = {}
        self.texts: dict[str, str] = {}
        self.asked: list[str] = []
        self.limits: list[int] = []
        self.stops: list[Sequence[str]] = []

    def score(
        self,
        artifact: Path,
        settings: RunSettings,
        questions: Sequence[tuple[str, Sequence[str]]],
        progress: Progress = ignore_progress,
    ) -> list[list[ChoiceScore]]:
        answers = []
        for index, (context, _) in enumerate(questions):
            self.asked.append(context)
            if context not in self.scores:
                raise ChildDied("recorded death")
            row = [ChoiceScore(loglikelihood=v, greedy=False) for v in self.scores[context]]
            answers.append(row)
            progress(index + 1, len(questions))
        return answers

    def complete(
        self,
        artifact: Path,
        settings: RunSettings,
        prompts: Sequence[str],
        limits: Sequence[int],
        progress: Progress = ignore_progress,
        *,
        stops: Sequence[Sequence[str]] = (),
    ) -> list[Completion]:
        self.stops += stops
        answers = []
        for index, prompt in enumerate(prompts):
            self.asked.append(prompt)
            self.limits.append(limits[index])
            if prompt not in self.texts:
                raise ChildDied("recorded death")
            text = self.texts[prompt]
            tokens = tuple(range(len(text.split())))
            ended = len(tokens) < limits[index]
            answers.append(Completion(tokens=tokens, text=text, ended=ended))
            progress(index + 1, len(prompts))
        return answers


@pytest.fixture
def recorded() -> RecordedRuntime:
    return RecordedRuntime()
