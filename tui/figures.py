"""Figures as cells of a table."""

from __future__ import annotations

from rich.text import Text


def figure(value: float) -> str:
    """Three digits, or whole thousands with separators."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def right(text: str) -> Text:
    """A cell that ends at the right edge."""
    return Text(text, justify="right")
