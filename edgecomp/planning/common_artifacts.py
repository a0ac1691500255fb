"""Which artifacts of one model serve which of several devices.

A preset is one file wherever it runs. A mixture is planned for what one device has room for; the
same file is planned here for all the others as well, where the smaller ones have no room for it and
the larger ones lose more by it than by their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import FormatFacts, format_facts, mixture_facts
from edgecomp.formats.onnx_facts import onnx_facts
from edgecomp.formats.onnx_formats import ONNX_MIXTURE
from edgecomp.formats.presets import SOURCE
from edgecomp.models.gguf.model import refuse_repeated_tokens
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import ONNX
from edgecomp.planning.nearest_limit import nearest_limit
from edgecomp.planning.plan import Candidate
from edgecomp.planning.planner import ranked_candidates
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints

DIGITS = 8


class Place(NamedTuple):
    """Where a model is to be served: a device, within limits."""

    device: DeviceProfile
    constraints: Constraints


class ServedThere(NamedTuple):
    """What serves one place within its limits, whatever it loses."""

    candidates: Mapping[str, Candidate]
    """By artifact: the best way to run it there."""

    nearest: str | None
    """Where there is none: which limit is short."""


def artifact_label(candidate: Candidate) -> str:
    """What tells an artifact from others of its model and runtime: its format, of a mixture also
    its bits and a hash of its types."""
    if not candidate.types:
        return candidate.format
    said = json.dumps(candidate.types, sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()[:DIGITS]
    return f"{candidate.format}-{candidate.bits_per_weight:.2f}bpw-{digest}"


def artifacts_for(
    model: ModelSpec, runtime: str, places: Sequence[Place]
) -> tuple[ServedThere, ...]:
    """For each place, the artifacts of `model` that serve it. Raises TokensRepeated."""
    if runtime == ONNX:
        model = model.model_copy(update={"projector": None})  # No ONNX artifact has one.
        # An artifact that serves several devices is no mixture for one of them.
        facts = tuple(row for row in onnx_facts(model) if row.name != ONNX_MIXTURE)
    else:
        refuse_repeated_tokens(model)
        facts = _without_repeats(format_facts(model))
    choices = Choices(runtime=runtime)
    ranked = [ranked_candidates(model, p.device, p.constraints, facts, choices) for p in places]
    mixed = _mixtures(facts, ranked)
    served = []
    for place, rows in zip(places, ranked, strict=True):
        own = {artifact_label(row) for row in rows if row.types}
        others = [row for label, row in mixed.items() if label not in own]
        moved = ranked_candidates(model, place.device, place.constraints, others, choices)
        nearest = nearest_limit(rows, place.constraints, place.device, model.context_length)
        able = _first_of_each([*rows, *moved])
        served.append(ServedThere(able, None if able else nearest or "No format is left."))
    return tuple(served)


def _without_repeats(facts: Sequence[FormatFacts]) -> tuple[FormatFacts, ...]:
    """All but formats that give each tensor the type that it has: that file is the source, which
    needs no job."""
    source = next((dict(row.types) for row in facts if row.name == SOURCE), None)
    return tuple(
        row for row in facts if row.name == SOURCE or row.mixture or dict(row.types) != source
    )


def keeps_limits(candidate: Candidate) -> bool:
    """Whether it keeps the limits; another that is better there may not be there elsewhere."""
    return all(rejection.cause == "dominated" for rejection in candidate.rejections)


def _mixtures(
    facts: Sequence[FormatFacts], ranked: Iterable[Sequence[Candidate]]
) -> dict[str, FormatFacts]:
    """The mixtures that were planned for some place."""
    mixture = next((row.mixture for row in facts if row.mixture), None)
    if mixture is None:
        return {}
    planned = {artifact_label(row): row for rows in ranked for row in rows if row.types}
    return {
        label: mixture_facts(mixture, row.types)
        for label, row in planned.items()
        if keeps_limits(row)
    }


def _first_of_each(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for row in candidates:
        if keeps_limits(row):
            found.setdefault(artifact_label(row), row)
    return found
