"""One device: its memories as bars, then every number with its source."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from edgecomp.common.quantity import format_size
from edgecomp.devices.profile import DeviceProfile, MemoryPool
from edgecomp.terminal.tables import device_table

from .bars import Part, stacked_bar


def device_view(device: DeviceProfile, scale_bytes: int, width: int) -> RenderableType:
    """The device with pool bars of `width` cells on a scale that ends at `scale_bytes`."""
    pools = [line for pool in device.pools for line in _pool_lines(pool, scale_bytes, width)]
    plain = device_table(device.model_copy(update={"sources": {}}))
    sources = [
        Text(f"{place}: ", style="bold").append(source, style="not bold")
        for place, source in device.sources.items()
    ]
    heading = Text("Where the numbers come from", style="bold underline")
    return Group(Text(device.title, style="bold"), *pools, Text(), plain, Text(), heading, *sources)


def _pool_lines(pool: MemoryPool, scale_bytes: int, width: int) -> list[Text]:
    parts = (
        Part("usable", pool.usable_bytes, "█", "cyan"),
        Part("reserved", pool.reserved, "░", "yellow"),
    )
    words = (
        f"{pool.name} {format_size(pool.size)}, █ {format_size(pool.usable_bytes)} usable, "
        f"{format_size(pool.bandwidth)}/s"
    )
    return [Text(words), stacked_bar(parts, scale_bytes, width)]
