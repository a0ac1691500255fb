"""Which weight formats a runtime has kernels for, on which processor of a device (R108, R109)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.solved_types import ONNX_BLOCKS
from edgecomp.planning.placement import Placement

FAMILIES = {
    "float": ("F32", "F16", "BF16"),
    "legacy": ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    "k": ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    "int4": tuple(f"{sign}_{block}" for sign in ("INT4", "UINT4") for block in ONNX_BLOCKS),
    "int8": tuple(f"INT8_{block}" for block in ONNX_BLOCKS),
    # MXFP4's kernels are IQ4_NL's with another table, wherever llama.cpp has those.
    "iq": (
        "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS",
        "MXFP4",
    ),
}  # fmt: skip


def kernel_types(device: DeviceProfile, runtime: str, processor: str) -> frozenset[str] | None:
    """The tensor types with kernels there; None where the runtime does not run there at all."""
    rows = [row for row in device.runtimes if row.runtime == runtime and row.processor == processor]
    return _types_of(tuple(name for row in rows for name in row.formats)) if rows else None


@lru_cache
def _types_of(formats: tuple[str, ...]) -> frozenset[str]:
    return frozenset(kind for name in formats for kind in FAMILIES.get(name, (name,)))


def without_kernels(
    types: Iterable[str], device: DeviceProfile, runtime: str, placement: Placement
) -> set[str]:
    """Which of `types` a processor of `placement` has no kernels for.

    A CPU runs every type that llama.cpp knows; a profile that lists nothing for it says nothing
    against it.
    """
    if not placement.gpus:
        known = kernel_types(device, runtime, device.cpu.name)
        return set() if known is None else set(types) - known - set(FAMILIES["float"])
    asked = set(types)
    everywhere = [kernel_types(device, runtime, name) or frozenset() for name in placement.gpus]
    return {kind for kind in asked if not all(kind in known for known in everywhere)}
