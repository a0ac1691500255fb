"""Control groups, version 2: the kernel's own caps on a process's memory and processor time.

https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PERIOD_MICROSECONDS = 100_000


class Parent(NamedTuple):
    """A group below which groups can be made, with the controllers they would have."""

    folder: Path
    controllers: tuple[str, ...]


class ControlGroup:
    """A group of one process."""

    def __init__(
        self, parent: Path, process_id: int, memory_bytes: int | None, cpus: int | None
    ) -> None:
        """Make a group below `parent` and move the process into it. Raises OSError."""
        self.folder = parent / f"edgecomp-{process_id}"
        self.folder.mkdir()
        try:
            if memory_bytes is not None:
                (self.folder / "memory.max").write_text(str(memory_bytes))
                # Without swap accounting in the kernel there is no such file.
                if (swap := self.folder / "memory.swap.max").exists():
                    swap.write_text("0")
            if cpus is not None and (quota := self.folder / "cpu.max").exists():
                quota.write_text(f"{cpus * PERIOD_MICROSECONDS} {PERIOD_MICROSECONDS}")
            (self.folder / "cgroup.procs").write_text(str(process_id))
        except OSError:
            self.close()
            raise

    def reached(self) -> bool:
        """Whether the kernel killed the process for its memory."""
        events = (self.folder / "memory.events").read_text().split()
        return int(dict(zip(events[::2], events[1::2], strict=True)).get("oom_kill", 0)) > 0

    def peak_bytes(self) -> int:
        """The most the group has held; before Linux 5.19, its limit."""
        peak = self.folder / "memory.peak"
        return int((peak if peak.exists() else self.folder / "memory.max").read_text())

    def close(self) -> None:
        """Take the group away; its process has ended."""
        with suppress(OSError):
            self.folder.rmdir()


def writable_parent(
    mounts: Path = Path("/proc/self/mounts"), own: Path = Path("/proc/self/cgroup")
) -> Parent | None:
    """The nearest group at or above this process's own whose groups can cap memory, and into one
    of which a process can be moved; None where there is none."""
    with suppress(OSError, StopIteration):
        rows = [line.split() for line in mounts.read_text().splitlines()]
        root = Path(next(row[1] for row in rows if row[2] == "cgroup2"))
        path = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
        here = root / path.strip("/")
        for folder in (here, *here.parents):
            if not folder.is_relative_to(root):
                break
            with suppress(OSError):
                controllers = (folder / "cgroup.subtree_control").read_text().split()
                if "memory" in controllers and _can_move_into(folder):
                    return Parent(folder, tuple(controllers))
    return None


def _can_move_into(folder: Path) -> bool:
    """Try it with a process that only waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            group = ControlGroup(folder, process.pid, 2**30, None)
        except OSError:
            return False
        finally:
            process.kill()
            process.wait()
        group.close()
    return True
