"""What a process has done so far, by which one that works is told from one that is stuck."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import psutil

LEAST_WORK_SHARE = 0.01
"""Share of one processor, over a time of silence, below which nothing was done: threads that only
wake to look at a clock stay far below."""

MOVED = ("read_bytes", "write_bytes", "read_chars", "write_chars")
BYTES_PER_SECOND = 10**6
"""Bytes read and written that count as a second of work: a slow network drive's pace."""


@dataclass(frozen=True)
class WorkDone:
    """What a process and those it has started have done since they began."""

    processor_seconds: dict[int, float]
    """By process."""

    moved_bytes: dict[int, int]
    """Read and written, by process."""

    def since(self, before: WorkDone) -> float:
        """Seconds of work that were done after `before`."""
        processor = sum(
            max(0.0, seconds - before.processor_seconds.get(process, 0.0))
            for process, seconds in self.processor_seconds.items()
        )
        moved = sum(
            max(0, count - before.moved_bytes.get(process, 0))
            for process, count in self.moved_bytes.items()
        )
        return processor + moved / BYTES_PER_SECOND


def work_done(process_id: int) -> WorkDone:
    """What a process and those it started have done; nothing where it has ended."""
    seconds: dict[int, float] = {}
    moved: dict[int, int] = {}
    try:
        parent = psutil.Process(process_id)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return WorkDone({}, {})
    for member in family:
        try:
            times = member.cpu_times()
            seconds[member.pid] = times.user + times.system
            # Some systems do not count what a process moves.
            if hasattr(member, "io_counters"):
                counters = member.io_counters()
                # What went to or from a disk, and on Linux what was asked of any file.
                moved[member.pid] = sum(getattr(counters, name, 0) for name in MOVED)
        except psutil.Error:
            continue
    return WorkDone(seconds, moved)


def wait_while_working(process: subprocess.Popen[str], longest_idle_seconds: float) -> bool:
    """Wait for a process to end; False where it was idle for so long instead."""
    done = work_done(process.pid)
    while True:
        try:
            process.wait(longest_idle_seconds)
            return True
        except subprocess.TimeoutExpired:
            before, done = done, work_done(process.pid)
            if done.since(before) < LEAST_WORK_SHARE * longest_idle_seconds:
                return False
