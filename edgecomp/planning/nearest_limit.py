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
        texts.append(
            f"--context {constraints.context} is longer than the model was trained for"
            + (f": {trained_context} tokens at most." if trained_context else ".")
        )
    if all("memory" in _causes(row) for row in options):
        texts.append(
            f"{device.title} is too small: {lightest.label} needs least, "
            f"{format_size(lightest.memory.total_bytes)}."
        )
    if all("kv-type" in _causes(row) for row in options):
        texts.append(f"--kv-type {constraints.kv_type} does not suit the heads: F16 does.")
    return " ".join(texts) or (
        "Each limit can be met alone, but no candidate meets all of them: relax the size, the "
        "memory, the speed or the context."
    )


def _causes(row: Candidate) -> set[str]:
    return {rejection.cause for rejection in row.rejections}
