"""The race of an asking, as the app shows it."""

from __future__ import annotations

import io

from rich.console import Console

from edgecomp.common.events import Standing, StandingsSeen
from edgecomp.tui.stage_list import StageList
from edgecomp.tui.standings_view import standings_view


def standing(category: str, decision: str, low: float, high: float) -> Standing:
    return Standing(
        category=category,
        asked=96,
        set_items=456,
        drop_points=(low + high) / 2,
        low_points=low,
        high_points=high,
        tolerance_points=5.0,
        decision=decision,
    )


SEEN = StandingsSeen(
    rows=(
        standing("knowledge", "kept", -3.0, 4.5),
        standing("code", "lost", 8.0, 30.0),
        standing("reasoning", "not decided", -4.0, 9.0),
    ),
    asked_next=("reasoning",),
    seconds=75.0,
    budget_seconds=600.0,
)


def shown(seen: StandingsSeen, width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(standings_view(seen, width))
    return console.export_text().splitlines()


def test_each_capability_has_its_interval_its_margin_and_its_state() -> None:
    heading, _, knowledge, code, reasoning = shown(SEEN, 120)
    assert "75 s of 10 min" in heading and "next: reasoning" in heading
    assert "✓ kept" in knowledge and "✗ lost" in code and "▸ open" in reasoning
    assert "96/456" in reasoning and "-4.0 to +9.0" in reasoning
    assert knowledge.count("┃") == 1 and "●" in knowledge


def test_eighty_columns_hold_it() -> None:
    assert all(len(line.rstrip()) <= 80 for line in shown(SEEN, 80))


def test_an_asking_that_ended_asks_nothing_next() -> None:
    ended = SEEN.model_copy(update={"asked_next": ()})
    lines = shown(ended, 120)
    assert lines[0].strip() == "Asked for 75 s." and "not decided" in lines[-1]


def test_a_run_keeps_what_was_seen_last() -> None:
    stages = StageList()
    assert stages.standings is None
    stages.take(SEEN)
    assert stages.standings == SEEN
