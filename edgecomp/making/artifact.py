"""A finished artifact, and what was found out while it was made."""

from __future__ import annotations

from edgecomp.calibration.calibration import CalibrationRecord
from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.making.expert_use import ExpertUse
from edgecomp.making.mixed_precision import BitAllocation
from edgecomp.making.provider_package import ProviderPackage
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.distillation import History
from edgecomp.recipes.tuning import Tuned


class ProjectorFile(FrozenModel):
    """The file beside a text model that reads pictures or sounds for it (llama.cpp's `mmproj`)."""

    file: StoredFile
    type: str | None
    """What its weights are, mostly; None where it does not say so."""

    size_bytes: int
    compute_bytes: int | None
    """What llama.cpp reserves beside it to read one of its usual size; None: it was not loaded."""

    checks: tuple[CheckResult, ...]

    @property
    def end(self) -> str:
        """How it is called after its model's name, by which programs know it."""
        return f"mmproj-{self.type}.gguf" if self.type else "mmproj.gguf"


class Artifact(FrozenModel):
    """The finished file and what was found out while it was made."""

    file: StoredFile
    size_bytes: int
    types: dict[str, str]
    fallbacks: dict[str, str]
    checks: tuple[CheckResult, ...]
    calibration: CalibrationRecord | None
    base: StoredFile
    """The float file that the artifact was made from and is compared with."""

    projector: ProjectorFile | None = None
    package: ProviderPackage | None = None
    """What is shipped for another execution provider, with the same codes; None: `file` is."""

    importance: StoredFile | None = None
    """The importance matrix, in the layout of llama.cpp's tools."""

    distillations: tuple[History, ...] = ()
    """How the held-out divergence fell in each of the recipe's distillations."""

    mixture: BitAllocation | None = None
    """The types that the recipe's mix chose, and what each would have cost."""

    tuning: Tuned | None = None
    """How the held-out divergence fell once codes were chosen; None where nothing was tuned."""

    expert_use: ExpertUse | None = None
    """How often the calibration asked each expert; None where there is none or none is rounded."""
