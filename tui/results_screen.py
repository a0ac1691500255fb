"""What a run found out, of the bundle last made or opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from .notice import Notice
from .page import Page

if TYPE_CHECKING:
    from edgecomp.reporting.report import Report


LOOK_SECONDS = 0.5


class ResultsScreen(Page):
    """One page that scrolls."""

    PAGE = "results"
    PURPOSE = (
        "Read the verdict first, then performance, reliability and efficiency: each drop stands "
        "beside its 95 % interval. While a run asks its questions, the race is shown."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "open", "Open a bundle")]

    def __init__(self) -> None:
        super().__init__()
        self.report: Report | None = None
        self._shown: Path | None = None

    def body(self) -> Iterable[Widget]:
        yield Notice("results-notice")
        yield Static(id="results-race")
        with VerticalScroll(id="results"):
            yield Static(id="results-text")

    def on_mount(self) -> None:
        self.set_interval(LOOK_SECONDS, self.show_race)

    def show_race(self) -> None:
        """What the questions of the run that goes on say so far."""
        from .standings_view import standings_view

        race = self.query_one("#results-race", Static)
        seen = self.session.standings if self.session.run else None
        race.display = seen is not None
        if seen is not None and self.is_current:
            race.update(standings_view(seen, self.app.size.width - 4))

    def show_session(self) -> None:
        self.show_race()
        self.set_focus(self.query_one("#results"))
        if self.session.folder is None or self.session.folder != self._shown:
            self.query_one("#results-notice", Notice).say("loading", "Reading the report")
            self.load(self.session.folder)

    @work(thread=True, group="report", exclusive=True)
    def load(self, folder: Path | None) -> None:
        from edgecomp.bundles.compare import read_report
        from edgecomp.common.errors import EdgecompError

        from .bundles import find_bundles

        try:
            folder = folder or next(iter(find_bundles()), None)
            if folder is None:
                self.app.call_from_thread(self._nothing)
                return
            report = read_report(folder)
        except EdgecompError as error:
            self.app.call_from_thread(self._fail, str(error))
            return
        self.app.call_from_thread(self._take, folder, report)

    def _nothing(self) -> None:
        self.query_one("#results").display = False
        self.query_one("#results-notice", Notice).say(
            "empty", "No results yet. They appear when a run ends; o opens a bundle's folder."
        )

    def _fail(self, text: str) -> None:
        self.query_one("#results").display = False
        self.query_one("#results-notice", Notice).say("error", text)

    def _take(self, folder: Path, report: Report) -> None:
        self.session.folder = self._shown = folder
        self.report = report
        self.query_one("#results-notice", Notice).hide()
        self.query_one("#results").display = True
        self._draw()

    def _draw(self) -> None:
        from .results_view import results_view

        if self.report:
            width = self.app.size.width - 4
            self.query_one("#results-text", Static).update(results_view(self.report, width))

    def on_resize(self) -> None:
        super().on_resize()
        self._draw()

    def action_open(self) -> None:
        from .path_screen import PathScreen

        self.app.push_screen(PathScreen("Open which bundle?"), self._open)

    def _open(self, answer: str | None) -> None:
        if answer:
            self.session.folder = Path(answer).expanduser().absolute()
            self.show_session()
