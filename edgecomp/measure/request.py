"""What `edgecomp measure` is asked for, here or on another device."""

from __future__ import annotations

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.processes.limits import Limits


class MeasureRequest(FrozenModel):
    """The loads to serve an artifact with."""

    concurrencies: tuple[int, ...] = Field(default=(1, 2, 4), min_length=1)
    """Requests at a time: one load each."""

    requests_per_second: float | None = Field(default=None, gt=0)
    """Poisson arrivals; None: a closed loop."""

    minutes: float | None = Field(default=None, gt=0)
    """How long the highest load is kept up as well."""

    limits: Limits | None = None
    """Measured as on a smaller machine."""

    def arguments(self) -> list[str]:
        """The command line's options that ask for the same."""
        limits = self.limits or Limits()
        options = {
            "--concurrency": ",".join(map(str, self.concurrencies)),
            "--rate": self.requests_per_second,
            "--minutes": self.minutes,
            "--memory-limit": f"{limits.memory_bytes}B" if limits.memory_bytes else None,
            "--cpus": limits.cpus,
        }
        return [
            part
            for option, value in options.items()
            if value is not None
            for part in (option, str(value))
        ]
