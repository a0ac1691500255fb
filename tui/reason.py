"""Why a candidate is in or out, and what it takes, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from edgecomp.common.quantity import format_duration, format_size
from edgecomp.devices.profile import DeviceProfile
from edgecomp.planning.plan import Candidate, Plan

from .bars import bar
from .candidate_table import state
from .figures import figure
from .memory_parts import memory_legend

POOL_CELLS = 10
WORDS = {"fits": "fits", "tight": "fits, but only just", "no": "is out"}


def reason(row: Candidate, plan: Plan, device: DeviceProfile) -> Iterator[Text]:
    """The verdict and its reasons first; then memory, speed, and what making it needs here."""
    text = Text(f"{row.label} {WORDS[state(row)]}. ", style="bold")
    reasons = [rejection.text for rejection in row.rejections]
    if row == plan.chosen:
        reasons.append("It is the best for the task among those that fit.")
    if not reasons:
        reasons.append(f"Its expected loss is a {row.risk.lower()} risk for the task.")
    text.append(" ".join(reasons), style="not bold")
    yield text
    yield memory_legend(row.memory)
    yield _pools(row, device)
    speed = row.speed
    yield Text(
        f"decode {figure(speed.decode_tokens_per_second)} tok/s, prefill "
        f"{figure(speed.prefill_tokens_per_second)} tok/s, first token "
        f"{format_duration(speed.first_token_seconds)} after {speed.prompt_tokens} "
        f"({speed.basis}); expected loss {row.expected_divergence_nats:.3f} nats"
    )
    more = plan.one_layer_more
    if more and row == plan.chosen:
        yield Text(
            f"One {more.what} more on the card: {more.decode_tokens_per_second:+.2g} tok/s for "
            f"{format_size(more.bytes)} of {more.pool}"
        )
    if plan.job and row == plan.chosen:
        job = plan.job
        yield Text(
            f"Making and proving it here: {format_duration(job.seconds)}, "
            f"{format_size(job.peak_memory_bytes)} of memory, {format_size(job.disk_bytes)} of disk"
        )
    for note in (*row.notes, *plan.notices):
        yield Text(note, style="dim")


def _pools(row: Candidate, device: DeviceProfile) -> Text:
    """How full each of the device's memories gets."""
    text = Text()
    for name, used in row.pool_bytes.items():
        usable = device.pool(name).usable_bytes
        colour = "red" if used > usable else "cyan"
        text.append(f"{name} ").append_text(bar(used / usable, POOL_CELLS, colour))
        text.append(f" {format_size(used)} of {format_size(usable)} usable   ")
    return text
