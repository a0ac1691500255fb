"""Energy counters: RAPL of the processor (Linux powercap) and NVML of NVIDIA cards.

RAPL counts for whole packages and memory, so other programs and idling are in the figure. Where a
counter cannot be read, that is said with its reason; nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pynvml

from edgecomp.common.frozen_model import FrozenModel

POWERCAP = Path("/sys/class/powercap")
"""Documented in the kernel's Documentation/power/powercap/powercap.rst."""

COUNTED = ("package", "dram")
"""Domains that add up. `core` and `uncore` lie within the package, `psys` around it."""


class Counter(FrozenModel):
    """One counter: joules since some beginning; it starts again from 0 at `range_joules`."""

    joules: float
    range_joules: float | None


class Counters(FrozenModel):
    """All that can be read at one moment, and why the rest cannot."""

    counters: dict[str, Counter]
    unreadable: tuple[str, ...]


def read_counters(powercap: Path = POWERCAP) -> Counters:
    """The counters of this machine, now: some tenths of a millisecond."""
    processors, no_rapl = _read_rapl(powercap)
    cards, no_nvml = _read_nvml()
    unreadable = tuple(reason for reason in (no_rapl, no_nvml) if reason)
    return Counters(counters=processors | cards, unreadable=unreadable)


def joules_used(readings: Sequence[Counters]) -> dict[str, float]:
    """Joules of each domain from the first reading to the last.

    Readings must lie closer together than a counter takes to run through its range, which is
    minutes on a large server.
    """
    used: dict[str, float] = {}
    for before, after in pairwise(readings):
        for name in before.counters.keys() & after.counters.keys():
            step = after.counters[name].joules - before.counters[name].joules
            if step < 0:
                step += before.counters[name].range_joules or 0.0
            used[name] = used.get(name, 0.0) + max(step, 0.0)
    return dict(sorted(used.items()))


def _read_rapl(powercap: Path) -> tuple[dict[str, Counter], str | None]:
    found: dict[str, Counter] = {}
    if not powercap.is_dir():
        return found, f"RAPL: {powercap} is not there, as on most virtual machines"
    for folder in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            if not name.startswith(COUNTED):
                continue
            # Each package has a dram of its own, all under the same name.
            key = f"{name} {folder.name.split(':', 1)[1]}"
            found[key] = Counter(
                joules=int((folder / "energy_uj").read_text()) / 1e6,
                range_joules=int((folder / "max_energy_range_uj").read_text()) / 1e6,
            )
        except PermissionError:
            return {}, f"RAPL: {folder / 'energy_uj'} may be read by root only"
        except (OSError, ValueError) as error:
            return {}, f"RAPL: {folder} cannot be read ({error})"
    return found, None if found else f"RAPL: {powercap} has no counter of a package"


def _read_nvml() -> tuple[dict[str, Counter], str | None]:
    """nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded (Volta on)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {}, f"NVML: {error}"
    found = {}
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):
                card = pynvml.nvmlDeviceGetHandleByIndex(index)
                joules = pynvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1e3
                found[f"gpu {index}"] = Counter(joules=joules, range_joules=None)
    except pynvml.NVMLError as error:
        return found, f"NVML: {error}"
    finally:
        pynvml.nvmlShutdown()
    return found, None if found else "NVML: no card counts its energy"
