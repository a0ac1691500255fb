"""What all eight screens share: a line that says where one is, the way to the others, the keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.events import ScreenResume
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from .cut import cut_middle
from .key_line import KeyLine
from .navigation import Navigation
from .session import Session

if TYPE_CHECKING:
    from .app import EdgecompApp


class Page(Screen[None]):
    """One of the eight screens. It shows the session anew each time it comes to the front."""

    AUTO_FOCUS = ""
    PAGE: ClassVar[str]
    """Its name in `pages.PAGES`."""

    PURPOSE: ClassVar[str]
    """What it is for, as `?` tells it."""

    def __init__(self) -> None:
        super().__init__()
        self._line = Text()
        self._seen_at: Size | None = None

    @property
    def edgecomp(self) -> EdgecompApp:
        from .app import EdgecompApp

        return cast(EdgecompApp, self.app)

    @property
    def session(self) -> Session:
        return self.edgecomp.session

    def compose(self) -> ComposeResult:
        yield Static(id="where")
        yield from self.body()
        yield Navigation(self.PAGE)
        yield KeyLine()

    def body(self) -> Iterable[Widget]:
        """The widgets between the first line and the keys."""
        raise NotImplementedError

    def show_session(self) -> None:
        """Bring the screen up to what the session holds."""

    def on_screen_resume(self, event: ScreenResume) -> None:
        # No rule asks which screen is in front, and a new theme comes with the change of mode:
        # at the same size the whole screen's styles, and with them all drawn lines, are good.
        event.refresh_styles = self._seen_at != self.app.size
        self._seen_at = self.app.size
        self.show_where()
        self.show_session()

    def on_resize(self) -> None:
        self.show_where()

    def show_where(self) -> None:
        """The first line: model, device and format chosen so far."""
        session = self.session
        parts = ["no model yet"]
        if session.model:
            parts = [session.model.name]
            parts.append(session.device.title if session.device else session.device_name)
        if session.recipe:
            parts.append(f"{session.recipe.format} at {session.recipe.settings.context}")
        room = max(self.app.size.width - 12, 8)
        share = max((room - 3 * (len(parts) - 1)) // len(parts), 4)
        line = Text("edgecomp  ", style="bold")
        line.append(" ▸ ".join(cut_middle(part, share) for part in parts))
        if line != self._line:
            self._line = line
            self.query_one("#where", Static).update(line)
