"""The eight screens by name, in the order of their keys; each is imported when it is first shown,
which keeps the first frame fast."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from textual.screen import Screen

PAGES = {
    "model": "Model",
    "device": "Device",
    "plan": "Plan",
    "recipe": "Recipe",
    "run": "Run",
    "results": "Results",
    "compare": "Compare",
    "bundle": "Bundle",
}


def page(name: str) -> Callable[[], Screen[None]]:
    """What makes the screen called `name`."""

    def make() -> Screen[None]:
        module = importlib.import_module(f".{name}_screen", __package__)
        screen: Screen[None] = getattr(module, f"{PAGES[name]}Screen")()
        return screen

    return make
