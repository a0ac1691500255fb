"""A run as it goes: stages, log, memory, processor and pace; stop it and go on later."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group, RenderableType
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import RichLog, Static

from .gauge import Gauge
from .notice import Notice
from .page import Page
from .stage_list import StageList
from .standings_view import standings_view

if TYPE_CHECKING:
    from edgecomp.jobs.background import EventsPosition, Outcome

    from .run_meter import RunMeter, Sample

LOOK_SECONDS = 0.25
SAMPLE_SECONDS = 1.0


class RunScreen(Page):
    """Reads the run's files, so it shows this app's runs and other apps' alike."""

    PAGE = "run"
    PURPOSE = (
        "Watch the run. x stops it and keeps every finished stage; r goes on with it. "
        "A run of another edgecomp is shown as well, and stopped only there."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "resume", "Start or resume"),
        Binding("x", "stop", "Stop"),
        Binding("enter", "results", "Results"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.stages = StageList()
        self._position: EventsPosition | None = None
        self._showing: object = None
        self._meter: RunMeter | None = None
        self._began = time.monotonic()
        self._last_done = 0.0
        self._watched = False

    def body(self) -> Iterable[Widget]:
        yield Notice("run-notice")
        with Horizontal(id="run-columns"):
            with Vertical():
                with VerticalScroll(id="run-stages"):
                    yield Static(id="run-table")
                yield RichLog(id="run-log", wrap=True, max_lines=2000, min_width=20)
            with Vertical(id="run-gauges"):
                yield Gauge("memory", "gauge-memory")
                yield Gauge("CPU", "gauge-processor")
                yield Gauge("pace", "gauge-pace")
                yield Static(id="run-clock")

    def on_mount(self) -> None:
        self.set_interval(LOOK_SECONDS, self.look)
        self.set_interval(SAMPLE_SECONDS, self.measure)

    def show_session(self) -> None:
        request = self.session.request
        self.query_one("#run-columns").display = request is not None
        if request is None:
            self.query_one("#run-notice", Notice).say(
                "empty",
                "No run yet. Key 4 shows the recipe; ctrl+r there starts it."
                if self.session.recipe
                else "No run yet. Pick a model (1), a candidate of its plan (3), then run its "
                "recipe (4).",
            )
            return
        if request is not self._showing:
            self._begin(request)
        self.set_focus(self.query_one("#run-log"))
        self.look()

    def _begin(self, request: object) -> None:
        """Start over with another run's files."""
        self._showing = request
        self.stages, self._position, self._meter = StageList(), None, None
        self._began = time.monotonic()
        self.query_one("#run-log", RichLog).clear()
        for gauge in self.query(Gauge):
            gauge.clear()
        self.show_state()

    def look(self) -> None:
        """Take in the events that came since the last look."""
        from edgecomp.jobs.background import UNREAD, read_events, run_folder

        request = self.session.request
        if request is None:
            return
        if request is not self._showing:
            self._begin(request)
        before = self._position or UNREAD
        events, now = read_events(run_folder(request), before)
        if self._position and now.start != before.start:
            self._begin(request)
        self._position = now
        log = self.query_one("#run-log", RichLog)
        for event in events:
            line = self.stages.take(event)
            if line:
                log.write(line)
        if self.is_current:
            self._draw(live=bool(self.session.run) or self._watched)

    def _draw(self, *, live: bool) -> None:
        width = self.query_one("#run-stages").size.width - 2
        self.session.standings = self.stages.standings
        table: RenderableType = self.stages.table(max(width, 40), live=live)
        if self.stages.standings:
            race = standings_view(self.stages.standings, max(width, 40))
            table = Group(table, "", race)
        self.query_one("#run-table", Static).update(table)
        if live:
            self.query_one("#run-stages").scroll_end(animate=False)

    def show_state(self) -> None:
        """Say what the run is doing where that is not plain from its stages."""
        from edgecomp.jobs.background import is_running, owner, read_outcome, run_folder

        request, notice = self.session.request, self.query_one("#run-notice", Notice)
        if request is None:
            return
        folder = run_folder(request)
        self._watched = self.session.run is None and is_running(folder)
        outcome = None if self.session.run else read_outcome(folder)
        if self.session.run:
            notice.hide()
        elif self._watched:
            notice.say(
                "warning",
                f"Read-only: another edgecomp (process {owner(folder)}) works on this run. "
                "It can be stopped only there.",
            )
        elif outcome:
            self.show_outcome(outcome)
        else:
            notice.say(
                "warning",
                f"{request.recipe.model} as {request.recipe.format} was stopped. "
                "r goes on from its last finished stage.",
            )

    def show_outcome(self, outcome: Outcome) -> None:
        notice = self.query_one("#run-notice", Notice)
        if outcome.folder:
            notice.say("empty", f"Done: the bundle is {outcome.folder}. Enter shows the results.")
        else:
            notice.say("error", outcome.text)

    def measure(self) -> None:
        """Sample the run's processes, in a worker: walking them takes milliseconds."""
        if self.session.run and self.is_current:
            self.sample(self.session.run.process_id)
        self.show_state()

    @work(thread=True, group="sample", exclusive=True)
    def sample(self, process_id: int) -> None:
        from .run_meter import RunMeter

        if self._meter is None or self._meter.process_id != process_id:
            self._meter = RunMeter(process_id)
        self.app.call_from_thread(self._show_sample, self._meter.sample())

    def _show_sample(self, sample: Sample) -> None:
        from edgecomp.common.quantity import format_duration, format_size

        memory, processor = sample
        self.query_one("#gauge-memory", Gauge).push(memory, format_size(memory))
        self.query_one("#gauge-processor", Gauge).push(processor, f"{processor:.0f} %")
        stage = self.stages.current
        done = stage.done if stage else 0.0
        pace = max(done - self._last_done, 0.0) / SAMPLE_SECONDS
        self._last_done = done
        share = f"{100 * pace / stage.total:.2g} %/s" if stage and stage.total else "-"
        self.query_one("#gauge-pace", Gauge).push(pace, share)
        elapsed = format_duration(time.monotonic() - self._began)
        whole = self.stages.expected_seconds
        expected = f" of about {format_duration(whole)}" if whole else ""
        self.query_one("#run-clock", Static).update(f"elapsed {elapsed}{expected}")

    def action_stop(self) -> None:
        if self._watched:
            self.notify("This run belongs to another edgecomp.", severity="warning")
        elif self.session.run:
            self.notify("Stopping. Finished stages are kept.")
            self.edgecomp.stop_run()

    def action_resume(self) -> None:
        if self.session.run:
            self.notify("The run is going on.")
        elif self._watched:
            self.notify("Another edgecomp is working on it.", severity="warning")
        elif self.session.request:
            self._showing = None
            self.edgecomp.start_request(self.session.request)

    def action_results(self) -> None:
        if self.session.folder:
            self.edgecomp.action_show("results")
