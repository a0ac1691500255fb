"""What long work says while it runs; only the command line and the app print."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel


class StageStarted(FrozenModel):
    """A stage of a run begins."""

    kind: Literal["stage-started"] = "stage-started"
    stage: str
    title: str


class StageProgress(FrozenModel):
    """Some of a stage is done; `done` and `total` share one unit, named by `unit`."""

    kind: Literal["stage-progress"] = "stage-progress"
    stage: str
    done: float
    total: float
    unit: str = ""


class StageFinished(FrozenModel):
    """A stage ended; `cached` says that an earlier run's result was taken."""

    kind: Literal["stage-finished"] = "stage-finished"
    stage: str
    cached: bool
    seconds: float


class Warned(FrozenModel):
    """Something the user should know; each text is shown once."""

    kind: Literal["warned"] = "warned"
    text: str


class Noted(FrozenModel):
    """Something worth telling that is no fault."""

    kind: Literal["noted"] = "noted"
    text: str


class Estimated(FrozenModel):
    """What the whole job will cost, before it starts."""

    kind: Literal["estimated"] = "estimated"
    text: str
    seconds: float


class Standing(FrozenModel):
    """What is known of one capability while it is asked for, in points of its score."""

    category: str
    asked: int
    set_items: int | None
    drop_points: float
    low_points: float
    high_points: float
    tolerance_points: float
    decision: str
    """lost, kept, or not decided."""


class StandingsSeen(FrozenModel):
    """A round of questions was answered."""

    kind: Literal["standings"] = "standings"
    rows: tuple[Standing, ...]
    asked_next: tuple[str, ...]
    """Categories that go on; empty where asking ends."""

    seconds: float
    """Spent on questions so far."""

    budget_seconds: float | None


Event = StageStarted | StageProgress | StageFinished | Warned | Noted | Estimated | StandingsSeen
Listener = Callable[[Event], None]
Progress = Callable[[float, float], None]
"""Called with (done, total) by a piece of work that does not know which stage it serves."""


def ignore(event: Event) -> None:
    """Listen to nothing."""


def ignore_progress(done: float, total: float) -> None:
    """Report nothing."""
