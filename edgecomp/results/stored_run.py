"""A run as it is kept: what was made or examined, and its figures, predicted beside measured."""

from __future__ import annotations

import datetime
import hashlib
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel, OneLine

Job = Literal["fit", "run", "improve", "fleet", "compress", "evaluate", "audit", "measure"]


def utc_text(moment: datetime.datetime) -> str:
    """A time as the store keeps it: texts in the order of time."""
    utc = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='seconds')}Z"


class Figure(FrozenModel):
    """One figure of a run."""

    quantity: str
    """Such as `decode`, `peak memory`, `divergence`, `drop`."""

    subject: str = ""
    """What it is of, where a run has several: a depth, a capability, a load."""

    unit: str
    device: OneLine
    """Where it holds: the processor it was measured on, or the profile it was predicted for."""

    predicted: float | None = None
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    """Of the measured figure: percentiles 5 and 95 of its repeats, or its 95 % interval."""

    basis: str = ""
    """How the predicted figure is known."""


class StoredRun(FrozenModel):
    """One run. What a job does not have is None."""

    at: datetime.datetime
    job: Job
    model: OneLine
    """What it was made from, or is compared with; the artifact's own name where that is unknown."""

    model_sha256: str | None = None
    artifact: OneLine
    """The path of the bundle, file or folder."""

    artifact_sha256: str | None = None
    runtime: str
    device: OneLine
    """The profile it was planned for, or the processor of the machine that it ran on."""

    format: OneLine
    method: str | None = None
    """Who rounded."""

    bits_per_weight: float | None = None
    size_bytes: int
    context: int | None = None
    threads: int | None = None
    kv_type: str | None = None
    task: str | None = None
    verdict: str | None = None
    busy: bool | None = None
    """Whether other work disturbed the timings."""

    version: str
    """Of edgecomp."""

    figures: tuple[Figure, ...]

    def figure(self, quantity: str) -> Figure | None:
        """The last of its figures of that quantity, measured where one is: speeds are in order of
        depth."""
        found = [row for row in self.figures if row.quantity == quantity]
        measured = [row for row in found if row.measured is not None]
        return next(reversed(measured or found), None)

    @property
    def key(self) -> str:
        """The same for a run that only repeats another's figures out of the cache, wherever it put
        its artifact."""
        said = self.model_dump_json(exclude={"at", "artifact"})
        return hashlib.sha256(said.encode()).hexdigest()
