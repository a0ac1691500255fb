"""Elimination, ranking, reasons: which artifact of a model to make for a device.

Nothing here reads weights, imports torch or takes more than a fraction of a second.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence

from edgecomp.common.errors import CompressionSettingsInvalid, ExportRefused, ModelIncomplete
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import MixChoice, Rounding
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.expected_loss import TASK_RISK, TOLERATED_NATS, risk
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.format_facts import SOURCE, FormatFacts, facts_of_types, format_facts
from edgecomp.formats.onnx_facts import onnx_facts
from edgecomp.models.gguf.model import refuse_repeated_tokens
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.card_fill import Demand, Frame, frame
from edgecomp.planning.job_cost import estimate_job
from edgecomp.planning.kernels import without_kernels
from edgecomp.planning.method_families import method_families, notices, required_benchmarks
from edgecomp.planning.nearest_limit import nearest_limit
from edgecomp.planning.offload import TIGHT_SHARE, Offload, fastest, frames, offload, offloads
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.planning.placement import Placement
from edgecomp.planning.placement_speed import LayerGain, PlacedSpeed, one_layer_more, placed_speeds
from edgecomp.planning.plan import Candidate, JobCost, Plan, Rejection, Verdict
from edgecomp.planning.recipe_of_plan import chosen_mix
from edgecomp.planning.speed import SpeedEstimate, estimate_speed
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.stages import Stage, staged_model

DEFAULT_CONTEXTS = (2048, 4096, 8192)
PROMPT_TOKENS = 512
RUNTIME, ONNX = "llama.cpp", "onnx"
ONNX_MICRO_BATCH = 128
"""ONNX Runtime gives the logits of every position: a larger batch costs memory, not time."""

GUESSED_SPEEDS = "Speeds are guesses: run `edgecomp devices calibrate` for measured ones."


def make_plan(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts] | None = None,
    stages: Sequence[Stage] = (),
    mix: MixChoice | None = None,
    runtime: str = RUNTIME,
    rounding: Rounding | None = None,
) -> Plan:
    """Plan `model` for `device`, to be run by `runtime`.

    `facts`: those of the model's formats, where many plans of one model are made. `stages` and
    `mix`: what the recipe does beside its `rounding` (None: by what loses least); the candidates
    are those of the model that the stages leave. Raises TokensRepeated, and what `staged_model`
    raises.
    """
    if runtime == RUNTIME:
        refuse_repeated_tokens(model)
    if runtime == ONNX:
        _refuse_what_onnx_lacks(constraints, stages, mix)
    made = staged_model(model, stages)
    if facts is None:
        facts = onnx_facts(made) if runtime == ONNX else format_facts(made)
    if stages:
        facts = [row for row in facts if row.name != SOURCE]
    ranked = ranked_candidates(made, device, constraints, facts, runtime)
    chosen = ranked[0] if ranked and not ranked[0].rejections else None
    job: JobCost | None = None
    placed: tuple[PlacedSpeed, ...] = ()
    more: LayerGain | None = None
    if chosen:
        if runtime == RUNTIME and device.gpus:
            placed, more = _weighed(made, device, constraints, facts, chosen)
        mixed = chosen_mix(mix, chosen.format)
        job = estimate_job(model, chosen, stages=stages, mix=mixed, rounding=rounding)
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
        required_benchmarks=required_benchmarks(constraints.task),
        notices=(
            *model.notes,
            *notices(model, device, ranked),
            *(_gguf_reservations(model) if runtime == RUNTIME else ()),
        ),
        job=job,
        placements=placed,
        one_layer_more=more,
        nearest=None
        if chosen
        else nearest_limit(ranked, constraints, device, model.context_length),
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
    all_of = _onnx_candidates if runtime == ONNX else _candidates
    candidates = _without_dominated(list(all_of(model, device, constraints, facts)))
    return sorted(candidates, key=lambda row: _rank(row, constraints))


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
    return placed_as(model, device, constraints, facts, candidate.placement, candidate.settings)


def placed_as(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    placement: Placement,
    settings: RunSettings,
) -> Candidate:
    """The candidate of a format that is placed and run as it is said, not as is fastest."""
    wanted = Demand(facts.weights, frame(model, settings, _worker_bytes(device)))
    way = offload(wanted, device, placement)
    return _candidate(model, device, constraints, facts, way, RUNTIME)


def _refuse_what_onnx_lacks(
    constraints: Constraints, stages: Sequence[Stage], mix: MixChoice | None
) -> None:
    mixed = mix not in (None, "none")
    asked = "--kv-type" if constraints.kv_type != "F16" else "--mix" if mixed else None
    if asked or stages:
        raise CompressionSettingsInvalid(
            f"{asked or 'What a recipe does before rounding'} is for llama.cpp: ONNX artifacts are "
            "made of the source, one type for all matrices, with a float32 cache. Leave it out, or "
            "choose --runtime llama.cpp."
        )


def contexts(model: ModelSpec, constraints: Constraints) -> tuple[int, ...]:
    """The contexts to plan for: the one asked for, or a few that the model was trained for."""
    if constraints.context:
        return (constraints.context,)
    longest = model.context_length or DEFAULT_CONTEXTS[-1]
    return tuple(size for size in DEFAULT_CONTEXTS if size <= longest) or (longest,)


def _candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
) -> Iterator[Candidate]:
    framed = [_frames(model, device, constraints, size) for size in contexts(model, constraints)]
    for row in facts:
        for of_context in framed:
            yield from _placed(model, device, constraints, row, of_context)


def _onnx_candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
) -> Iterator[Candidate]:
    """Everything on the CPU, the only provider whose predictions were checked."""
    own = device.model_copy(update={"calibration": device.calibration_in(ONNX)})
    for row in facts:
        for context in contexts(model, constraints):
            settings = RunSettings(
                context=context,
                threads=device.cpu.cores,
                kv_type="F32",
                micro_batch=ONNX_MICRO_BATCH,
            )
            memory = estimate_onnx_memory(model, row.name, settings)
            pools = {device.system_pool.name: memory.total_bytes}
            way = Offload(Placement(), settings, memory, pools)
            yield _candidate(model, own, constraints, row, way, ONNX)


def _frames(
    model: ModelSpec, device: DeviceProfile, constraints: Constraints, context: int
) -> tuple[Frame, ...]:
    settings = RunSettings(context=context, threads=device.cpu.cores, kv_type=constraints.kv_type)
    return frames(model, settings, device, _worker_bytes(device))


def _worker_bytes(device: DeviceProfile) -> int | None:
    return device.calibration.worker_bytes if device.calibration else None


def _placed(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    framed: Sequence[Frame],
) -> Iterator[Candidate]:
    """One candidate a kind of processor: the fastest way to use it."""
    for ways in offloads(facts.weights, framed, device):
        best = ways[0] if facts.senseless else fastest(model, facts.weights, device, ways)
        yield _candidate(model, device, constraints, facts, best, RUNTIME)


def _weighed(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
    chosen: Candidate,
) -> tuple[tuple[PlacedSpeed, ...], LayerGain | None]:
    """The placements that the choice was made of, and what one layer more would bring it."""
    weights = next(row.weights for row in facts if row.name == chosen.format)
    framed = _frames(model, device, constraints, chosen.context)
    mine = next(row for row in framed if row.settings.micro_batch == chosen.settings.micro_batch)
    depth = chosen.speed.prompt_tokens
    return (
        placed_speeds(model, weights, device, framed, depth),
        one_layer_more(model, weights, device, mine, chosen.placement, depth),
    )


def _candidate(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    way: Offload,
    runtime: str,
) -> Candidate:
    placement, settings, memory, pools = way
    depth = min(PROMPT_TOKENS, max(settings.context // 2, 1))
    guessed = not device.calibration and device.name == "auto"
    speed = estimate_speed(
        model,
        facts.weights,
        device,
        placement,
        depth=depth,
        prompt_tokens=depth,
        micro_batch=settings.micro_batch,
        every_logit=runtime == ONNX,
    )
    senseless = facts.senseless or _without_kernels(facts, device, placement, runtime)
    reasons = _rejections(model, device, constraints, facts.file_bytes, way, speed, senseless)
    return Candidate(
        format=facts.name,
        context=settings.context,
        placement=placement,
        settings=settings,
        file_bytes=facts.file_bytes,
        bits_per_weight=facts.bits_per_weight,
        memory=memory,
        pool_bytes=pools,
        speed=speed,
        expected_divergence_nats=facts.expected_divergence_nats,
        risk=risk(facts.expected_divergence_nats, constraints.task),
        fits=_fit(pools, memory.total_bytes, device, constraints),
        rejections=reasons,
        notes=(*facts.notes, *((GUESSED_SPEEDS,) if guessed else ())),
    )


def _without_kernels(
    facts: FormatFacts, device: DeviceProfile, placement: Placement, runtime: str
) -> str | None:
    missing = without_kernels(facts.matrix_types, device, runtime, placement)
    if not missing:
        return None
    where = " and ".join(placement.gpus) or device.cpu.name
    return f"{runtime} has no kernels for {', '.join(sorted(missing))} on {where}."


def _fit(
    pools: dict[str, int], total_bytes: int, device: DeviceProfile, constraints: Constraints
) -> Verdict:
    shares = [used / device.pool(name).usable_bytes for name, used in pools.items()]
    if constraints.max_memory_bytes:
        shares.append(total_bytes / constraints.max_memory_bytes)
    worst = max(shares)
    return "no" if worst > 1 else "tight" if worst > TIGHT_SHARE else "fits"


def _rejections(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    file_bytes: int,
    way: Offload,
    speed: SpeedEstimate,
    senseless: str | None,
) -> tuple[Rejection, ...]:
    reasons = [Rejection(cause="format", text=senseless)] if senseless else []
    for name, used in way.pool_bytes.items():
        usable = device.pool(name).usable_bytes
        if used > usable:
            text = f"It needs {format_size(used)} of {name} and {format_size(usable)} are usable."
            reasons.append(Rejection(cause="memory", text=text))
    limit = constraints.max_memory_bytes
    if limit and way.memory.total_bytes > limit:
        total = format_size(way.memory.total_bytes)
        text = f"Its peak memory of {total} is over the limit of {format_size(limit)}."
        reasons.append(Rejection(cause="limit", text=text))
    size_limit = constraints.max_size_bytes
    if size_limit and file_bytes > size_limit:
        size = format_size(file_bytes)
        text = f"Its file of {size} is over the limit of {format_size(size_limit)}."
        reasons.append(Rejection(cause="size", text=text))
    decoded, needed = speed.decode_tokens_per_second, constraints.min_decode_tokens_per_second
    if needed and decoded < needed:
        text = f"It decodes about {decoded:.3g} tok/s and {needed:g} are asked for."
        reasons.append(Rejection(cause="speed", text=text))
    context = way.settings.context
    if model.context_length and context > model.context_length:
        text = f"The model was trained for {model.context_length} tokens, not {context}."
        reasons.append(Rejection(cause="context", text=text))
    block = TENSOR_TYPES[constraints.kv_type].block_elements
    if model.key_length % block or model.value_length % block:
        heads = f"{model.key_length} and {model.value_length}"
        text = f"A {constraints.kv_type} cache needs heads in blocks of {block}, not of {heads}."
        reasons.append(Rejection(cause="kv-type", text=text))
    return tuple(reasons)


def _without_dominated(candidates: list[Candidate]) -> list[Candidate]:
    """Reject what another candidate of the same context beats or equals in every respect."""
    rivals: dict[tuple[int, bool], list[tuple[Candidate, tuple[float, ...]]]] = {}
    for row in candidates:
        if not row.rejections:
            place = (row.context, bool(row.placement.gpus))
            rivals.setdefault(place, []).append((row, _costs(row)))
    result = []
    for row in candidates:
        if not row.rejections:
            mine = _costs(row)
            near = rivals[row.context, bool(row.placement.gpus)]
            better = next((other for other, its in near if _dominates(its, mine)), None)
            if better:
                text = f"{better.format} is no larger, no slower, and is expected to lose no more."
                dominated = Rejection(cause="dominated", text=text)
                row = row.model_copy(update={"rejections": (dominated,)})
        result.append(row)
    return result


def _costs(row: Candidate) -> tuple[float, ...]:
    """All that counts, each the better the smaller."""
    return (
        row.file_bytes,
        row.memory.total_bytes,
        -row.speed.decode_tokens_per_second,
        -row.speed.prefill_tokens_per_second,
        row.expected_divergence_nats,
    )


def _dominates(its: tuple[float, ...], mine: tuple[float, ...]) -> bool:
    return mine != its and all(map(operator.le, its, mine))


def _rank(candidate: Candidate, constraints: Constraints) -> tuple[float, ...]:
    """Best first: speed against expected loss while the task tolerates it, else the least lossy.

    All that a task tolerates is worth a doubling of the speed, so that a few percent more speed
    never buy a much greater loss. The shortest context planned is the default, since a longer one
    costs memory that nobody asked for.
    """
    divergence = candidate.expected_divergence_nats
    loss = divergence / TOLERATED_NATS[constraints.task]
    tolerable = loss <= 1
    worth = math.log2(candidate.speed.decode_tokens_per_second) - loss
    return (
        float(bool(candidate.rejections)),
        float(candidate.fits == "tight"),
        0.0 if tolerable else 1.0,
        candidate.context,
        -worth if tolerable else divergence,
        candidate.file_bytes,
    )
