"""Drive the real app in tmux from the model to the verified bundle, and record what it shows.

    python tools/tui_demo.py FRAMES

Keeps six questions of each benchmark by editing the recipe, and writes the screens as text with
their times: the one that answers each step, and while a step takes long one every half minute.
Ends with code 1, and the last screen, where something expected does not appear. Needs tmux; the run
on the demo model takes some minutes, and beside other work an hour.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

HERE = str(Path(sys.prefix).parent)
"""Where edgecomp is installed: nobody else's frames would name it."""

COLUMNS, ROWS = 120, 36
LOOK_SECONDS, KEY_SECONDS, FRAME_SECONDS = 0.25, 0.1, 30.0
STEPS = (
    ("Choose", (), 20),
    ("embedding", ("Enter",), 20),
    ("usable", ("2",), 20),
    ("best for the task", ("3",), 30),
    (r"Q\w+ at context \d+ fits", ("/", "Tab", "Tab", *"95MB"), 20),
    ("Make this", ("Escape",), 20),
    ("Calibration,", ("Enter",), 20),
    (r"\bitems: 6\s", (*["NPage"] * 3, *["Up"] * 6, "End", "BSpace"), 20),
    ("elapsed", ("C-r",), 60),
    ("Done: the bundle is", (), 5400),
    ("Performance", ("6",), 30),
    ("Predicted against measured", ("End",), 30),
    ("SHA-256", ("8",), 30),
    (r"all as the\s+manifest lists them", ("v",), 120),
)
"""What must appear (a pattern), the keys that make it appear, and within how many seconds."""


class Terminal:
    """One tmux session of its own server."""

    def __init__(self, command: list[str]) -> None:
        # A server that was told to end may still be there: no name is used twice.
        self.server = f"edgecomp-{uuid.uuid4().hex[:12]}"
        # The size is the pane's; whoever records it may have been told of another.
        self.environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS),
            shlex.join(command),
        )  # fmt: skip

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self.server, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        return done.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys one after another, no faster than a person would."""
        for index, key in enumerate(keys):
            time.sleep(KEY_SECONDS if index else 0)
            self.tmux("send-keys", key)

    def close(self) -> None:
        self.tmux("kill-server")


def record(terminal: Terminal, frames: Path) -> str | None:
    """Take all steps; return what did not appear, or None."""
    began = time.monotonic()
    with frames.open("w", encoding="utf-8") as file:

        def keep(screen: str, keys: Sequence[str]) -> None:
            now = time.monotonic() - began
            shown = screen.replace(HERE, "~/edgecomp")
            file.write(f"--- {now:.2f} s, keys {' '.join(keys) or 'none'}\n{shown}\n")
            file.flush()

        for expected, keys, seconds in STEPS:
            if keys:
                terminal.press(*keys)
            kept = time.monotonic()
            deadline = kept + seconds
            while not re.search(expected, screen := terminal.screen()):
                if time.monotonic() > deadline:
                    return f"{expected!r} did not appear within {seconds} s.\n{screen}"
                if time.monotonic() > kept + FRAME_SECONDS:
                    keep(screen, ())
                    kept = time.monotonic()
                time.sleep(LOOK_SECONDS)
            keep(screen, keys)
    return None


def main() -> None:
    frames = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory(prefix="edgecomp-demo-") as folder:
        settings = ("EDGECOMP_CACHE", "EDGECOMP_CONFIG", "EDGECOMP_RESULTS")
        own = [f"{name}={os.environ.get(name) or folder + '/' + name.lower()}" for name in settings]
        command = ["env", "-C", folder, *own, sys.executable, "-m", "edgecomp.tui"]
        terminal = Terminal(command)
        try:
            fault = record(terminal, frames)
            terminal.press("q")
        finally:
            terminal.close()
    if fault:
        raise SystemExit(fault)
    print(f"From start to verified bundle: {frames}")


if __name__ == "__main__":
    main()
