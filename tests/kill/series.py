"""One series: a run over a cache of its own, killed and started again until it may end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil

DONE = re.compile(r"^(.+): done, (from the cache|.+)$")
"""The line that a stage ends with on stderr."""

BUNDLING = "writing the bundle"
STARTING_SECONDS = 5.0
STARTING_SHARE = 0.15
"""Of the kills, so many fall while the command starts or takes finished stages from the cache."""

ENDING_SECONDS = 30.0
"""A worker that lost its starter is gone by then."""

TIMED = ("manifest.json", "report.json", "report.md", "report.html", "service.sh")
"""Files of a bundle that hold what was measured: speed, memory, the load of the machine."""

UNTIMED = (
    "model", "recipe", "chosen", "others", "artifact", "divergence", "divergence_by_capability",
    "coherence", "comparison",
)  # fmt: skip
"""Entries of report.json that hold nothing measured."""


class Job(NamedTuple):
    """What is fitted, and what it is judged with."""

    model: Path
    data: Path | None
    options: tuple[str, ...] = ("--method", "gptq", "--mix", "none", "--max-size", "140kB")

    def command(self, bundle: Path) -> list[str]:
        data = ["--data", str(self.data)] if self.data else []
        return [
            sys.executable, "-m", "edgecomp.cli", "fit", str(self.model), *self.options, *data,
            "--device", "office-laptop-ddr4", "--context", "256", "--items", "1",
            "-o", str(bundle),
        ]  # fmt: skip


class Timeline(NamedTuple):
    """A run that nobody killed: its stages, and when each was done."""

    bundle: Path
    cache: Path
    titles: tuple[str, ...]
    ends: tuple[float, ...]
    seconds: float


class Kill(NamedTuple):
    """Where a kill fell: in which stage of the job, and how long after the start."""

    stage: str
    seconds: float


class Series(NamedTuple):
    """What became of one series: its kills, and what was wrong after the last run."""

    kills: tuple[Kill, ...]
    faults: tuple[str, ...]


class Started:
    """A command under way, in a process group of its own, and the stages that it has finished."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.began = time.monotonic()
        self.done: list[tuple[str, float]] = []
        self.lines: list[str] = []
        self._moved = threading.Condition()
        self.process = subprocess.Popen(
            job.command(folder / "bundle"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "EDGECOMP_CACHE": str(folder / "cache"),
                "EDGECOMP_RESULTS": str(folder / "results"),
                "OMP_NUM_THREADS": "1",
            },
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._moved:
                self.lines.append(line)
                if found := DONE.match(line.rstrip()):
                    self.done.append((found[1], time.monotonic() - self.began))
                self._moved.notify_all()
        with self._moved:
            self._moved.notify_all()

    def wait_for(self, stages: int) -> None:
        """Wait until so many stages are done, or the process has ended."""
        with self._moved:
            self._moved.wait_for(lambda: len(self.done) >= stages or not self._reader.is_alive())

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> list[psutil.Process]:
        """Kill the whole process group; the workers that it had, each in a group of its own."""
        try:
            workers = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            workers = []
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        return workers

    def end(self) -> str | None:
        """Let it end; what was wrong, or None."""
        code = self.process.wait()
        self._reader.join()
        return f"exit {code}: {''.join(self.lines[-3:])}" if code else None


def reference(job: Job, folder: Path) -> Timeline:
    """One run without a kill. Raises RuntimeError where it fails."""
    started = Started(job, folder)
    fault = started.end()
    if fault:
        raise RuntimeError(fault)
    titles, ends = zip(*started.done, strict=True)
    seconds = time.monotonic() - started.began
    return Timeline(folder / "bundle", folder / "cache", titles, ends, seconds)


def moments(timeline: Timeline, count: int, random: Random) -> list[tuple[int, float]]:
    """When to kill: so many seconds after so many stages are done, in the order of the job.

    Half of them fall evenly over the time of the job, half evenly over its stages, since the
    shortest ones are as delicate as the longest.
    """
    starts = (0.0, *timeline.ends)
    ends = (*timeline.ends, timeline.seconds)
    chosen = []
    for number in range(count):
        if random.random() < STARTING_SHARE:
            chosen.append((0, random.uniform(0.0, STARTING_SECONDS)))
            continue
        moment = random.uniform(0.0, timeline.seconds)
        stage = random.randrange(len(starts))
        if number % 2:
            stage = next(index for index, end in enumerate(ends) if moment <= end)
        chosen.append((stage, random.uniform(0.0, ends[stage] - starts[stage])))
    starting = [row for row in chosen if row[0] == 0]
    later = sorted(row for row in chosen if row[0])
    # Where a command starts, it may find any number of finished stages.
    for row in starting:
        later.insert(random.randint(0, len(later)), row)
    return later


def carry_out_series(
    job: Job, timeline: Timeline, folder: Path, count: int, random: Random
) -> Series:
    """Kill a run over a new cache up to `count` times, start it again at once each time, and let it
    end; a run that ends before its kill ends the series."""
    kills: list[Kill] = []
    workers: list[psutil.Process] = []
    for stages, seconds in moments(timeline, count, random):
        started = Started(job, folder)
        if stages:
            started.wait_for(stages)
        if started.ends_within(seconds):
            break
        workers += started.kill()
        finished = len(started.done)
        where = timeline.titles[finished] if finished < len(timeline.titles) else BUNDLING
        kills.append(Kill(where, time.monotonic() - started.began))
    fault = Started(job, folder).end()
    bundle, cache = folder / "bundle", folder / "cache"
    faults = [fault] if fault else differences(timeline.bundle, timeline.cache, bundle, cache)
    faults += _orphans(workers, cache) + leftovers(folder)
    return Series(tuple(kills), tuple(faults))


def differences(bundle: Path, cache: Path, other: Path, other_cache: Path) -> list[str]:
    """What of a bundle is not as in another of the same job, but for what is measured anew."""
    expected, found = _contents(bundle), _contents(other)
    faults = [f"{name} is there or missing" for name in sorted(expected.keys() ^ found.keys())]
    faults += [
        f"{name} has other bytes"
        for name in sorted(expected.keys() & found.keys())
        if name not in TIMED and expected[name] != found[name]
    ]
    before, after = _untimed(bundle, cache), _untimed(other, other_cache)
    return faults + [
        f"report.json: {name} differs" for name in UNTIMED if before[name] != after[name]
    ]


def _contents(bundle: Path) -> dict[str, bytes]:
    files = (path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}


def _untimed(bundle: Path, cache: Path) -> dict[str, object]:
    """The entries of a report that hold nothing measured; paths in the cache without its place."""
    text = (bundle / "report.json").read_text().replace(str(cache), "CACHE")
    report = json.loads(text)
    return {name: report[name] for name in UNTIMED}


def _orphans(workers: list[psutil.Process], cache: Path) -> list[str]:
    """Processes of the series that outlive it."""
    _, alive = psutil.wait_procs(workers, timeout=ENDING_SECONDS)
    ours = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("EDGECOMP_CACHE") == str(cache):
                ours.append(process)
        except psutil.Error:
            continue
    return [f"process {row.pid} is left over" for row in {*alive, *ours}]


def leftovers(folder: Path) -> list[str]:
    """Temporary files outside the cache and the results that are kept."""
    kept = ("bundle", "cache", "results")
    parts = (path.name for path in folder.iterdir() if path.name not in kept)
    inside = (path.name for path in (folder / "bundle").rglob("*") if ".partial" in path.name)
    return [f"{name} is left over" for name in (*parts, *inside)]
