"""The report of a run as values, and its sections as titled tables that every output shares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.coherence import Coherence
from edgecomp.evaluate.comparison import Comparison
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.items import Bucket
from edgecomp.judging.verdict import Verdict
from edgecomp.making.artifact import Artifact
from edgecomp.measure.latency import Measurement, Prediction
from edgecomp.planning.plan import Candidate, JobCost
from edgecomp.recipes.recipe import Recipe


class ModelFacts(FrozenModel):
    """What the report repeats of the model."""

    name: str
    architecture: str
    parameters: int
    source: str
    """Path or hub id as the user gave it."""

    source_sha256: str
    source_bits_per_weight: float
    licence: str | None


class Report(FrozenModel):
    """Everything a run found out. Stored beside the artifact as `report.json`."""

    schema_version: Literal[1] = 1
    model: ModelFacts
    device_title: str
    recipe: Recipe
    chosen: Candidate
    others: tuple[Candidate, ...]
    """The plan's other candidates that met every constraint, for the plots."""

    job_predicted: JobCost | None
    artifact: Artifact
    predictions: tuple[Prediction, ...]
    measurement: Measurement
    divergence: DivergenceSummary
    divergence_by_capability: dict[Bucket, DivergenceSummary] = Field(default={})
    """On the text of each capability's own questions."""

    coherence: Coherence
    comparison: Comparison
    verdict: Verdict
    notices: tuple[str, ...]
    versions: dict[str, str]
