"""Numbers with units, as people write them in profiles and on the command line, and back.

GB is 10^9 bytes and GiB is 2^30, here and in everything edgecomp prints.
"""

from __future__ import annotations

import re

from edgecomp.common.errors import UnitUnknown

SIZES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
RATES = {f"{unit}/s": factor for unit, factor in SIZES.items()}
DURATIONS = {"s": 1, "min": 60, "h": 3600}
OPERATIONS = {"GFLOPS": 10**9, "TFLOPS": 10**12, "GOPS": 10**9, "TOPS": 10**12}
QUANTITY = re.compile(r"\s*([\d_]+(?:\.\d+)?)\s*([A-Za-z/]+)\s*")


def parse_quantity(text: str, units: dict[str, int]) -> float:
    """The number of base units in a text like "6.5 GB". Raises UnitUnknown, naming the units."""
    found = QUANTITY.fullmatch(text)
    by_lower = {unit.lower(): factor for unit, factor in units.items()}
    if not found or found[2].lower() not in by_lower:
        raise UnitUnknown(text, list(units))
    return float(found[1].replace("_", "")) * by_lower[found[2].lower()]


def parse_size(text: str) -> int:
    """Bytes of a text like "100MB" or "6 GiB"."""
    return round(parse_quantity(text, SIZES))


def parse_duration(text: str) -> float:
    """Seconds of a text like "90s", "10min" or "2h"."""
    return parse_quantity(text, DURATIONS)


def format_size(size_bytes: float) -> str:
    """Bytes in the decimal unit that gives one to three digits before the point."""
    for unit in ("TB", "GB", "MB", "kB"):
        if size_bytes >= SIZES[unit]:
            return f"{size_bytes / SIZES[unit]:.4g} {unit}"
    return f"{size_bytes:.0f} B"


def format_duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_rate(per_second: float) -> str:
    """Three digits, and never an exponent."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"
