"""The plan's answer above its table: what to make and why, and what else one could want."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from edgecomp.common.quantity import format_size

if TYPE_CHECKING:
    from edgecomp.planning.plan import Plan


def plan_answer(plan: Plan) -> Text:
    """The choice, its reason, and the alternatives; empty where nothing fits."""
    from edgecomp.planning.answer import alternatives, figures, reason

    chosen = plan.chosen
    if chosen is None:
        return Text()
    text = Text.assemble((f"Make {chosen.name}", "bold"), f", {figures(chosen)}\n{reason(plan)}")
    others = [
        f"{', '.join(purposes)}: {row.name} {format_size(row.file_bytes)}"
        + (f" at {row.context:,}" if row.context != chosen.context else "")
        for purposes, row in alternatives(plan)
    ]
    if others:
        text.append(f"\nInstead, {' · '.join(others)}", style="dim")
    return text
