"""Long names cut in the middle, where they tell least: both ends stay readable."""

from __future__ import annotations

from rich.cells import cell_len

ELLIPSIS = "…"


def cut_middle(text: str, width: int) -> str:
    """`text` in at most `width` terminal cells; the end keeps a little more than the start."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    head = (width - 1) // 2
    tail = width - 1 - head
    return _first(text, head) + ELLIPSIS + _first(text[::-1], tail)[::-1]


def _first(text: str, width: int) -> str:
    """The longest start of `text` that takes at most `width` cells."""
    taken = ""
    for character in text:
        if cell_len(taken + character) > width:
            break
        taken += character
    return taken
