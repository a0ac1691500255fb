"""One artifact of a fleet: made, judged, measured and bundled, wherever that is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from edgecomp.common.errors import EdgecompError
from edgecomp.common.events import Listener, Warned
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.jobs.fit import fit_recipe
from edgecomp.jobs.fleet_plan import PlannedArtifact

ARTIFACTS = "artifacts"
"""The folder of the bundles, each in a folder of its artifact's name."""


class ArtifactState(FrozenModel):
    """What became of one artifact."""

    name: str
    state: Literal["waiting", "done", "failed"] = "waiting"
    text: str = ""
    """The verdict on it, or why it could not be made."""

    seconds: float = 0.0


def make_fleet_artifact(
    folder: Path, planned: PlannedArtifact, data: Path | None, listen: Listener
) -> ArtifactState:
    """Make the artifact's bundle in the fleet's folder; an error that is explained is its state."""
    began = time.monotonic()
    try:
        place = folder / ARTIFACTS / planned.name
        fitted = fit_recipe(planned.recipe, place, data, listen, "fleet")
        state: Literal["done", "failed"] = "done"
        text = f"{fitted.report.verdict.level}. {fitted.report.verdict.summary}"
    except EdgecompError as error:
        state, text = "failed", str(error)
        listen(Warned(text=f"{planned.name} could not be made: {error}"))
    seconds = time.monotonic() - began
    return ArtifactState(name=planned.name, state=state, text=text, seconds=seconds)
