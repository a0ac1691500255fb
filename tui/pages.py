"""The eight screens by name, in the order of their keys. Each is imported when it is first shown,
or by `load_pages` once the first frame stands: so neither that frame nor a first visit waits."""

from __future__ import annotations

import gc
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


def load_pages() -> None:
    """Import every screen and what is drawn on it; for a thread beside the app's.

    What has been imported by then lives as long as the app: taken out of the garbage collector's
    sight, it no longer costs every twentieth key 60 ms.
    """
    drawn = ("device_view", "reason", "recipe_draft", "recipe_summary", "results_view", "bundles")
    for module in (*(f"{name}_screen" for name in PAGES), *drawn):
        importlib.import_module(f".{module}", __package__)
    gc.freeze()
