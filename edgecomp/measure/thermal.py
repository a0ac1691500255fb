"""Clock and temperature while something runs, where the system tells them."""

from __future__ import annotations

import psutil

from edgecomp.common.frozen_model import FrozenModel

PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
"""Names of the kernel's drivers for sensors of a processor."""


class ThermalReading(FrozenModel):
    """One reading; None: not readable here."""

    frequency_mhz: float | None
    temperature_celsius: float | None
    """The hottest sensor of the processor."""


def read_thermal() -> ThermalReading:
    """The processor's clock and temperature, now."""
    frequency = psutil.cpu_freq()
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    degrees = [row.current for name in PROCESSOR_SENSORS for row in sensors.get(name, [])]
    return ThermalReading(
        frequency_mhz=float(frequency.current) if frequency and frequency.current else None,
        temperature_celsius=max(degrees, default=None),
    )
