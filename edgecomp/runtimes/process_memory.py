"""The memory of the calling process, as the operating system counts it."""

from __future__ import annotations

import sys
from pathlib import Path

from edgecomp.common.frozen_model import FrozenModel


class ProcessMemory(FrozenModel):
    """Bytes of resident memory; `peak_bytes` is the high-water mark since the process began.

    File-backed pages can be dropped and read again by the system, anonymous ones cannot.
    """

    peak_bytes: int
    resident_bytes: int
    anonymous_bytes: int
    file_backed_bytes: int


def process_memory() -> ProcessMemory:
    """This process's memory.

    On Linux from /proc/self/status: getrusage's maximum is not reset by exec, so in a worker it
    would show the parent's. Elsewhere from psutil, where the peak is the largest seen.
    """
    if sys.platform == "linux":
        rows = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
        kibibytes = {name: int(rows[name].split()[0]) for name in STATUS_ROWS}
        return ProcessMemory(
            peak_bytes=kibibytes["VmHWM"] * 1024,
            resident_bytes=kibibytes["VmRSS"] * 1024,
            anonymous_bytes=kibibytes["RssAnon"] * 1024,
            file_backed_bytes=(kibibytes["RssFile"] + kibibytes["RssShmem"]) * 1024,
        )
    import psutil

    usage = psutil.Process().memory_info()
    shared = getattr(usage, "shared", 0)
    return ProcessMemory(
        peak_bytes=getattr(usage, "peak_wset", usage.rss),
        resident_bytes=usage.rss,
        anonymous_bytes=usage.rss - shared,
        file_backed_bytes=shared,
    )


STATUS_ROWS = ("VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem")
