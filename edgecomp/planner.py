"""Elimination, ranking, reasons: which artifact of a model to make for a device.

Nothing here reads weights, imports torch or takes more than a fraction of a second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from edgecomp.constraints import Constraints
from edgecomp.device import DeviceProfile
from edgecomp.errors import ArchitectureUnsupported, ExportRefused, ModelIncomplete
from edgecomp.expected_loss import TASK_RISK, TOLERATED_NATS, expected_divergence, risk
from edgecomp.exporting import find_gguf_exporter
from edgecomp.formats import PRESETS, TENSOR_TYPES, Preset
from edgecomp.gguf_mix import fallbacks, mixed_types
from edgecomp.gguf_size import gguf_file_bytes
from edgecomp.job_cost import estimate_job
from edgecomp.kernels import without_kernels
from edgecomp.memory import estimate_memory
from edgecomp.method_families import method_families, notices, required_benchmarks
from edgecomp.model import ModelSpec
from edgecomp.offload import placements, pool_bytes
from edgecomp.plan import Candidate, JobCost, Plan, Rejection, Verdict
from edgecomp.quantity import format_size
from edgecomp.runtimes.settings import RunSettings
from edgecomp.speed import estimate_speed

DEFAULT_CONTEXTS = (2048, 4096, 8192)
TIGHT_SHARE = 0.9
"""From this share of a memory or a limit on, a candidate fits but is called tight."""

PROMPT_TOKENS = 512
RUNTIME = "llama.cpp"
GUESSED_HEADER_BYTES_PER_TOKEN = 40
"""A token's text, type and score, and its merge rule."""

SOURCE = "source"
UNWEIGHTED = (SOURCE, "F32", "F16", "BF16", "Q8_0")
"""Formats whose rounding no importance matrix could improve."""


def make_plan(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    data_items: int | None = None,
) -> Plan:
    """Plan `model` for `device`. `data_items`: questions the evaluation will ask, if known."""
    candidates = _without_dominated(list(_candidates(model, device, constraints)))
    ranked = sorted(candidates, key=lambda row: _rank(row, constraints))
    chosen = ranked[0] if ranked and not ranked[0].rejections else None
    job: JobCost | None = None
    if chosen:
        job = estimate_job(model, chosen, data_items)
    return Plan(
        model=model.name,
        architecture=model.architecture,
        parameters=model.parameters,
        source_bits_per_weight=model.bits_per_weight,
        device=device.name,
        device_title=device.title,
        constraints=constraints,
        candidates=tuple(ranked),
        families=method_families(model, device, constraints, ranked),
        task_risk=TASK_RISK[constraints.task],
        required_benchmarks=required_benchmarks(constraints.task),
        notices=notices(model, device),
        job=job,
        nearest=None if chosen else _nearest(ranked, constraints, device),
    )


def tensor_types_of(
    model: ModelSpec,
    format_name: str,
    importance: bool = True,
    overrides: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The type of every tensor of `model` in a format; `source` keeps each as it is.

    `overrides` maps tensor names to types.
    """
    if format_name == SOURCE:
        return {tensor.name: tensor.dtype for tensor in model.tensors}
    patterns = {f"^{re.escape(name)}$": kind for name, kind in (overrides or {}).items()}
    return mixed_types(model, PRESETS[format_name], importance, patterns)


def contexts(model: ModelSpec, constraints: Constraints) -> tuple[int, ...]:
    """The contexts to plan for: the one asked for, or a few that the model was trained for."""
    if constraints.context:
        return (constraints.context,)
    longest = model.context_length or DEFAULT_CONTEXTS[-1]
    return tuple(size for size in DEFAULT_CONTEXTS if size <= longest) or (longest,)


def _formats(model: ModelSpec) -> Iterator[tuple[str, str | None]]:
    """Each format with the reason why it makes no sense for this model, or None."""
    if model.source == "gguf":
        yield SOURCE, None
    seen: dict[tuple[str, ...], str] = {}
    for preset in PRESETS.values():
        yield preset.name, _senseless(model, preset, seen)


def _senseless(model: ModelSpec, preset: Preset, seen: dict[tuple[str, ...], str]) -> str | None:
    if preset.base in ("TQ1_0", "TQ2_0"):
        return "Ternary formats need a model that was trained for three-valued weights."
    if preset.name == "MXFP4_MOE" and not model.experts:
        return "MXFP4_MOE compresses experts, and this model has none."
    if preset.name == "F32" and model.bits_per_weight < 32:
        return "F32 doubles the size of 16-bit weights and adds nothing."
    types = tuple(mixed_types(model, preset, importance=True).values())
    if types in seen:
        return f"Every tensor gets the same type as in {seen[types]}: its columns fall back there."
    seen[types] = preset.name
    return None


def _candidates(
    model: ModelSpec, device: DeviceProfile, constraints: Constraints
) -> Iterator[Candidate]:
    header_bytes = _header_bytes(model)
    for name, senseless in _formats(model):
        types = tensor_types_of(model, name, importance=name not in UNWEIGHTED)
        file_bytes = _file_bytes(model, types, header_bytes)
        if name == SOURCE:
            file_bytes = model.file_bytes
        for context in contexts(model, constraints):
            yield from _placed(
                model, device, constraints, name, types, file_bytes, context, senseless
            )


def planned_file_bytes(model: ModelSpec, format_name: str, types: Mapping[str, str]) -> int:
    """Size of the file of a format whose tensors have `types`."""
    if format_name == SOURCE:
        return model.file_bytes
    return _file_bytes(model, types, _header_bytes(model))


def _file_bytes(model: ModelSpec, types: Mapping[str, str], header_bytes: int) -> int:
    tensors = [(tensor.elements, types[tensor.name]) for tensor in model.tensors]
    return gguf_file_bytes(header_bytes, tensors)


def _header_bytes(model: ModelSpec) -> int:
    """Of the GGUF file: exact where it can be written; else guessed from the vocabulary."""
    try:
        return find_gguf_exporter().expected_header_size_bytes(model)
    except (ArchitectureUnsupported, ExportRefused, ModelIncomplete):
        return GUESSED_HEADER_BYTES_PER_TOKEN * model.vocabulary


def _placed(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    name: str,
    types: dict[str, str],
    file_bytes: int,
    context: int,
    senseless: str | None,
) -> Iterator[Candidate]:
    settings = RunSettings(context=context, threads=device.cpu.cores)
    calibration = device.calibration
    memory = estimate_memory(
        model, types, settings, calibration.worker_bytes if calibration else None
    )
    divergence = expected_divergence(model, types)
    for placement in placements(model, types, settings, memory, device):
        pools = pool_bytes(model, types, settings, memory, device, placement)
        speed = estimate_speed(
            model,
            types,
            device,
            placement,
            depth=min(PROMPT_TOKENS, context // 2),
            prompt_tokens=min(PROMPT_TOKENS, context // 2),
        )
        candidate = Candidate(
            format=name,
            context=context,
            placement=placement,
            settings=settings.model_copy(update={"gpu_layers": placement.gpu_layers}),
            file_bytes=file_bytes,
            bits_per_weight=8
            * sum(TENSOR_TYPES[types[t.name]].size_bytes(t.elements) for t in model.tensors)
            / max(model.parameters, 1),
            memory=memory,
            pool_bytes=pools,
            speed=speed,
            expected_divergence_nats=divergence,
            risk=risk(divergence, constraints.task),
            fits=_fit(pools, memory.total_bytes, device, constraints),
            rejections=(),
            notes=_notes(model, name, types, device),
        )
        missing = without_kernels({*types.values()} - {"F32"}, device, RUNTIME, placement)
        if missing and senseless is None:
            where = placement.gpu or device.cpu.name
            senseless = f"{RUNTIME} has no kernels for {', '.join(sorted(missing))} on {where}."
        reasons = _rejections(model, device, constraints, candidate, senseless)
        yield candidate.model_copy(update={"rejections": reasons})


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
    candidate: Candidate,
    senseless: str | None,
) -> tuple[Rejection, ...]:
    reasons = [Rejection(cause="format", text=senseless)] if senseless else []
    for name, used in candidate.pool_bytes.items():
        usable = device.pool(name).usable_bytes
        if used > usable:
            text = f"It needs {format_size(used)} of {name} and {format_size(usable)} are usable."
            reasons.append(Rejection(cause="memory", text=text))
    limit = constraints.max_memory_bytes
    if limit and candidate.memory.total_bytes > limit:
        total = format_size(candidate.memory.total_bytes)
        text = f"Its peak memory of {total} is over the limit of {format_size(limit)}."
        reasons.append(Rejection(cause="limit", text=text))
    size_limit = constraints.max_size_bytes
    if size_limit and candidate.file_bytes > size_limit:
        size = format_size(candidate.file_bytes)
        text = f"Its file of {size} is over the limit of {format_size(size_limit)}."
        reasons.append(Rejection(cause="size", text=text))
    speed, needed = (
        candidate.speed.decode_tokens_per_second,
        constraints.min_decode_tokens_per_second,
    )
    if needed and speed < needed:
        text = f"It decodes about {speed:.3g} tok/s and {needed:g} are asked for."
        reasons.append(Rejection(cause="speed", text=text))
    if model.context_length and candidate.context > model.context_length:
        text = f"The model was trained for {model.context_length} tokens, not {candidate.context}."
        reasons.append(Rejection(cause="context", text=text))
    return tuple(reasons)


def _without_dominated(candidates: list[Candidate]) -> list[Candidate]:
    """Reject what another candidate of the same context beats or equals in every respect."""
    open_rows = [row for row in candidates if not row.rejections]
    result = []
    for row in candidates:
        better = None
        if not row.rejections:
            better = next((other for other in open_rows if _dominates(other, row)), None)
        if better:
            text = f"{better.format} is no larger, no slower, and is expected to lose no more."
            row = row.model_copy(update={"rejections": (Rejection(cause="dominated", text=text),)})
        result.append(row)
    return result


def _dominates(other: Candidate, row: Candidate) -> bool:
    if other.context != row.context or other.placement.gpu != row.placement.gpu:
        return False
    mine, its = (
        (
            c.file_bytes,
            c.memory.total_bytes,
            -c.speed.decode_tokens_per_second,
            -c.speed.prefill_tokens_per_second,
            c.expected_divergence_nats,
        )
        for c in (other, row)
    )
    return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))


def _notes(
    model: ModelSpec, name: str, types: dict[str, str], device: DeviceProfile
) -> tuple[str, ...]:
    notes = []
    if name != SOURCE:
        fallen = fallbacks(model, types, PRESETS[name])
        if fallen:
            kinds = ", ".join(sorted(set(fallen.values())))
            block = TENSOR_TYPES[PRESETS[name].base].block_elements
            notes.append(
                f"{len(fallen)} of {len(model.tensors)} tensors have columns that do not divide "
                f"by {block} and become {kinds}."
            )
        if PRESETS[name].needs_importance:
            notes.append("It is made with an importance matrix, which this format requires.")
    if device.calibration is None and device.name == "auto":
        notes.append("Speeds are guesses: run `edgecomp devices calibrate` for measured ones.")
    return tuple(notes)


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


def _nearest(
    ranked: list[Candidate], constraints: Constraints, device: DeviceProfile
) -> str | None:
    """Which limit is in the way, and the nearest value of it that works."""
    options = [row for row in ranked if not _causes(row) & {"format"}]
    if not options:
        return None
    smallest = min(options, key=lambda row: row.file_bytes)
    lightest = min(options, key=lambda row: row.memory.total_bytes)
    fastest = max(options, key=lambda row: row.speed.decode_tokens_per_second)
    texts = []
    if all("size" in _causes(row) for row in options):
        texts.append(
            f"--max-size {format_size(constraints.max_size_bytes or 0)} is too small: the "
            f"smallest artifact is {smallest.format} with {format_size(smallest.file_bytes)}."
        )
    if all("limit" in _causes(row) for row in options):
        texts.append(
            f"--max-memory {format_size(constraints.max_memory_bytes or 0)} is too small: "
            f"{lightest.label} needs least, {format_size(lightest.memory.total_bytes)}."
        )
    if all("speed" in _causes(row) for row in options):
        texts.append(
            f"--min-speed {constraints.min_decode_tokens_per_second:g} is out of reach: "
            f"{fastest.label} is the fastest with about "
            f"{fastest.speed.decode_tokens_per_second:.3g} tok/s."
        )
    if all("context" in _causes(row) for row in options):
        texts.append(f"--context {constraints.context} is longer than the model was trained for.")
    if all("memory" in _causes(row) for row in options):
        texts.append(
            f"{device.title} is too small: {lightest.label} needs least, "
            f"{format_size(lightest.memory.total_bytes)}."
        )
    return " ".join(texts) or (
        "Each limit can be met alone, but no candidate meets all of them: relax the size, the "
        "memory, the speed or the context."
    )


def _causes(row: Candidate) -> set[str]:
    return {rejection.cause for rejection in row.rejections}
