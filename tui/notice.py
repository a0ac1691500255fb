"""The states in which a screen has nothing to show: empty, loading, and an error."""

from __future__ import annotations

from typing import Literal

from rich.text import Text
from textual.widgets import Static

State = Literal["empty", "loading", "error", "warning"]
SIGNS: dict[State, str] = {"empty": "○", "loading": "◌", "error": "✗", "warning": "!"}


class Notice(Static):
    """A sentence in place of content. Hidden while it has none."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def say(self, state: State, text: str) -> None:
        """Show `text`; the state is told by a sign as well as by colour."""
        self.set_classes(f"notice-{state}")
        self.update(Text(f"{SIGNS[state]} ").append(text))
        self.display = True

    def hide(self) -> None:
        self.display = False
