"""A live figure with its recent past as a sparkline."""

from __future__ import annotations

from collections import deque

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Sparkline, Static

KEPT = 120


class Gauge(Vertical):
    """`name`, the current value in words, and a line of the last values."""

    def __init__(self, name: str, id: str) -> None:
        super().__init__(id=id)
        self.label = name
        self._values: deque[float] = deque(maxlen=KEPT)

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{self.label}  -"), classes="gauge-label")
        yield Sparkline([], classes="gauge-line")

    def push(self, value: float, words: str) -> None:
        self._values.append(value)
        line = Text(f"{self.label}  ").append(words, style="bold")
        self.query_one(".gauge-label", Static).update(line)
        # The zero keeps the line on its own scale: a steady value is not a full bar of noise.
        self.query_one(Sparkline).data = [0.0, *self._values]

    def clear(self) -> None:
        self._values.clear()
        self.query_one(".gauge-label", Static).update(f"{self.label}  -")
        self.query_one(Sparkline).data = []
