"""What the app costs: time to its first frame, to answer a key, and memory, idle and under load.

    python benchmarks/tui.py

The app runs in tmux as a user's would. The first frame is timed from the start of the process to
the first screen that names all eight screens; a key from its sending to the screen that answers it,
both by asking tmux without pause, so each figure holds one question to tmux (about 3 ms). Load is
one process a core that multiplies matrices without end, at the niceness of a real run.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from edgecomp.jobs.background import NICENESS

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from tui_demo import Terminal

STARTS, KEYS = 7, 40
LOAD = "import numpy; a = numpy.ones((512, 512))\nwhile True: a = a @ a % 7"
VISITS = {
    "2": "Compare with this",
    "3": "size ≤",
    "4": "To the fault",
    "5": "Start or resume",
    "6": "Open a bundle",
    "7": "Add a bundle",
    "8": "Copy the hash",
}
"""What tells that the screen of a key stands."""

LIMITS = {"first frame": "0.7 s", "key": "50 ms"}


def wait_for(terminal: Terminal, text: str, seconds: float = 20.0) -> str:
    """The first screen that holds `text`."""
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        screen = terminal.screen()
        if text in screen:
            return screen
    raise SystemExit(f"{text!r} did not appear within {seconds} s:\n{terminal.screen()}")


def started(folder: str) -> tuple[Terminal, float]:
    """A running app, and the seconds to its first frame."""
    own = [
        f"{name}={folder}/{name.lower()}"
        for name in ("EDGECOMP_CACHE", "EDGECOMP_CONFIG", "EDGECOMP_RESULTS")
    ]
    began = time.perf_counter()
    terminal = Terminal(["env", "-C", folder, *own, sys.executable, "-m", "edgecomp.tui"])
    wait_for(terminal, "8 Bundle")
    return terminal, time.perf_counter() - began


def key_seconds(terminal: Terminal, answers: dict[str, str], turns: int) -> list[float]:
    """Seconds from each key to the screen that holds its answer; the keys take turns."""
    taken = []
    for _ in range(turns):
        for key, answer in answers.items():
            began = time.perf_counter()
            terminal.press(key)
            wait_for(terminal, answer)
            taken.append(time.perf_counter() - began)
            time.sleep(0.2)
    return taken


def app_memory_bytes(terminal: Terminal) -> int:
    """Resident memory of the app's process."""
    pane = int(terminal.tmux("display-message", "-p", "#{pane_pid}"))
    process = psutil.Process(pane)
    return int(max(row.memory_info().rss for row in [process, *process.children(recursive=True)]))


def measure(folder: str) -> dict[str, list[float]]:
    """All figures once, with whatever load there is."""
    frames, visits = [], []
    for _ in range(STARTS):
        terminal, seconds = started(folder)
        frames.append(seconds)
        terminal.press("Enter")
        wait_for(terminal, "embedding")
        visits += key_seconds(terminal, VISITS, turns=1)
        terminal.press("q")
        terminal.close()
    terminal, _ = started(folder)
    try:
        figures = {"first frame": frames, "memory, first screen": [app_memory_bytes(terminal)]}
        terminal.press("Enter")
        wait_for(terminal, "embedding")
        terminal.press("3")
        wait_for(terminal, "best for the task")
        reasons = {"Down": "risk for the task", "Up": "best for the task"}
        figures["key, next row of the plan"] = key_seconds(terminal, reasons, KEYS // 2)
        key_seconds(terminal, VISITS, turns=1)
        figures["key, another screen"] = key_seconds(terminal, VISITS, KEYS // len(VISITS))
        figures["key, a screen's first visit"] = visits
        figures["memory, with a plan"] = [app_memory_bytes(terminal)]
    finally:
        terminal.close()
    return figures


def shown(name: str, values: list[float]) -> str:
    """The median, and the 95th percentile of repeats."""
    middle = statistics.median(values)
    if name.startswith("memory"):
        return f"{middle / 1e6:.0f} MB"
    high = sorted(values)[round(0.95 * (len(values) - 1))]
    return f"{1e3 * middle:.0f} ms (p95 {1e3 * high:.0f}, n={len(values)})"


def main() -> None:
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="edgecomp-tui-") as folder:
        idle = measure(folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        nice = ["nice", "-n", str(NICENESS), sys.executable, "-c", LOAD]
        load = [subprocess.Popen(nice, env=environment) for _ in range(cores)]
        try:
            time.sleep(2)
            loaded = measure(folder)
        finally:
            for process in load:
                process.kill()
    before = f"load over the 15 minutes before {os.getloadavg()[2]:.1f}"
    table = Table(title=f"{platform.machine()}, {cores} cores, {before}")
    for column in ("figure", "no load of ours", f"{cores} processes at nice {NICENESS}", "limit"):
        table.add_column(column)
    for name in idle:
        limit = LIMITS.get(name.split(",")[0], "")
        table.add_row(name, shown(name, idle[name]), shown(name, loaded[name]), limit)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
