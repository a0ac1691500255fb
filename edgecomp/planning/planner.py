"""Elimination, ranking, reasons: which artifact of a model to make for a device.

Nothing here reads weights, imports torch or takes more than a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgecomp.common.errors import ExportRefused, ModelIncomplete
from edgecomp.common.tasks import REQUIRED_BENCHMARKS
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.expected_loss import TASK_RISK
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.format_facts import FormatFacts, facts_of_types, format_facts
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.onnx_facts import onnx_facts
from edgecomp.formats.presets import MIXTURE, SOURCE
from edgecomp.models.gguf.model import refuse_repeated_tokens
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import ONNX, RUNTIME, candidate_of, contexts
from edgecomp.planning.card_fill import MemoryDemand, RuntimeFootprint, footprint
from edgecomp.planning.job_cost import estimate_job
from edgecomp.planning.method_families import method_families, notices
from edgecomp.planning.mixtures import Request, mixture_candidates
from edgecomp.planning.nearest_limit import nearest_limit
from edgecomp.planning.offload import fastest, offload, offloads, possible_footprints
from edgecomp.planning.onnx_candidates import onnx_candidates, refuse_what_onnx_lacks
from edgecomp.planning.placement import Placement
from edgecomp.planning.placement_speed import LayerGain, PlacedSpeed, one_layer_more, placed_speeds
from edgecomp.planning.plan import Candidate, JobCost, Plan
from edgecomp.planning.ranking import rank, without_dominated
from edgecomp.planning.recipe_of_plan import NOTHING_CHOSEN, Choices, chosen_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.stages import staged_model


def make_plan(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts] | None = None,
    choices: Choices = NOTHING_CHOSEN,
) -> Plan:
    """Plan `model` for `device`.

    `facts`: those of the model's formats, where many plans of one model are made. The candidates
    are those of the model that the stages of `choices` leave. Raises TokensRepeated, and what
    `staged_model` raises.
    """
    runtime, stages = choices.runtime, choices.stages
    if runtime == RUNTIME:
        refuse_repeated_tokens(model)
    if runtime == ONNX:
        refuse_what_onnx_lacks(constraints, stages, choices.mix)
    made = staged_model(model, stages)
    if facts is None:
        facts = onnx_facts(made) if runtime == ONNX else format_facts(made)
    if stages:
        facts = [row for row in facts if row.name != SOURCE]
    if choices.mix not in (None, "optimal"):
        facts = [row for row in facts if row.name != MIXTURE]
    ranked = ranked_candidates(made, device, constraints, facts, runtime)
    chosen = ranked[0] if ranked and not ranked[0].rejections else None
    placed: tuple[PlacedSpeed, ...] = ()
    more: LayerGain | None = None
    job: JobCost | None = None
    if chosen:
        mix = chosen_mix(choices.mix, chosen.format)
        job = estimate_job(model, chosen, stages=stages, mix=mix, rounding=choices.rounding)
    if chosen and runtime == RUNTIME and device.gpus:
        placed, more = _compare_placements(made, device, constraints, facts, chosen)
    nearest = None
    if not chosen:
        nearest = nearest_limit(ranked, constraints, device, model.context_length)
    return Plan(
        model=model.name,
        architecture=model.architecture,
        parameters=made.parameters,
        source_bits_per_weight=model.bits_per_weight,
        runtime=runtime,
        device=device.name,
        device_title=device.title,
        constraints=constraints,
        candidates=tuple(ranked),
        families=method_families(model, device, constraints, ranked, stages),
        task_risk=TASK_RISK[constraints.task],
        required_benchmarks=REQUIRED_BENCHMARKS[constraints.task],
        notices=(
            *model.notes,
            *notices(model, device, ranked),
            *(_gguf_reservations(model) if runtime == RUNTIME else ()),
        ),
        job=job,
        placements=placed,
        one_layer_more=more,
        nearest=nearest,
    )


def _gguf_reservations(model: ModelSpec) -> tuple[str, ...]:
    try:
        return find_gguf_exporter().reservations(model)
    except (ExportRefused, ModelIncomplete) as error:
        return (str(error),)


def ranked_candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
    runtime: str = RUNTIME,
) -> list[Candidate]:
    """Every candidate, best first, then the rejected ones: a plan without what it takes to make."""
    all_of = onnx_candidates if runtime == ONNX else _candidates
    candidates = without_dominated(list(all_of(model, device, constraints, facts)))
    return sorted(candidates, key=lambda row: rank(row, constraints))


def with_types(
    candidate: Candidate,
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    types: Mapping[str, str],
) -> Candidate:
    """The candidate with other tensor types than its format's own: its size, memory and speed,
    placed as it is."""
    facts = facts_of_types(model, candidate.format, types)
    found = candidate_for_placement(
        model, device, constraints, facts, candidate.placement, candidate.settings
    )
    return found.model_copy(update={"budget_bytes": candidate.budget_bytes})


def candidate_for_placement(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    placement: Placement,
    settings: RunSettings,
) -> Candidate:
    """The candidate of a format that is placed and run as it is said, not as is fastest."""
    demand = MemoryDemand(facts.weights, footprint(model, settings, _worker_bytes(device)))
    option = offload(demand, device, placement)
    return candidate_of(model, device, constraints, facts, option, RUNTIME)


def _candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
) -> Iterator[Candidate]:
    by_context = [
        _footprints(model, device, constraints, size) for size in contexts(model, constraints)
    ]
    for row in facts:
        for footprints in by_context:
            if row.mixture:
                request = Request(device, constraints, footprints)
                yield from mixture_candidates(row.mixture, request)
            else:
                yield from _place(model, device, constraints, row, footprints)


def _footprints(
    model: ModelSpec, device: DeviceProfile, constraints: Constraints, context: int
) -> tuple[RuntimeFootprint, ...]:
    settings = RunSettings(context=context, threads=device.cpu.cores, kv_type=constraints.kv_type)
    return possible_footprints(model, settings, device, _worker_bytes(device))


def _worker_bytes(device: DeviceProfile) -> int | None:
    return device.kernel_rates.worker_bytes if device.kernel_rates else None


def _place(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    footprints: Sequence[RuntimeFootprint],
) -> Iterator[Candidate]:
    """One candidate a kind of processor: the fastest way to use it."""
    for options in offloads(facts.weights, footprints, device):
        best = (
            options[0] if facts.exclusion_reason else fastest(model, facts.weights, device, options)
        )
        yield candidate_of(model, device, constraints, facts, best, RUNTIME)


def _compare_placements(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
    chosen: Candidate,
) -> tuple[tuple[PlacedSpeed, ...], LayerGain | None]:
    """The placements that the choice was made of, and what one layer more would bring it."""
    if chosen.types:
        weights = layered_weights(model, chosen.types)
    else:
        weights = next(row.weights for row in facts if row.name == chosen.format)
    footprints = _footprints(model, device, constraints, chosen.context)
    batch = chosen.settings.micro_batch
    used = next(row for row in footprints if row.settings.micro_batch == batch)
    depth = chosen.speed.prompt_tokens
    return (
        placed_speeds(model, weights, device, footprints, depth),
        one_layer_more(model, weights, device, used, chosen.placement, depth),
    )
