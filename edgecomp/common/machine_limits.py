"""How much memory and how many processors this process may use: the machine's, or less where a
control group says so.

A process belongs to one group a controller, and is held to the limits of that group and of every
group above it. Version 1 has a hierarchy for each controller, version 2 one for all; both may be
mounted, and a container may see only its own part of them, mounted as if it were the root.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path, PurePosixPath
from typing import Literal

import psutil

Controller = Literal["memory", "cpu"]

PROCESS = Path("/proc/self")
"""Where the kernel tells of this process."""

MEMORY_FILESYSTEMS = ("tmpfs", "ramfs")


def control_groups(controller: Controller, process: Path = PROCESS) -> Iterator[Path]:
    """The folders of this process's groups for a controller, its own first, then those above."""
    try:
        mounts = (process / "mountinfo").read_text().splitlines()
        own = (process / "cgroup").read_text().splitlines()
    except OSError:
        return
    paths: dict[str, str] = {}
    for row in own:
        _, controllers, path = row.split(":", 2)
        paths |= {name: path for name in controllers.split(",")}
    for mount in mounts:
        place, _, kind = mount.partition(" - ")
        root, folder = (_unescaped(part) for part in place.split()[3:5])
        system, _, options = kind.split(maxsplit=2)
        if system == "cgroup2" and "" in paths:
            yield from _upwards(Path(folder), root, paths[""])
        elif system == "cgroup" and controller in options.split(",") and controller in paths:
            yield from _upwards(Path(folder), root, paths[controller])


def _upwards(folder: Path, root: str, own: str) -> Iterator[Path]:
    """The group at path `own` of a hierarchy of which `root` is mounted at `folder`, and all above
    it that are mounted."""
    path = PurePosixPath(own)
    # A container that was given its part of the hierarchy alone still reads the whole path.
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    group = folder / inside
    for place in (group, *group.parents):
        if not place.is_relative_to(folder):
            return
        yield place


def _unescaped(path: str) -> str:
    """A path as the kernel lists it: spaces and the like are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _number(file: Path) -> float:
    """What a file of a group holds; infinite where there is no such file or no limit."""
    with suppress(OSError, ValueError):
        return float(int(file.read_text().split()[0]))
    return inf


def memory_limit_bytes(process: Path = PROCESS) -> int:
    """The memory this process may use: the machine's, or less where a control group says so."""
    limits = [
        _number(group / name)
        for group in control_groups("memory", process)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return int(min([psutil.virtual_memory().total, *limits]))


def available_memory_bytes(process: Path = PROCESS) -> int:
    """The memory this process can still get: the machine's, or what its groups have left. Pages of
    files that were not read lately count as free, as they do for the machine."""
    left = [_left_bytes(group) for group in control_groups("memory", process)]
    return max(0, int(min([psutil.virtual_memory().available, *left])))


def _left_bytes(group: Path) -> float:
    for limit_file, used_file, key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(group / limit_file), _number(group / used_file)
        if limit < inf and used < inf:
            return limit - used + _read_count(group / "memory.stat", key)
    return inf


def _read_count(file: Path, key: str) -> int:
    with suppress(OSError, ValueError):
        rows = dict(line.split() for line in file.read_text().splitlines())
        return int(rows.get(key, 0))
    return 0


def processor_quota(process: Path = PROCESS) -> float | None:
    """Processors' worth of time that the groups of this process allow; None without a limit."""
    quotas = [_quota(group) for group in control_groups("cpu", process)]
    least = min(quotas, default=inf)
    return least if least < inf else None


def _quota(group: Path) -> float:
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period) if quota != "max" else inf
    quota_microseconds = _number(group / "cpu.cfs_quota_us")
    period_microseconds = _number(group / "cpu.cfs_period_us")
    if 0 < quota_microseconds < inf and 0 < period_microseconds < inf:
        return quota_microseconds / period_microseconds
    return inf


def physical_cores(process: Path = PROCESS) -> int:
    """Cores this process may use, without their second threads: as many as the machine has, as it
    may run on, and as a quota of time keeps busy."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    this = psutil.Process()
    allowed = len(this.cpu_affinity()) if hasattr(this, "cpu_affinity") else physical
    quota = processor_quota(process)
    return max(1, min(physical, allowed, int(quota) if quota is not None else physical))


def in_memory(folder: Path, process: Path = PROCESS) -> bool:
    """Whether what is written into `folder` takes memory, since no disk is behind it."""
    try:
        mounts = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return False
    place = folder.resolve()
    kinds: dict[Path, str] = {}
    for mount in mounts:
        where, _, kind = mount.partition(" - ")
        # Later mounts hide earlier ones at the same place.
        kinds[Path(_unescaped(where.split()[4]))] = kind.split()[0]
    mounted = next((path for path in (place, *place.parents) if path in kinds), None)
    return mounted is not None and kinds[mounted] in MEMORY_FILESYSTEMS
