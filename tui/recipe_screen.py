"""The recipe as text, checked while one edits it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static, TextArea

from .notice import Notice
from .page import Page

if TYPE_CHECKING:
    from edgecomp.recipes.recipe import Recipe

    from .recipe_draft import Draft

DEBOUNCE_SECONDS = 0.3


class RecipeScreen(Page):
    """YAML on the left, what it means on the right, what is wrong with it below."""

    PAGE = "recipe"
    PURPOSE = (
        "Edit what the run will do: method, calibration mix, how much is asked and measured. "
        "It is checked as you type; the cursor can jump to the line that is wrong."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start", "Run it"),
        Binding("ctrl+s", "save", "Save"),
        Binding("ctrl+o", "open", "Open"),
        Binding("ctrl+g", "fault", "To the fault"),
        Binding("escape", "leave_text", "Keys", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.draft: Draft | None = None
        self._shown: Recipe | None = None
        self._pending: Timer | None = None
        self._to_start = False

    def body(self) -> Iterable[Widget]:
        yield Notice("recipe-notice")
        with Horizontal(id="recipe-columns"):
            yield TextArea("", id="recipe-text", show_line_numbers=True, tab_behavior="indent")
            with VerticalScroll(id="recipe-summary"):
                yield Static(id="recipe-words")

    def show_session(self) -> None:
        recipe = self.session.recipe
        if recipe is None and not self.query_one("#recipe-text", TextArea).text:
            self._nothing()
        elif recipe is not None and recipe != self._shown:
            self._shown = recipe
            self.fill(recipe)

    def _nothing(self) -> None:
        self.query_one("#recipe-notice", Notice).say(
            "empty",
            "No recipe yet. Key 3 makes one from a candidate of the plan; ctrl+o opens a file.",
        )
        self.query_one("#recipe-columns").display = False
        self.set_focus(None)

    @work(thread=True, group="recipe-text", exclusive=True)
    def fill(self, recipe: Recipe) -> None:
        from .recipe_draft import recipe_text

        self.app.call_from_thread(self._edit, recipe_text(recipe))

    def _edit(self, text: str) -> None:
        self.query_one("#recipe-columns").display = True
        area = self.query_one("#recipe-text", TextArea)
        area.load_text(text)
        self.set_focus(area)

    def on_text_area_changed(self) -> None:
        if self._pending:
            self._pending.stop()
        self._pending = self.set_timer(DEBOUNCE_SECONDS, self._check)

    def _check(self) -> None:
        text = self.query_one("#recipe-text", TextArea).text
        if text:
            self.check(text)

    @work(thread=True, group="recipe-check", exclusive=True)
    def check(self, text: str) -> None:
        from textual.worker import get_current_worker

        from .recipe_draft import read_draft

        worker = get_current_worker()
        draft = read_draft(text)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._take, draft)

    def _take(self, draft: Draft) -> None:
        from .recipe_summary import recipe_summary

        self.draft = draft
        starts, self._to_start = self._to_start, False
        notice = self.query_one("#recipe-notice", Notice)
        if draft.recipe is None:
            notice.say("error", draft.fault)
            if starts:
                self._refuse()
            return
        if draft.warnings:
            notice.say("warning", " ".join(draft.warnings))
        else:
            notice.hide()
        self.session.recipe = self._shown = draft.recipe
        self.show_where()
        width = self.query_one("#recipe-summary").size.width - 2
        self.query_one("#recipe-words", Static).update(recipe_summary(draft.recipe, width))
        if starts:
            self.edgecomp.start_run(draft.recipe)

    def action_fault(self) -> None:
        """Put the cursor on the line that is wrong."""
        if self.draft and self.draft.line:
            area = self.query_one("#recipe-text", TextArea)
            self.set_focus(area)
            area.move_cursor((self.draft.line - 1, 0), center=True)

    def action_leave_text(self) -> None:
        self.set_focus(self.query_one("#recipe-summary"))

    def action_start(self) -> None:
        """Check the text as it stands now, go to the Run screen and start it there."""
        if self._pending:
            self._pending.stop()
        if self.query_one("#recipe-text", TextArea).text:
            self._to_start = True
            self._check()
        else:
            self._refuse()

    def _refuse(self) -> None:
        self.notify("The recipe must be in order before it can run.", severity="warning")

    def action_save(self) -> None:
        if self.session.recipe is None:
            return
        from .path_screen import PathScreen

        self.app.push_screen(PathScreen("Save the recipe as", "recipe.yaml"), self._save)

    def _save(self, answer: str | None) -> None:
        from edgecomp.common.atomic import write_text
        from edgecomp.common.errors import EdgecompError

        if answer is None:
            return
        try:
            write_text(Path(answer).expanduser(), self.query_one("#recipe-text", TextArea).text)
        except EdgecompError as error:
            self.notify(str(error), severity="error")
        else:
            self.notify(f"Saved as {answer}.")

    def action_open(self) -> None:
        from .path_screen import PathScreen

        self.app.push_screen(PathScreen("Open which recipe?", "recipe.yaml"), self._open)

    def _open(self, answer: str | None) -> None:
        if answer is None:
            return
        try:
            text = Path(answer).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.query_one("#recipe-notice", Notice).say("error", f"{answer}: {error}.")
            return
        self._edit(text)
