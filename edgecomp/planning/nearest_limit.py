"""Where nothing fits: which limit is in the way, and the nearest value of it that works."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.common.quantity import format_size
from edgecomp.devices.profile import DeviceProfile
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.constraints import Constraints


def nearest_limit(
    ranked: Sequence[Candidate],
    constraints: Constraints,
    device: DeviceProfile,
    trained_context: int,
) -> str | None:
    """Which limit is in the way, and the nearest value of it that works; `trained_context` is the
    model's own, or 0 where it is not known."""
    options = [row for row in ranked if not _causes(row) & {"format"}]
    if not options:
        return _formats(ranked)
    limits = (
        _size_limit(options, constraints),
        _memory_limit(options, constraints),
        _speed_limit(options, constraints),
        _context_limit(options, constraints, trained_context),
        _device_limit(options, constraints, device),
        _cache_limit(options, constraints),
    )
    return " ".join(filter(None, limits)) or _together(options)


def _formats(ranked: Sequence[Candidate]) -> str | None:
    """Why the model has none of the formats, where none has another reason."""
    reasons = {
        rejection.text
        for row in ranked
        for rejection in row.rejections
        if rejection.cause == "format"
    }
    return reasons.pop() if len(reasons) == 1 else None


def _size_limit(options: Sequence[Candidate], constraints: Constraints) -> str | None:
    if not all("size" in _causes(row) for row in options):
        return None
    smallest = min(options, key=lambda row: row.file_bytes)
    projector = smallest.memory.projector_bytes
    beside = f" and {format_size(projector)} of projector beside it" if projector else ""
    return (
        f"--max-size {format_size(constraints.max_size_bytes or 0)} is too small: the smallest "
        f"artifact is {smallest.name} with {format_size(smallest.file_bytes)}{beside}, expected to "
        f"lose {smallest.expected_divergence_nats:.2g} nats. Below that, leave out blocks or "
        "distil a smaller student (edgecomp compress --help)."
    )


def _memory_limit(options: Sequence[Candidate], constraints: Constraints) -> str | None:
    if not all("limit" in _causes(row) for row in options):
        return None
    return (
        f"--max-memory {format_size(constraints.max_memory_bytes or 0)} is too small: "
        f"{_lightest(options, constraints)}"
    )


def _device_limit(
    options: Sequence[Candidate], constraints: Constraints, device: DeviceProfile
) -> str | None:
    if not all("memory" in _causes(row) for row in options):
        return None
    return f"{device.title} is too small: {_lightest(options, constraints)}"


def _lightest(options: Sequence[Candidate], constraints: Constraints) -> str:
    """The candidate that needs least memory, and what would bring it down."""
    row = min(options, key=lambda row: row.memory.total_bytes)
    cache = row.memory.kv_cache_bytes
    ways = ["a shorter --context"]
    ways += ["--kv-type Q4_0"] if constraints.kv_type != "Q4_0" else []
    return (
        f"{row.label} needs least, {format_size(row.memory.total_bytes)}, expected to lose "
        f"{row.expected_divergence_nats:.2g} nats. {format_size(cache)} of it are the cache: "
        f"{' or '.join(ways)} brings that down, and a smaller student the rest."
    )


def _speed_limit(options: Sequence[Candidate], constraints: Constraints) -> str | None:
    if not all("speed" in _causes(row) for row in options):
        return None
    fastest = max(options, key=lambda row: row.speed.decode_tokens_per_second)
    return (
        f"--min-speed {constraints.min_decode_tokens_per_second:g} is out of reach: "
        f"{fastest.label} is the fastest with about "
        f"{fastest.speed.decode_tokens_per_second:.3g} tok/s."
    )


def _context_limit(
    options: Sequence[Candidate], constraints: Constraints, trained_context: int
) -> str | None:
    if not all("context" in _causes(row) for row in options):
        return None
    most = f": {trained_context} tokens at most." if trained_context else "."
    return f"--context {constraints.context} is longer than the model was trained for{most}"


def _cache_limit(options: Sequence[Candidate], constraints: Constraints) -> str | None:
    if not all("kv-type" in _causes(row) for row in options):
        return None
    return f"--kv-type {constraints.kv_type} does not suit the heads: F16 does."


def _together(options: Sequence[Candidate]) -> str:
    """Where each limit can be met but not all at once: what each would have to be while the others
    stay."""
    ways = []
    for cause in ("size", "limit", "speed", "memory"):
        rows = [row for row in options if _causes(row) <= {cause, "dominated"}]
        if not rows:
            continue
        if cause == "size":
            row = min(rows, key=lambda row: row.file_bytes)
            ways.append(f"--max-size {format_size(row.file_bytes)} ({row.name})")
        elif cause == "speed":
            row = max(rows, key=lambda row: row.speed.decode_tokens_per_second)
            ways.append(f"--min-speed {row.speed.decode_tokens_per_second:.3g} ({row.name})")
        else:
            row = min(rows, key=lambda row: row.memory.total_bytes)
            what = "--max-memory" if cause == "limit" else "a device with"
            ways.append(f"{what} {format_size(row.memory.total_bytes)} ({row.name})")
    if not ways:
        return (
            "Each limit can be met alone, but no candidate meets all of them: relax two or more of "
            "the size, the memory, the speed and the context."
        )
    return (
        "Each limit can be met alone, but not all of them together. With the others as they are, "
        f"this would do: {', or '.join(ways)}."
    )


def _causes(row: Candidate) -> set[str]:
    return {rejection.cause for rejection in row.rejections}
