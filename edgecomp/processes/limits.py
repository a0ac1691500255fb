"""Run workers as if the machine were smaller: with a cap on memory and on processors.

Where a control group (cgroup v2) can be made, the kernel keeps the cap. Elsewhere a thread watches
the worker's resident memory and ends it, and the worker is tied to a few processors; which of the
two it was is told. Either way a worker that wants more memory dies as it would on a small device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from edgecomp.common.errors import ChildKilledByMemory
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_duration, format_size
from edgecomp.processes.cgroup import ControlGroup, writable_parent
from edgecomp.processes.watch import MemoryWatch

MemoryEnforcer = Literal["cgroup", "watch"]
CpuEnforcer = Literal["cgroup", "affinity", "threads"]
ENFORCERS: dict[MemoryEnforcer, str] = {
    "cgroup": "kept by the kernel",
    "watch": "kept by watching resident memory, since no control group can be made here",
}
CPU_ENFORCERS: dict[CpuEnforcer, str] = {
    "cgroup": "the kernel",
    "affinity": "tying the worker to them",
    "threads": "the count of threads alone",
}


class Limits(FrozenModel):
    """What a worker may use; None: all there is."""

    memory_bytes: int | None = Field(default=None, gt=0)
    cpus: int | None = Field(default=None, gt=0)


class EnforcedLimits(Limits):
    """Limits, and who keeps them.

    A watch sees resident memory some fifty times a second, so that a worker may exceed the limit
    for a moment; it also counts pages of a mapped file, which a kernel would take back first.
    `threads`: the system can tie a process to no processor, so only the count of threads is kept.
    """

    memory_kept_by: MemoryEnforcer | None
    cpus_kept_by: CpuEnforcer | None


class Death(FrozenModel):
    """The moment at which a worker met its memory limit."""

    stage: Literal["loading", "running"]
    """`loading`: before the worker first reported progress."""

    seconds: float
    """Since the worker began."""

    peak_bytes: int
    limit_bytes: int
    kept_by: MemoryEnforcer

    def __str__(self) -> str:
        """One sentence for a person."""
        return (
            f"does not fit into {format_size(self.limit_bytes)}: it was killed while {self.stage}, "
            f"{format_duration(self.seconds)} after it began, when it held "
            f"{format_size(self.peak_bytes)}."
        )


class MemoryLimitReached(ChildKilledByMemory):
    """A worker wanted more memory than it was limited to."""

    def __init__(self, death: Death, text: str) -> None:
        super().__init__(text)
        self.death = death


class MemoryCap(Protocol):
    """What keeps one worker's memory limit."""

    def reached(self) -> bool: ...

    def peak_bytes(self) -> int: ...

    def close(self) -> None: ...


class ActiveLimits(FrozenModel):
    kept: EnforcedLimits
    parent: Path | None


_ACTIVE: ContextVar[ActiveLimits | None] = ContextVar("limits", default=None)


@contextmanager
def limited(limits: Limits | None) -> Iterator[None]:
    """Every worker that is started in this block is held to `limits`."""
    token = _ACTIVE.set(_active(limits) if limits else None)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def enforced_limits() -> EnforcedLimits | None:
    """The limits that hold for workers started now."""
    active = _ACTIVE.get()
    return active.kept if active else None


def _active(limits: Limits) -> ActiveLimits:
    parent = writable_parent()
    memory: MemoryEnforcer = "cgroup" if parent else "watch"
    cpus: CpuEnforcer = "affinity" if hasattr(os, "sched_setaffinity") else "threads"
    if parent and "cpu" in parent.controllers:
        cpus = "cgroup"
    kept = EnforcedLimits(
        **limits.model_dump(),
        memory_kept_by=memory if limits.memory_bytes else None,
        cpus_kept_by=cpus if limits.cpus else None,
    )
    return ActiveLimits(kept=kept, parent=parent.folder if parent else None)


def apply(process_id: int, kill: Callable[[], None]) -> MemoryCap | None:
    """Hold a worker that has just been started to the limits in force; `kill` ends it."""
    active = _ACTIVE.get()
    if active is None:
        return None
    kept = active.kept
    if kept.cpus and hasattr(os, "sched_setaffinity"):
        # Beside a share of time as well, so that a runtime counts the processors it really has.
        os.sched_setaffinity(process_id, sorted(os.sched_getaffinity(process_id))[: kept.cpus])
    if active.parent:
        return ControlGroup(active.parent, process_id, kept.memory_bytes, kept.cpus)
    return MemoryWatch(process_id, kept.memory_bytes, kill) if kept.memory_bytes else None
