"""One line with every screen and its key; a click goes there too."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from .pages import PAGES


class Place(Static):
    """One screen's key and name."""

    def __init__(self, number: int, name: str, title: str, here: bool) -> None:
        super().__init__(f"[b]{number}[/b] {title}", classes="here" if here else "")
        self.target = name

    async def on_click(self) -> None:
        await self.run_action(f"app.show('{self.target}')")


class Navigation(Horizontal):
    """The eight screens; `here` is the one shown."""

    def __init__(self, here: str) -> None:
        super().__init__()
        self.here = here

    def compose(self) -> ComposeResult:
        for number, (name, title) in enumerate(PAGES.items(), start=1):
            yield Place(number, name, title, name == self.here)
