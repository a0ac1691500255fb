"""Plans, models and devices as tables for a terminal; nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edgecomp.common.quantity import format_rate, format_size
from edgecomp.devices.profile import DeviceProfile
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.device_comparison import DeviceComparison, PlannedThere

if TYPE_CHECKING:
    from edgecomp.jobs.doctor import Diagnosis
    from edgecomp.pipeline.cache_contents import CacheContents


LAYOUTS = {
    "known": "",
    "learned": " (written by llama.cpp's converter)",
    "unknown": " (headers only)",
}


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Two columns: what, and its value."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def model_table(model: ModelSpec) -> RenderableType:
    """What a model's headers say."""
    grouped = f"{model.heads} heads, {model.kv_heads} for keys and values"
    window = f"{model.sliding_window} tokens" if model.sliding_window else "none"
    experts = f"{model.experts}, {model.experts_used} used a token" if model.experts else "none"
    template = "yes" if model.chat_template else "no"
    rows = [
        ("model", model.name),
        ("file", f"{model.path} ({model.source}, {format_size(model.file_bytes)})"),
        ("architecture", model.architecture + LAYOUTS[model.layout]),
        ("parameters", f"{model.parameters / 1e6:,.1f} M at {model.bits_per_weight:.2f} bits"),
        ("layers", f"{model.layers} of width {model.embedding_length}"),
        ("attention", f"{grouped}, of size {model.key_length}"),
        ("feed forward", f"{model.feed_forward_length}"),
        ("sliding window", window),
        ("experts", experts),
        ("vocabulary", f"{model.vocabulary:,}" + (", tied" if model.tied_embeddings else "")),
        ("context", f"{model.context_length:,} tokens"),
        ("chat template", template),
        ("quantized", model.quantization or "no"),
        ("licence", model.licence or "not stated"),
    ]
    groups = Table(box=None, pad_edge=False)
    groups.add_column("tensor group")
    groups.add_column("parameters", justify="right")
    for name, count in model.parameters_by_group.items():
        groups.add_row(name, f"{count:,}")
    notes = [Text(f"Note: {note}") for note in model.notes]
    return Group(facts(rows), "", groups, *notes)


def device_table(device: DeviceProfile) -> RenderableType:
    """One device's memories, processors and runtimes."""
    rows = [("device", device.name), ("title", device.title), ("kind", device.kind)]
    for pool in device.pools:
        rows.append(
            (
                pool.name,
                f"{format_size(pool.size)} {pool.kind}, {format_size(pool.usable_bytes)} usable, "
                f"{format_size(pool.bandwidth)}/s",
            )
        )
    for processor in device.processors:
        peaks = ", ".join(
            f"{kind} {format_rate(rate / 1e12)} T/s" for kind, rate in processor.peak.items()
        )
        sets = f"; {' '.join(processor.instruction_sets)}" if processor.instruction_sets else ""
        rows.append((processor.name, f"{processor.kind}, {processor.cores} cores, {peaks}{sets}"))
    if device.link:
        rows.append(("link", f"{format_size(device.link)}/s"))
    for support in device.runtimes:
        rows.append((support.runtime, f"{support.processor}: {', '.join(support.formats)}"))
    if device.thermal_note:
        rows.append(("heat", device.thermal_note))
    if device.kernel_rates:
        rows.append(
            ("calibrated", f"{device.kernel_rates.measured_at}, {device.kernel_rates.runtime}")
        )
    rows += [(f"source: {place}", source) for place, source in device.sources.items()]
    return facts(rows)


def device_comparison_table(comparison: DeviceComparison) -> RenderableType:
    """One row a device: its memories and processors, then what it would run of each model."""
    table = Table(box=None, pad_edge=False)
    table.add_column("device", no_wrap=True)
    for name in ("memory, fastest first", "bandwidth", "compute"):
        table.add_column(name, justify="right")
    models = [planned.model for planned in comparison.devices[0].planned]
    for model in models:
        table.add_column(f"{escape(model)}: format, size, tok/s")
    for row in comparison.devices:
        device = row.device
        kind, rate = next(iter(device.processors[0].peak.items()))
        table.add_row(
            device.name,
            " + ".join(format_size(pool.usable_bytes) for pool in device.pools),
            f"{format_size(device.pools[0].bandwidth)}/s",
            f"{kind} {format_rate(rate / 1e12)} T/s",
            *(_planned_cell(planned) for planned in row.planned),
        )
    if not models:
        return table
    note = (
        f"At context {comparison.context}, or a model's own where it is shorter; memory is what is "
        "usable, speeds are predicted."
    )
    return Group(table, "", note)


def _planned_cell(planned: PlannedThere) -> str:
    chosen = planned.chosen
    if chosen is None:
        return "nothing fits"
    where = f", {chosen.where}" if chosen.where else ""
    tight = ", tight" if chosen.fits == "tight" else ""
    speed = format_rate(chosen.speed.decode_tokens_per_second)
    return f"{chosen.name} {format_size(chosen.file_bytes)} {speed}{where}{tight}"


STATE_STYLES = {"works": "green", "warning": "yellow", "fails": "red", "absent": "dim"}


def diagnosis_table(diagnosis: Diagnosis) -> RenderableType:
    """What was looked at, how it is, and what to do."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in diagnosis.checks:
        said = Text(check.found)
        if check.cure:
            said.append(f"\n{check.cure}", style="italic")
        table.add_row(check.name, Text(check.state, style=STATE_STYLES[check.state]), said)
    return table


def cache_table(contents: CacheContents) -> RenderableType:
    """What is kept, by model, and what was freed."""
    table = Table(box=None, pad_edge=False)
    for name in ("model", "stages", "size", "of older code", "last used"):
        table.add_column(name, justify="left" if name in ("model", "last used") else "right")
    for row in contents.models:
        used = datetime.fromtimestamp(row.last_used).isoformat(" ", "minutes")
        sizes = (format_size(row.size_bytes), format_size(row.outdated_bytes))
        table.add_row(escape(row.model), str(row.stages), *sizes, used)
    parts: list[RenderableType] = [table] if contents.models else []
    parts.append(f"{format_size(contents.size_bytes)} in {escape(str(contents.folder))}")
    if contents.freed_bytes:
        parts.append(f"{format_size(contents.freed_bytes)} were freed.")
    if contents.in_use:
        parts.append(f"In use and kept: {escape(', '.join(contents.in_use))}.")
    return Group(*parts)
