"""The state of the machine while something is measured: without it a figure means nothing."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import psutil

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import memory_limit_bytes, physical_cores
from edgecomp.devices.detect import cpu_model

BUSY_SHARE = 0.25
"""Share of the processors kept busy by other work from which on timings cannot be trusted."""

WATCHED_SECONDS = 0.5


class MachineState(FrozenModel):
    """What ran where, and how busy it was before."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    governor: str | None
    """How the kernel sets the clock; None where it does not say."""

    frequency_mhz: float | None
    load_before: float | None
    """Processors that other work kept busy just before."""

    python: str

    @property
    def busy(self) -> bool:
        """True where other work disturbed the timings."""
        return self.load_before is not None and self.load_before > BUSY_SHARE * self.cores


def machine_state() -> MachineState:
    """This machine, now. Takes half a second, in which this process and its workers must rest: what
    keeps processors busy then is other work."""
    frequency = psutil.cpu_freq()
    return MachineState(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=cpu_model(),
        cores=physical_cores(),
        memory_bytes=memory_limit_bytes(),
        governor=_governor(),
        frequency_mhz=float(frequency.current) if frequency else None,
        load_before=busy_processors(WATCHED_SECONDS),
        python=platform.python_version(),
    )


def busy_processors(seconds: float) -> float:
    """Processors kept busy while this process waits for so long.

    The load average would count the work that this process itself did in the minute before.
    """
    began, before = time.perf_counter(), _busy_seconds()
    time.sleep(seconds)
    return max(0.0, (_busy_seconds() - before) / (time.perf_counter() - began))


def _busy_seconds() -> float:
    """Busy time of all processors together since the machine started; what a hypervisor took
    counts."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle - guests)  # a guest's time is also the user's


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.is_file() else None
