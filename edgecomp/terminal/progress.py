"""Progress of long work on a terminal's stderr: one bar a stage, with the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgecomp.common.events import (
    Estimated,
    Event,
    Listener,
    Noted,
    StageFinished,
    StageProgress,
    StageStarted,
    Standing,
    StandingsSeen,
    Warned,
)
from edgecomp.common.quantity import format_duration

OUTCOMES = {"kept": "green", "lost": "red"}


@contextmanager
def progress_bars() -> Iterator[Listener]:
    """Yield a listener that draws bars on a terminal, or prints a line a stage elsewhere."""
    console = Console(stderr=True, highlight=False)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=False,
        disable=not console.is_terminal,
    )
    running: dict[str, TaskID] = {}
    titles: dict[str, str] = {}
    warned: set[str] = set()
    decided: set[str] = set()

    def listen(event: Event) -> None:
        match event:
            case StageStarted():
                titles[event.stage] = event.title
                running[event.stage] = bars.add_task(event.title, total=None)
            case StageProgress():
                bars.update(running[event.stage], completed=event.done, total=event.total)
            case StageFinished():
                bars.remove_task(running.pop(event.stage))
                how = "from the cache" if event.cached else format_duration(event.seconds)
                console.print(f"{escape(titles[event.stage])}: [green]done[/green], {how}")
            case StandingsSeen():
                for row in event.rows:
                    if row.decision in OUTCOMES and row.category not in decided:
                        decided.add(row.category)
                        console.print(_decided(row), soft_wrap=True)
            case Warned() if event.text not in warned:
                warned.add(event.text)
                console.print(f"[yellow]Warning:[/yellow] {escape(event.text)}", soft_wrap=True)
            case Noted() | Estimated():
                console.print(event.text, soft_wrap=True, markup=False)

    with bars:
        yield listen


def _decided(row: Standing) -> str:
    of_set = f" of {row.set_items}" if row.set_items else ""
    return (
        f"  {row.category}: [{OUTCOMES[row.decision]}]{row.decision}[/], drop "
        f"{row.drop_points:+.1f} points ({row.low_points:+.1f} to {row.high_points:+.1f}) by "
        f"{row.asked}{of_set} questions"
    )
