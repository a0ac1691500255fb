"""Bars of block characters. Parts differ by their fill as well as by colour, so that a terminal
without colour shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

EIGHTHS = " ▏▎▍▌▋▊▉█"
EMPTY = "·"
REACH_POINTS = 30.0
"""Where the scale of drops ends, on either side."""


class Part(NamedTuple):
    """One part of a stacked bar: its name, amount, fill and colour."""

    name: str
    amount: float
    fill: str
    colour: str


def bar(share: float, width: int, colour: str = "") -> Text:
    """A bar of `width` cells, filled to `share` (0 to 1) in steps of an eighth of a cell."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    filled = EIGHTHS[8] * full + (EIGHTHS[rest] if rest else "")
    return Text(filled, style=colour).append(EMPTY * (width - len(filled)), style="dim")


def stacked_bar(parts: Sequence[Part], limit: float, width: int) -> Text:
    """Parts side by side on a scale that ends at `limit`; what is over it ends in an arrow."""
    text = Text()
    done, cells = 0.0, 0
    for part in parts:
        done += part.amount
        upto = width if done >= limit else round(done / limit * width)
        text.append(part.fill * (upto - cells), style=part.colour)
        cells = upto
    if done > limit:
        text.right_crop(1)
        return text.append("▶", style="bold")
    return text.append(EMPTY * (width - cells), style="dim")


def interval_strip(
    value: float,
    low: float,
    high: float,
    reach: float,
    width: int,
    *,
    margin: float | None = None,
) -> Text:
    """A value and its interval on a scale from -reach to +reach, with zero in the middle; a bar
    where `margin` lies."""

    def place(number: float) -> int:
        share = (max(-reach, min(number, reach)) + reach) / (2 * reach)
        return round(share * (width - 1))

    cells = ["·"] * width
    for index in range(place(low), place(high) + 1):
        cells[index] = "─"
    middle = place(0.0)
    cells[middle] = "┼" if place(low) <= middle <= place(high) else "│"
    cells[place(value)] = "●"
    if margin is not None:
        cells[place(margin)] = "┃"
    return Text("".join(cells))
