"""One candidate of a plan: what it costs on a device, and what the constraints say of it."""

from __future__ import annotations

from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import Task
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.cache_types import cache_types, expected_cache_loss, suits_heads
from edgecomp.formats.expected_loss import risk
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.formats.onnx_formats import ONNX_MIXTURE
from edgecomp.formats.presets import MIXTURE
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.kernels import without_kernels
from edgecomp.planning.offload import TIGHT_SHARE, Offload
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Candidate, Rejection, Verdict
from edgecomp.planning.speed import SpeedEstimate, estimate_speed, load_of
from edgecomp.recipes.constraints import Constraints

RUNTIME, ONNX, TRANSFORMERS = "llama.cpp", "onnx", "transformers"
DEFAULT_CONTEXTS = (2048, 4096, 8192)
PROMPT_TOKENS = 512
GUESSED_SPEEDS = "Speeds are guesses: run `edgecomp devices calibrate` for measured ones."


def contexts(model: ModelSpec, constraints: Constraints) -> tuple[int, ...]:
    """The contexts to plan for: the one asked for, or a few that the model was trained for."""
    if constraints.context:
        return (constraints.context,)
    longest = model.context_length or DEFAULT_CONTEXTS[-1]
    return tuple(size for size in DEFAULT_CONTEXTS if size <= longest) or (longest,)


def candidate_of(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    option: Offload,
    runtime: str,
) -> Candidate:
    """The candidate of a format that lies in the device's memories as `option` says."""
    placement, settings, memory, pools = option
    depth = min(PROMPT_TOKENS, max(settings.context // 2, 1))
    can_measure = device.name == "auto" and runtime != TRANSFORMERS
    guessed = can_measure and not device.kernel_rates
    speed = estimate_speed(
        model,
        facts.weights,
        device,
        placement,
        load_of(settings, depth),
        every_logit=runtime == ONNX,
    )
    exclusion_reason = facts.exclusion_reason or _without_kernels(facts, device, placement, runtime)
    senseless = [Rejection(cause="format", text=exclusion_reason)] if exclusion_reason else []
    loss = facts.expected_divergence_nats + expected_cache_loss(model, settings.kv_type)
    broken = _rejections(model, device, constraints, facts.file_bytes, option, speed)
    return Candidate(
        format=facts.name,
        types=dict(facts.types) if facts.name in (MIXTURE, ONNX_MIXTURE) else {},
        context=settings.context,
        placement=placement,
        settings=settings,
        file_bytes=facts.file_bytes,
        bits_per_weight=facts.bits_per_weight,
        memory=memory,
        pool_bytes=pools,
        speed=speed,
        expected_divergence_nats=loss,
        risk=risk(loss, constraints.task),
        fits=_fit(pools, memory.total_bytes, device, constraints),
        rejections=(*senseless, *broken),
        notes=(*facts.notes, *((GUESSED_SPEEDS,) if guessed else ())),
    )


def with_expected_loss(candidate: Candidate, loss: float, task: Task) -> Candidate:
    """The candidate of which another loss is expected, in nats, and the risk that it then is."""
    update = {"expected_divergence_nats": loss, "risk": risk(loss, task)}
    return candidate.model_copy(update=update)


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
    option: Offload,
    speed: SpeedEstimate,
) -> tuple[Rejection, ...]:
    """What of the device, the constraints and the model it does not keep."""
    reasons = []
    for name, used in option.pool_bytes.items():
        usable = device.pool(name).usable_bytes
        if used > usable:
            text = f"It needs {format_size(used)} of {name} and {format_size(usable)} are usable."
            reasons.append(Rejection(cause="memory", text=text))
    limit = constraints.max_memory_bytes
    if limit and option.memory.total_bytes > limit:
        total = format_size(option.memory.total_bytes)
        text = f"Its peak memory of {total} is over the limit of {format_size(limit)}."
        reasons.append(Rejection(cause="limit", text=text))
    size_limit = constraints.max_size_bytes
    if size_limit and file_bytes + model.projector_bytes > size_limit:
        size = format_size(file_bytes)
        beside = model.projector_bytes
        more = f" and projector of {format_size(beside)} are" if beside else " is"
        text = f"Its file of {size}{more} over the limit of {format_size(size_limit)}."
        reasons.append(Rejection(cause="size", text=text))
    decoded, needed = speed.decode_tokens_per_second, constraints.min_decode_tokens_per_second
    if needed and decoded < needed:
        text = f"It decodes about {decoded:.3g} tok/s and {needed:g} are asked for."
        reasons.append(Rejection(cause="speed", text=text))
    context = option.settings.context
    if model.context_length and context > model.context_length:
        text = f"The model was trained for {model.context_length} tokens, not {context}."
        reasons.append(Rejection(cause="context", text=text))
    kv_type = option.settings.kv_type
    if not suits_heads(model, kv_type):
        block = max(TENSOR_TYPES[kind].block_elements for kind in cache_types(kv_type))
        heads = f"{model.key_length} and {model.value_length}"
        text = f"A {kv_type} cache needs heads in blocks of {block}, not of {heads}."
        reasons.append(Rejection(cause="kv-type", text=text))
    return tuple(reasons)
