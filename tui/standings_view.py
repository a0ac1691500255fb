"""The race of an asking: each capability's interval closing on what is tolerated."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgecomp.common.events import Standing, StandingsSeen
from edgecomp.common.quantity import format_duration

from .bars import REACH_POINTS, interval_strip

SIGNS = {"kept": ("✓ kept", "green"), "lost": ("✗ lost", "red")}
FIXED_WIDTH, LONGEST_STRIP, SHORTEST_STRIP = 62, 41, 13


def standings_view(seen: StandingsSeen, width: int) -> RenderableType:
    """A line a capability in `width` cells: what was asked, the drop, its interval with the margin
    marked, and whether it is decided, asked on, or let be."""
    strip = max(min(LONGEST_STRIP, width - FIXED_WIDTH), SHORTEST_STRIP)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("capability", "asked", "drop", "95 % interval"):
        table.add_column(name, justify="left" if name == "capability" else "right", no_wrap=True)
    table.add_column("gain ◂ 0 ▸ loss" if strip > 15 else "gain 0 loss", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in seen.rows:
        table.add_row(
            row.category,
            f"{row.asked}/{row.set_items}" if row.set_items else str(row.asked),
            f"{row.drop_points:+.1f}",
            f"{row.low_points:+.1f} to {row.high_points:+.1f}",
            _strip(row, strip),
            _state(row, seen),
        )
    return Group(Text(_heading(seen), style="bold"), table)


def _heading(seen: StandingsSeen) -> str:
    spent = format_duration(seen.seconds)
    if not seen.asked_next:
        return f"Asked for {spent}."
    limit = f" of {format_duration(seen.budget_seconds)} at most" if seen.budget_seconds else ""
    return f"Asking: {spent}{limit}; next: {', '.join(seen.asked_next)}"


def _strip(row: Standing, width: int) -> Text:
    """The interval, with a bar where the tolerance ends."""
    strip = interval_strip(
        row.drop_points, row.low_points, row.high_points, REACH_POINTS, width,
        margin=row.tolerance_points,
    )  # fmt: skip
    strip.stylize(SIGNS.get(row.decision, ("", ""))[1])
    return strip


def _state(row: Standing, seen: StandingsSeen) -> Text:
    if row.decision in SIGNS:
        return Text(*SIGNS[row.decision])
    return Text("▸ open" if row.category in seen.asked_next else "· not decided")
