"""Elimination, ranking, reasons: which artifact of a model to make for a device.

Nothing here reads weights, imports torch or takes more than a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from edgecomp.common.errors import ExportRefused, ModelIncomplete
from edgecomp.common.tasks import REQUIRED_BENCHMARKS
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.cache_types import CACHE_CHOICES, expected_cache_loss, suits_heads
from edgecomp.formats.expected_loss import TASK_RISK
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.format_facts import FormatFacts, facts_of_types, format_facts
from edgecomp.formats.huggingface_facts import huggingface_facts
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.onnx_facts import facts_of_onnx_types, onnx_facts
from edgecomp.formats.onnx_formats import ONNX_FORMATS, ONNX_MIXTURE
from edgecomp.formats.presets import MIXTURE, SOURCE
from edgecomp.models.gguf.model import refuse_repeated_tokens
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import (
    ONNX,
    RUNTIME,
    TRANSFORMERS,
    candidate_of,
    contexts,
    with_expected_loss,
)
from edgecomp.planning.card_fill import MemoryDemand, RuntimeFootprint, footprint
from edgecomp.planning.job_cost import HowMade, estimate_job
from edgecomp.planning.method_families import method_families, notices
from edgecomp.planning.mixtures import Request, mixture_candidates
from edgecomp.planning.nearest_limit import nearest_limit
from edgecomp.planning.offload import fastest, offload, offloads, possible_footprints
from edgecomp.planning.onnx_candidates import (
    onnx_candidates,
    refuse_mix_elsewhere,
    refuse_provider_elsewhere,
    refuse_what_onnx_lacks,
)
from edgecomp.planning.onnx_mixtures import onnx_candidate
from edgecomp.planning.placement import Placement
from edgecomp.planning.placement_speed import LayerGain, PlacedSpeed, one_layer_more, placed_speeds
from edgecomp.planning.plan import Candidate, JobCost, Plan
from edgecomp.planning.provider_choice import chosen_provider, fitting_notice
from edgecomp.planning.ranking import best_caches, rank, without_dominated
from edgecomp.planning.recipe_of_plan import NOTHING_CHOSEN, Choices, chosen_mix
from edgecomp.planning.transformers_candidates import (
    refuse_what_transformers_lacks,
    transformers_candidates,
)
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.stages import staged_model

FACTS: Mapping[str, Callable[[ModelSpec], Sequence[FormatFacts]]] = {
    TRANSFORMERS: huggingface_facts,
}
"""What tells of a model's formats, by the runtime; `format_facts` of every other."""

Candidates = Callable[
    [ModelSpec, DeviceProfile, Constraints, Sequence[FormatFacts]], Iterable[Candidate]
]


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
    refuse_provider_elsewhere(runtime, choices.provider)
    if runtime == ONNX:
        choices = choices._replace(provider=chosen_provider(choices.provider, device))
        refuse_what_onnx_lacks(constraints, choices.mix)
        refuse_mix_elsewhere(choices.provider, choices.mix)
    if runtime == TRANSFORMERS:
        refuse_what_transformers_lacks(constraints, choices.mix, choices.rounding)
    made = staged_model(model, stages)
    if runtime != RUNTIME:
        made = made.model_copy(update={"projector": None})  # Only GGUF artifacts have one.
    if facts is None and runtime == ONNX:
        facts = onnx_facts(made, choices.provider)
    elif facts is None:
        facts = FACTS.get(runtime, format_facts)(made)
    if stages:
        facts = [row for row in facts if row.name != SOURCE]
    if choices.mix not in (None, "optimal"):
        facts = [row for row in facts if row.name not in (MIXTURE, ONNX_MIXTURE)]
    ranked = ranked_candidates(made, device, constraints, facts, choices)
    chosen = ranked[0] if ranked and not ranked[0].rejections else None
    placed: tuple[PlacedSpeed, ...] = ()
    more: LayerGain | None = None
    job: JobCost | None = None
    if chosen:
        mix = chosen_mix(choices.mix, chosen.format)
        how = HowMade(mix, choices.rounding, choices.effort)
        job = estimate_job(model, chosen, stages, how)
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
            *(fitting_notice(choices.provider, device) if runtime == ONNX else ()),
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
    choices: Choices = NOTHING_CHOSEN,
) -> list[Candidate]:
    """Every candidate, best first, then the rejected ones: a plan without what it takes to make."""
    by_runtime: dict[str, Candidates] = {
        ONNX: partial(onnx_candidates, provider=choices.provider),
        TRANSFORMERS: transformers_candidates,
    }
    all_of = by_runtime.get(choices.runtime, _candidates)
    candidates = list(all_of(model, device, constraints, facts))
    if choices.cache_losses:
        candidates = [_with_cache_loss(row, model, constraints, choices) for row in candidates]
    candidates.sort(key=lambda row: rank(row, constraints))
    if constraints.kv_type == "auto":
        candidates = best_caches(candidates)
    return sorted(without_dominated(candidates), key=lambda row: rank(row, constraints))


def _with_cache_loss(
    row: Candidate, model: ModelSpec, constraints: Constraints, choices: Choices
) -> Candidate:
    """The candidate with what its cache was measured to lose, where it was."""
    kv_type = row.settings.kv_type
    measured = (choices.cache_losses or {}).get(kv_type)
    if measured is None:
        return row
    loss = row.expected_divergence_nats - expected_cache_loss(model, kv_type) + measured
    return with_expected_loss(row, loss, constraints.task)


def with_types(
    candidate: Candidate,
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    types: Mapping[str, str],
) -> Candidate:
    """The candidate with other tensor types than its format's own: its size, memory and speed,
    placed as it is."""
    if candidate.format in ONNX_FORMATS:
        row = facts_of_onnx_types(model, candidate.format, types)
        found = onnx_candidate(model, device, constraints, row, candidate.context)
        return found.model_copy(update={"budget_bytes": candidate.budget_bytes})
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
    auto = constraints.kv_type == "auto"
    kv_types = (
        [kind for kind in CACHE_CHOICES if suits_heads(model, kind)]
        if auto
        else [constraints.kv_type]
    )
    every = [
        _footprints(model, device, context, kv_type)
        for context in contexts(model, constraints)
        for kv_type in kv_types
    ]
    for row in facts:
        for footprints in every:
            request = Request(device, constraints, footprints)
            found = (
                mixture_candidates(row.mixture, request)
                if row.mixture
                else _place(model, device, constraints, row, footprints)
            )
            # Cards have kernels for keys and values of one type.
            yield from (c for c in found if not (auto and c.placement.gpus and _mixed(c)))


def _mixed(candidate: Candidate) -> bool:
    return candidate.settings.key_type != candidate.settings.value_type


def _footprints(
    model: ModelSpec, device: DeviceProfile, context: int, kv_type: str
) -> tuple[RuntimeFootprint, ...]:
    settings = RunSettings(context=context, threads=device.cpu.cores, kv_type=kv_type)
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
    footprints = _footprints(model, device, chosen.context, chosen.settings.kv_type)
    batch = chosen.settings.micro_batch
    used = next(row for row in footprints if row.settings.micro_batch == batch)
    depth = chosen.speed.prompt_tokens
    return (
        placed_speeds(model, weights, device, footprints, depth),
        one_layer_more(model, weights, device, used, chosen.placement, depth),
    )
