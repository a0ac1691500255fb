"""How a folder is loaded here, decided from its headers: by which reader, in which float type."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from edgecomp.common.errors import QuantizationUnsupported, RuntimeRefused
from edgecomp.common.machine_limits import memory_limit_bytes
from edgecomp.common.quantity import format_size
from edgecomp.common.safe_text import one_line
from edgecomp.models.huggingface.model import weight_tensors
from edgecomp.models.huggingface.quantization_config import read_quantization, said_of_quantization
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.runtimes.transformers.kernels import KERNELS

SHARE_FOR_WEIGHTS = 0.8
"""Of a memory: the rest is for the cache, activations and the process."""

FLOAT32_BYTES = 4

WITHOUT_KERNELS = ("modelopt",)
"""Methods that transformers has no kernels for anywhere."""

KERNELS_ON_CARDS = ("fp8", "fbgemm_fp8")
"""Methods that it has kernels for on cards only."""


class Loading(NamedTuple):
    """How a folder is loaded."""

    method: str | None
    """The `quant_method` of its config; None: it holds floats."""

    dtype: Literal["float32", "bfloat16", "auto"]
    """`auto`: the type that config.json says."""

    dequantized: bool = False
    """The codes become floats as they are read, by edgecomp's own readers."""

    notes: tuple[str, ...] = ()
    """What a user should know of it, one sentence each."""


def loading_of(folder: Path, card_bytes: int | None) -> Loading:
    """How `folder` is loaded; `card_bytes`: the memory of the card it is run on, if there is one.

    Raises RuntimeRefused for a quantization that nothing installed reads, and what
    `weight_tensors` raises.
    """
    method = quantization_method(folder)
    kernels = KERNELS.get(method) if method else None
    lacking = method in WITHOUT_KERNELS or (method in KERNELS_ON_CARDS and card_bytes is None)
    run_as_codes = method is not None and not lacking and (kernels is None or not kernels.missing)
    if run_as_codes and (kernels is None or not kernels.any_float or card_bytes is not None):
        return Loading(method, "auto")
    if method and kernels and kernels.missing and not _is_read_here(folder):
        raise RuntimeRefused(
            f"{folder} is quantized by {method}, which no installed kernel reads: "
            f"{' and '.join(kernels.missing)} is missing. {kernels.cure} installs it; or give the "
            "checkpoint from before its quantization."
        )
    notes = []
    dequantized = method is not None and not run_as_codes
    if dequantized and lacking:
        notes.append(
            f"{folder.name} is {method}, which has no kernels here: it runs as the "
            "floats that its codes stand for, exactly. Speed and memory are those of floats."
        )
    if dequantized and kernels:
        notes.append(
            f"{folder.name} is {method}, and its kernels ({', '.join(kernels.missing)}) are not "
            "installed: it runs as the floats that its codes stand for, exactly. Speed and memory "
            f"are those of floats. {kernels.cure} installs the kernels."
        )
    elif method is None and card_bytes is not None:
        return Loading(None, "auto")
    room = card_bytes if card_bytes is not None else memory_limit_bytes()
    needed = FLOAT32_BYTES * _weights(folder)
    if needed <= SHARE_FOR_WEIGHTS * room:
        return Loading(method, "float32", dequantized, tuple(notes))
    notes.append(
        f"{folder.name} would take {format_size(needed)} as float32, more than fits into "
        f"{format_size(room)}: it runs in bfloat16, whose rounding is part of what is found."
    )
    return Loading(method, "bfloat16", dequantized, tuple(notes))


def quantization_method(folder: Path) -> str | None:
    """The `quant_method` of a folder's config.json; None for floats."""
    given = said_of_quantization(read_json(folder / "config.json"), folder)
    return one_line(str(given.get("quant_method"))) if given is not None else None


def _is_read_here(folder: Path) -> bool:
    try:
        return read_quantization(read_json(folder / "config.json"), folder) is not None
    except QuantizationUnsupported:
        return False


def _weights(folder: Path) -> int:
    """The numbers in all tensors that a folder's are, or stand for."""
    tensors = weight_tensors(folder, read_json(folder / "config.json"))
    total = 0
    for tensor in tensors.values():
        count = 1
        for size in tensor.shape:
            count *= size
        total += count
    return total
