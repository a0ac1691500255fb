"""What a terminal shows that is too small for the screens."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.widgets import Static


class TooSmallScreen(ModalScreen[None]):
    """Says the size that is needed and the one there is; goes when the terminal grows."""

    def __init__(self, needed: tuple[int, int]) -> None:
        super().__init__()
        self.needed = needed

    def compose(self) -> ComposeResult:
        yield Static(id="too-small")

    def on_mount(self) -> None:
        self.on_resize()

    def on_resize(self) -> None:
        columns, rows = self.needed
        self.query_one("#too-small", Static).update(
            f"edgecomp needs {columns} x {rows} characters.\n"
            f"This terminal has {self.app.size.width} x {self.app.size.height}: make it larger."
        )
