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
    Warned,
)
from edgecomp.common.quantity import format_duration


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
            case Warned() if event.text not in warned:
                warned.add(event.text)
                console.print(f"[yellow]Warning:[/yellow] {escape(event.text)}", soft_wrap=True)
            case Noted() | Estimated():
                console.print(event.text, soft_wrap=True, markup=False)

    with bars:
        yield listen
