"""The stages of a run so far, from its events: each with its bar, its speed and the time left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from edgecomp.common.events import (
    Estimated,
    Event,
    Noted,
    StageFinished,
    StageProgress,
    StageStarted,
    StandingsSeen,
    Warned,
)
from edgecomp.common.quantity import format_duration

from .bars import bar
from .cut import cut_middle


@dataclass
class Stage:
    """One stage as far as it is known."""

    title: str
    began: float
    done: float = 0.0
    total: float = 0.0
    seconds: float | None = None
    cached: bool = False

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    def left_seconds(self, now: float) -> float | None:
        """By the stage's own pace so far; None before it has one."""
        if not 0.02 < self.share < 1:
            return None
        return (now - self.began) * (1 - self.share) / self.share


@dataclass
class StageList:
    """Stages in the order they began, and warnings without repetition."""

    stages: dict[str, Stage] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    standings: StandingsSeen | None = None
    """What the questions say so far, while they are asked."""

    expected_seconds: float | None = None
    """Time of the whole job, once it has said so."""

    def take(self, event: Event, now: float | None = None) -> str | None:
        """Bring the list up to an event; return a line for the log where it deserves one."""
        now = time.monotonic() if now is None else now
        match event:
            case StageStarted():
                self.stages[event.stage] = Stage(event.title, now)
            case StageProgress():
                stage = self.stages.get(event.stage)
                if stage:
                    stage.done, stage.total = event.done, event.total
            case StageFinished():
                stage = self.stages.get(event.stage)
                if stage:
                    stage.seconds, stage.cached = event.seconds, event.cached
                    how = "from the cache" if event.cached else format_duration(event.seconds)
                    return f"{stage.title}: done, {how}"
            case StandingsSeen():
                self.standings = event
            case Warned() if event.text not in self.warnings:
                self.warnings.append(event.text)
                return f"Warning: {event.text}"
            case Estimated():
                self.expected_seconds = event.seconds
                return event.text
            case Noted():
                return event.text
        return None

    @property
    def current(self) -> Stage | None:
        """The stage at work."""
        return next((row for row in reversed(self.stages.values()) if row.seconds is None), None)

    def table(self, width: int, now: float | None = None, *, live: bool) -> Table:
        """A line a stage in `width` cells. `live`: the run goes on."""
        now = time.monotonic() if now is None else now
        bars, figures = (10, 12) if width < 76 else (30, 18)
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=max(width - bars - figures - 4, 12), no_wrap=True)
        table.add_column(width=bars)
        table.add_column(width=figures, no_wrap=True, justify="right")
        for stage in self.stages.values():
            table.add_row(
                *_cells(stage, max(width - bars - figures - 4, 12), bars, live=live, now=now)
            )
        return table


def _cells(stage: Stage, room: int, width: int, now: float, *, live: bool) -> list[Text]:
    title = Text(cut_middle(stage.title, room))
    if stage.seconds is not None:
        how = "cached" if stage.cached else format_duration(stage.seconds)
        return [Text("✓", style="green"), title, bar(1.0, width, "green"), Text(how)]
    if not live:
        return [Text("■", style="yellow"), title, bar(stage.share, width), Text("stopped")]
    left = stage.left_seconds(now)
    words = f"{format_duration(left)} left" if left else f"{100 * stage.share:.0f} %"
    return [Text("▸", style="cyan"), title, bar(stage.share, width, "cyan"), Text(words)]
