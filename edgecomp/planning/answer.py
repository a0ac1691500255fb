"""A plan's answer in a few values: why the chosen candidate, and what else one could want."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from edgecomp.common.quantity import format_rate, format_size
from edgecomp.formats.expected_loss import TOLERATED_NATS
from edgecomp.planning.plan import Candidate, Plan
from edgecomp.planning.speed import SpeedEstimate

Purpose = Literal["smaller", "faster", "closer to the source", "longer context"]

NOTICEABLE = 0.1
"""Share by which an alternative is smaller or faster: less is not worth a line."""

FILLED_SHARE = 0.995
"""From this share on a mixture is said to fill its room."""

LARGER_SHOWN = 3
"""Formats that do not fit, named beside the nearest of them."""


class Alternative(NamedTuple):
    """What all one could want instead, and the candidate that gives it."""

    purposes: tuple[Purpose, ...]
    candidate: Candidate


def figures(row: Candidate) -> str:
    """What a candidate takes, how fast it is and what it loses, in a sentence's rest."""
    where = f", {row.where}" if row.where else ""
    loss = f"expected loss {expected_loss(row)} nats ({row.risk} risk)"
    return (
        f"{format_size(row.file_bytes)}: {format_size(row.memory.total_bytes)} of memory at "
        f"{row.context:,} tokens{where}, about "
        f"{format_rate(row.speed.decode_tokens_per_second)} tok/s ({_known(row.speed)}), "
        f"{'every value the source has' if row.exact else loss}."
    )


def _known(speed: SpeedEstimate) -> str:
    """How a speed is known, and what nine of ten runs are expected to lie between."""
    if not speed.decode_interval:
        return speed.basis
    low, high = map(format_rate, speed.decode_interval)
    return f"{speed.basis}: {low} to {high}"


def expected_loss(row: Candidate) -> str:
    """The expected loss in nats; `exact` where every value is the source's."""
    return "exact" if row.exact else f"{row.expected_divergence_nats:.3f}"


def reason(plan: Plan) -> str:
    """Why the chosen candidate is the first, in a sentence. A plan without one has no reason."""
    chosen = plan.chosen
    assert chosen is not None
    tolerated = TOLERATED_NATS[plan.constraints.task]
    if chosen.expected_divergence_nats > tolerated:
        return (
            f"Nothing that fits is expected to lose as little as the task {plan.constraints.task} "
            f"tolerates ({tolerated:g} nats); this loses least."
        )
    if chosen.exact:
        return "It holds every value of the source."
    if chosen.types:
        return (
            "Each matrix has the type with which all together are expected to lose least "
            f"{_bound(chosen, plan)}."
        )
    return (
        "Of all that fits, its speed is worth most beside what it is expected to lose: the task "
        f"{plan.constraints.task} tolerates {tolerated:g} nats."
    )


def _bound(mixture: Candidate, plan: Plan) -> str:
    """What a mixture is bound by."""
    most, speed = mixture.budget_bytes or 0, plan.constraints.min_decode_tokens_per_second
    if mixture.file_bytes >= FILLED_SHARE * most:
        return f"in the {format_size(most)} that there is room for"
    if speed and mixture.speed.decode_tokens_per_second < (1 + NOTICEABLE) * speed:
        return f"at the {speed:g} tok/s that are asked for"
    return f"in {format_size(most)}; filling that would lose no less"


def alternatives(plan: Plan) -> tuple[Alternative, ...]:
    """At most one for each purpose, the first of the plan's order that serves it.

    All but the longest context have the chosen candidate's context, and use cards as it does.
    """
    chosen = plan.chosen
    assert chosen is not None
    kept = [row for row in plan.candidates if not row.rejections]
    beside = [row for row in kept if _alike(row, chosen) and row.context == chosen.context]
    speed = chosen.speed.decode_tokens_per_second
    found: dict[Purpose, Candidate | None] = {
        "smaller": _first(
            row for row in beside if row.file_bytes <= (1 - NOTICEABLE) * chosen.file_bytes
        ),
        "faster": _first(
            row for row in beside if row.speed.decode_tokens_per_second >= (1 + NOTICEABLE) * speed
        ),
        "closer to the source": min(
            (
                row
                for row in beside
                if row.expected_divergence_nats < chosen.expected_divergence_nats
            ),
            key=lambda row: (row.expected_divergence_nats, row.file_bytes),
            default=None,
        ),
        "longer context": max(
            (
                row
                for row in kept
                if _alike(row, chosen)
                and row.format == chosen.format
                and row.context > chosen.context
            ),
            key=lambda row: row.context,
            default=None,
        ),
    }
    serves: dict[str, list[Purpose]] = {}
    for purpose, row in found.items():
        if row:
            serves.setdefault(row.label, []).append(purpose)
    rows = {row.label: row for row in found.values() if row}
    return tuple(Alternative(tuple(serves[label]), row) for label, row in rows.items())


def what_does_not_fit(plan: Plan) -> str:
    """The formats that a limit or the device leaves out at the chosen context, and what the nearest
    of them needs; empty where there is none."""
    chosen = plan.chosen
    assert chosen is not None
    out = [
        row
        for row in plan.candidates
        if row.context == chosen.context and _alike(row, chosen) and _too_much(row)
    ]
    if not out:
        return ""
    nearest = min(out, key=lambda row: row.file_bytes)
    others = list(dict.fromkeys(row.name for row in out if row.name != nearest.name))
    more = f" Nor do {_listed(others)}." if others else ""
    why = _too_much(nearest)
    return f"{nearest.name} ({format_size(nearest.file_bytes)}) does not fit. {why}{more}"


def _too_much(row: Candidate) -> str:
    """The first limit that a candidate does not keep; empty where it is out for another reason."""
    broken = (r.text for r in row.rejections if r.cause not in ("format", "dominated"))
    return next(broken, "")


def _alike(row: Candidate, chosen: Candidate) -> bool:
    return bool(row.placement.gpus) == bool(chosen.placement.gpus)


def _first(rows: Iterable[Candidate]) -> Candidate | None:
    return next(iter(rows), None)


def _listed(names: list[str]) -> str:
    shown = names[:LARGER_SHOWN]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
