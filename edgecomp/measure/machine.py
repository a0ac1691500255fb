"""The state of the machine while something is measured: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from edgecomp.detect import cpu_model, physical_cores
from edgecomp.value import Value

BUSY_LOAD = 0.5
"""Runnable processes a core, averaged over a minute, from which on timings cannot be trusted."""


class MachineState(Value):
    """What ran where, and how busy it was before."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    governor: str | None
    """How the kernel sets the clock; None where it does not say."""

    frequency_mhz: float | None
    load_before: float | None
    """Runnable processes over the minute before, all cores together."""

    python: str

    @property
    def busy(self) -> bool:
        """True where other work disturbed the timings."""
        return self.load_before is not None and self.load_before > BUSY_LOAD * self.cores


def machine_state() -> MachineState:
    """This machine, now."""
    frequency = psutil.cpu_freq()
    return MachineState(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=cpu_model(),
        cores=physical_cores(),
        memory_bytes=int(psutil.virtual_memory().total),
        governor=_governor(),
        frequency_mhz=float(frequency.current) if frequency else None,
        load_before=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        python=platform.python_version(),
    )


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.is_file() else None
