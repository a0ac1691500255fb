"""What the screens share: the values chosen so far, each None until it is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecomp.common.events import StandingsSeen
    from edgecomp.devices.profile import DeviceProfile
    from edgecomp.jobs.background import BackgroundFit, FitRequest
    from edgecomp.models.spec import ModelSpec
    from edgecomp.planning.plan import Candidate, Plan
    from edgecomp.recipes.constraints import Constraints
    from edgecomp.recipes.recipe import Recipe


@dataclass
class Session:
    """One user's way from a model to a bundle."""

    data: Path | None = None
    model_name: str | None = None
    """As the user gave it: `demo`, a path, or a hub id."""

    model: ModelSpec | None = None
    device_name: str = "auto"
    device: DeviceProfile | None = None
    constraints: Constraints | None = None
    plan: Plan | None = None
    chosen: Candidate | None = None
    recipe: Recipe | None = None
    run: BackgroundFit | None = None
    """The run that this app started and that still works."""

    request: FitRequest | None = None
    """The run that is shown: this app's, or one that is only watched."""

    standings: StandingsSeen | None = None
    """What the questions of the run that is shown say so far."""

    folder: Path | None = None
    """The bundle that Results and Bundle show."""

    offered: bool = field(default=False)
    """Whether the unfinished run of the last time was offered already."""

    def forget_plan(self) -> None:
        """Another model or device makes the plan and what followed from it void."""
        self.plan = self.chosen = self.recipe = None
