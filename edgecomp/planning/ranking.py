"""Candidates in order, without those that another one beats in everything."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable

from edgecomp.formats.expected_loss import TOLERATED_NATS
from edgecomp.planning.plan import Candidate, Rejection
from edgecomp.recipes.constraints import Constraints


def without_dominated(candidates: list[Candidate]) -> list[Candidate]:
    """Reject what another candidate of the same context beats or equals in every respect."""
    rivals: dict[tuple[int, bool], list[tuple[Candidate, tuple[float, ...]]]] = {}
    for row in candidates:
        if not row.rejections:
            place = (row.context, bool(row.placement.gpus))
            rivals.setdefault(place, []).append((row, _costs(row)))
    result = []
    for row in candidates:
        if not row.rejections:
            own = _costs(row)
            rivals_here = rivals[row.context, bool(row.placement.gpus)]
            better = next((other for other, costs in rivals_here if _dominates(costs, own)), None)
            if better:
                text = f"{better.name} is no larger, no slower, and is expected to lose no more."
                dominated = Rejection(cause="dominated", text=text)
                row = row.model_copy(update={"rejections": (dominated,)})
        result.append(row)
    return result


def best_caches(ranked: Iterable[Candidate]) -> list[Candidate]:
    """Of candidates in order, the first of each format, context and place: with the type of the KV
    cache that is best there."""
    first: dict[tuple[str, int, tuple[str, ...]], Candidate] = {}
    for row in ranked:
        first.setdefault((row.format, row.context, row.placement.gpus), row)
    return list(first.values())


def _costs(row: Candidate) -> tuple[float, ...]:
    """All that counts, each the better the smaller."""
    return (
        row.file_bytes,
        row.memory.total_bytes,
        -row.speed.decode_tokens_per_second,
        -row.speed.prefill_tokens_per_second,
        row.expected_divergence_nats,
    )


def _dominates(costs: tuple[float, ...], others: tuple[float, ...]) -> bool:
    """Whether nothing costs more than in `others`, and something costs less."""
    return costs != others and all(map(operator.le, costs, others))


def rank(candidate: Candidate, constraints: Constraints) -> tuple[float, ...]:
    """Best first: speed against expected loss while the task tolerates it, else the least lossy.

    Where room is short, a mixture that fills it comes before the presets below it. All that a task
    tolerates is worth a doubling of the speed, so that a few percent more speed never buy a much
    greater loss. The shortest context planned is the default, since a longer one costs memory that
    nobody asked for.
    """
    divergence = candidate.expected_divergence_nats
    loss = divergence / TOLERATED_NATS[constraints.task]
    tolerable = loss <= 1
    worth = math.log2(candidate.speed.decode_tokens_per_second) - loss
    return (
        float(bool(candidate.rejections)),
        float(candidate.fits == "tight" and not candidate.types),
        0.0 if tolerable else 1.0,
        candidate.context,
        0.0 if candidate.types else 1.0,
        -worth if tolerable else divergence,
        candidate.file_bytes,
        -candidate.speed.decode_tokens_per_second,
    )
