"""The app: eight screens, one key each, over one session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from .pages import PAGES, load_pages, page
from .session import Session

if TYPE_CHECKING:
    from edgecomp.jobs.background import FitRequest, Outcome
    from edgecomp.recipes.recipe import Recipe

SMALLEST = (80, 24)
"""Columns and rows that every screen is made for."""

SWITCH_SECONDS = 0.01
"""Enough for a screen's first messages; Textual's own 0.05 would be most of the time to switch."""


class EdgecompApp(App[None]):
    """Fit, watch, compare. Everything long runs in workers or in processes of its own."""

    TITLE = "edgecomp"
    CSS_PATH = "edgecomp.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 - Textual's own type
    MODES: ClassVar[dict[str, str | Callable[[], Screen]]] = {  # type: ignore[type-arg]
        name: page(name) for name in PAGES
    }
    DEFAULT_MODE = "model"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(f"{number},f{number}", f"show('{name}')", title, show=False)
            for number, (name, title) in enumerate(PAGES.items(), start=1)
        ),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,ctrl+c,ctrl+q", "leave", "Quit", key_display="q"),
    ]

    def __init__(self, data: Path | None = None) -> None:
        super().__init__()
        self.session = Session(data=data)
        self._asked_to_leave = False
        self._styles_read = ""
        self._styled: WeakKeyDictionary[Screen[object], str] = WeakKeyDictionary()

    def on_mount(self) -> None:
        self.check_size(self.size.width, self.size.height)
        self.run_worker(self._open_recent, thread=True, group="recent")
        self.call_after_refresh(self.run_worker, load_pages, thread=True, group="pages")

    def on_resize(self, event: events.Resize) -> None:
        self.check_size(event.size.width, event.size.height)

    def check_size(self, width: int, height: int) -> None:
        """Cover everything with the size that is needed where the terminal is too small."""
        from .too_small_screen import TooSmallScreen

        covered = isinstance(self.screen, TooSmallScreen)
        small = width < SMALLEST[0] or height < SMALLEST[1]
        if small and not covered:
            self.push_screen(TooSmallScreen(SMALLEST))
        elif covered and not small:
            self.pop_screen()

    def delay_update(self, delay: float = SWITCH_SECONDS) -> None:
        """Hold back drawing while a screen comes to the front, less long than Textual does."""
        super().delay_update(delay)

    def refresh_css(self, animate: bool = True) -> None:  # noqa: FBT001, FBT002 - Textual's
        """Style the screen in front anew, unless that was done in this theme.

        Textual reads all style sheets again, twice, for the first visit to each screen, although
        widgets are styled as they are mounted: more than half of what that visit took.
        """
        before = self._styled.get(self.screen, self._styles_read)
        self._styled[self.screen] = self._styles_read = self.theme
        if before != self.theme:
            super().refresh_css(animate=animate)

    def action_show(self, name: str) -> None:
        """Go to a screen; what lies over it is closed first."""
        if len(self.screen_stack) == 1 and name != self.current_mode:
            self.switch_mode(name)

    def action_help(self) -> None:
        from .help_screen import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    async def action_leave(self) -> None:
        """Quit; while a run goes on only when asked twice, and then it is stopped, not lost."""
        run = self.session.run
        if run is None:
            self.exit()
        elif self._asked_to_leave:
            self.run_worker(self._stop_and_leave, thread=True, group="stop")
        else:
            self._asked_to_leave = True
            self.notify("A run is going on. Press q again to stop it; it can be resumed.")

    def _stop_and_leave(self) -> None:
        if self.session.run:
            self.session.run.stop()
        message = "The run was stopped. Start edgecomp again to go on with it."
        self.call_from_thread(self.exit, message=message)

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:  # type: ignore[type-arg]
        yield from super().get_system_commands(screen)
        for number, (name, title) in enumerate(PAGES.items(), start=1):
            yield SystemCommand(
                f"Go to {title}", f"Key {number}", lambda name=name: self.action_show(name)
            )

    def start_run(self, recipe: Recipe) -> None:
        """Carry out a recipe in a process of its own and show the Run screen."""
        from edgecomp.jobs.background import FitRequest
        from edgecomp.models.model_name import result_folder

        if self.session.run:
            self.notify("A run is going on. Key 5 shows it; x there stops it.", severity="warning")
            return
        output = result_folder(recipe.model).absolute()
        self.start_request(FitRequest(recipe=recipe, data=self.session.data, output=output))

    def start_request(self, request: FitRequest) -> None:
        """Start a run, or go on with one that was stopped."""
        self.session.request = request
        self.start_fit(request)
        self.action_show("run")

    @work(thread=True, group="run")
    def start_fit(self, request: FitRequest) -> None:
        from edgecomp.common.errors import EdgecompError
        from edgecomp.jobs.background import BackgroundFit

        from .recent import remember_run

        try:
            run = BackgroundFit(request)
        except (EdgecompError, OSError) as error:
            self.call_from_thread(self._refused, str(error))
            return
        self.session.run = run
        self._asked_to_leave = False
        remember_run(request)
        outcome = run.wait()
        self.session.run = None
        self.call_from_thread(self._ended, outcome)

    def stop_run(self) -> None:
        """Interrupt the run in a worker: it may take a moment to heed that."""
        if self.session.run:
            self.run_worker(self.session.run.stop, thread=True, group="stop")

    def _refused(self, text: str) -> None:
        self.notify(text, severity="error", timeout=10)

    def _ended(self, outcome: Outcome | None) -> None:
        from .recent import remember_bundle, remember_run

        if outcome and outcome.folder:
            remember_run(None)
            remember_bundle(outcome.folder)
            self.session.folder = outcome.folder
            self.notify(f"The bundle is {outcome.folder}. Key 6 shows the results.", title="Done")

    def _open_recent(self) -> None:
        """Offer the run that was not finished the last time."""
        from .recent import read_recent

        unfinished = read_recent().unfinished
        if unfinished:
            self.call_from_thread(self._offer, unfinished)

    def _offer(self, request: FitRequest) -> None:
        if self.session.request is None:
            self.session.request = request
            self.notify(
                f"A run of {request.recipe.model} as {request.recipe.format} was not finished. "
                "Key 5 shows it.",
                title="Resume",
                timeout=8,
            )


def run_app(data: Path | None = None) -> None:
    """Run the app in this terminal until the user leaves it."""
    EdgecompApp(data).run()
