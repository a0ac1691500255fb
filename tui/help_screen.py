"""The keys of the screen one came from, and what it is for."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from .pages import PAGES


class HelpScreen(ModalScreen[None]):
    """Closed by Escape, or by the key that opened it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Close", key_display="esc")
    ]

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__()
        self.about = about

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(self._content())

    def _content(self) -> Group:
        name = getattr(self.about, "PAGE", "")
        keys = Table.grid(padding=(0, 2))
        keys.add_column(style="bold", no_wrap=True)
        keys.add_column()
        listed: set[str] = set()
        for active in self.about.active_bindings.values():
            binding = active.binding
            if binding.show and binding.description and binding.action not in listed:
                listed.add(binding.action)
                keys.add_row(self.app.get_key_display(binding), binding.description)
        places = ", ".join(f"{n} {title}" for n, title in enumerate(PAGES.values(), start=1))
        return Group(
            Text(PAGES.get(name, "Keys"), style="bold"),
            Text(getattr(self.about, "PURPOSE", "")),
            Text(),
            keys,
            Text(),
            Text(f"Screens: {places}."),
            Text("While a field is being edited, F1 to F8 go to the screens and Esc leaves it."),
            Text("Tab goes to the next field, ctrl+p opens all commands and themes."),
        )
