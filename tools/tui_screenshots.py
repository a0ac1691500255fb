"""Take the README's pictures of the app from a real run on the demo model.

    python tools/tui_screenshots.py docs

writes plan.svg, run.svg and results.svg. It makes the run that tui_demo.py records, with six
questions of each benchmark: some minutes, or less where that run is cached. The picture of the run
is of its longest stage, or of the end where no stage takes long.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from textual.pilot import Pilot

from edgecomp.tui.app import EdgecompApp

SIZE = (120, 36)
LOOK_SECONDS = 1.0
PLAN_SECONDS, RUN_SECONDS = 30, 3600
LONGEST_STAGE = "Asking the artifact"


async def until(pilot: Pilot[None], ready: str, seconds: float) -> None:
    """Wait until the session holds `ready`."""
    app = pilot.app
    assert isinstance(app, EdgecompApp)
    for _ in range(int(seconds / LOOK_SECONDS)):
        if getattr(app.session, ready) is not None:
            break
        await pilot.pause(LOOK_SECONDS)
    else:
        raise SystemExit(f"{ready} is not there after {seconds} s.")
    await pilot.pause(LOOK_SECONDS)


async def take(folder: Path) -> None:
    """Walk from the model to the results and keep a picture of three screens."""
    app = EdgecompApp()
    async with app.run_test(size=SIZE, notifications=False) as pilot:

        def picture(name: str) -> None:
            svg = app.export_screenshot(title="edgecomp")
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")

        await pilot.press("enter")
        await until(pilot, "model", PLAN_SECONDS)
        await pilot.press("3")
        await until(pilot, "plan", PLAN_SECONDS)
        picture("plan")
        await pilot.press("slash", "tab", "tab", *"95MB")
        await pilot.pause(3)
        await pilot.press("escape", "enter")
        await until(pilot, "recipe", PLAN_SECONDS)
        await pilot.press(*["pagedown"] * 3, *["up"] * 6, "end", "backspace")
        await pilot.pause(3 * LOOK_SECONDS)
        await pilot.press("ctrl+r")
        await until(pilot, "request", PLAN_SECONDS)
        kept = False
        for _ in range(int(RUN_SECONDS / LOOK_SECONDS)):
            await pilot.pause(LOOK_SECONDS)
            if app.session.folder:
                break
            stage = app.screen.stages.current  # type: ignore[attr-defined]
            if stage and stage.title.startswith(LONGEST_STAGE) and stage.share > 0.4 and not kept:
                picture("run")
                kept = True
        if app.session.folder is None:
            raise SystemExit("The run did not end with a bundle.")
        if not kept:
            picture("run")
        await pilot.press("6")
        await pilot.pause(10 * LOOK_SECONDS)
        picture("results")


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgecomp-pictures-") as work:
        os.chdir(work)
        asyncio.run(take(folder))


if __name__ == "__main__":
    main()
