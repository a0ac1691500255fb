"""How each screen looks: two sizes, two themes. `pytest --snapshot-update` accepts a new look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import TextArea

from edgecomp.jobs.background import FitRequest
from edgecomp.tui.app import EdgecompApp

Settle = Callable[[Pilot[None]], Awaitable[None]]
Compare = Callable[..., bool]
SIZES = {"small": (80, 24), "large": (200, 60)}
THEMES = {"dark": "textual-dark", "light": "textual-light"}
KEYS = {
    "model": (),
    "device": ("2",),
    "plan": ("3",),
    "recipe": ("3", "enter"),
    "run": ("5",),
    "results": ("6",),
    "compare": ("7",),
    "bundle": ("8",),
    "help": ("3", "question_mark"),
}
EVERY_LOOK = ("plan", "run", "results")
LOOKS = [
    (screen, size, theme)
    for screen in KEYS
    for size in SIZES
    for theme in THEMES
    if screen in EVERY_LOOK or (size == "small") == (theme == "dark")
]
"""The busiest screens in all four looks, the others dark at 80 x 24 and light at 200 x 60."""


@pytest.fixture
def filled(
    app: EdgecompApp, bundles: list[Path], stopped_run: FitRequest, here: Path
) -> EdgecompApp:
    """The app with something to show on every screen, and no path of this machine."""
    app.session.request = stopped_run
    app.session.folder = bundles[0].relative_to(here)
    return app


async def press(pilot: Pilot[None], settle: Settle, screen: str) -> None:
    """Go to a screen, and stop the cursor of its text from blinking."""
    for key in KEYS[screen]:
        await pilot.press(key)
        await settle(pilot)
    for text in pilot.app.screen.query(TextArea):
        text.cursor_blink = False
    await settle(pilot)


@pytest.mark.parametrize(("screen", "size", "theme"), LOOKS)
def test_the_screens_look_as_they_did(
    filled: EdgecompApp, settle: Settle, snap_compare: Compare, screen: str, size: str, theme: str
) -> None:
    async def walk(pilot: Pilot[None]) -> None:
        pilot.app.theme = THEMES[theme]
        await settle(pilot)
        await press(pilot, settle, screen)

    assert snap_compare(filled, terminal_size=SIZES[size], run_before=walk)


@pytest.mark.parametrize("screen", EVERY_LOOK)
def test_the_screens_tell_the_same_without_colour(
    filled: EdgecompApp,
    settle: Settle,
    snap_compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
    screen: str,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    plain = EdgecompApp()
    plain.session = filled.session

    async def walk(pilot: Pilot[None]) -> None:
        await press(pilot, settle, screen)

    assert snap_compare(plain, terminal_size=SIZES["small"], run_before=walk)
