"""llama.cpp's own quantizer, with an importance matrix and a type for every tensor."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Collection, Mapping
from contextlib import redirect_stderr
from math import prod
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.formats.presets import PRESETS
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.importance_file import read_importance
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.runtimes.heard import Heard, counted_steps
from edgecomp.runtimes.llama_cpp.types_to_make import Types

TENSOR_BEGUN = re.compile(r"^\[ *(\d+)/ *(\d+)\]", re.MULTILINE)
"""What llama.cpp prints before it quantizes a tensor (llama-quant.cpp)."""


def quantize(
    source: Path,
    destination: Path,
    types: Types,
    threads: int,
    progress: Progress = ignore_progress,
) -> None:
    """Quantize the GGUF at `source` to `destination`. `progress` counts tensors. Raises
    RuntimeRefused."""
    importance = _ones(source, types.unweighed)
    if types.importance:
        importance |= read_importance(types.importance)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = PRESETS[types.preset].ftype
    parameters.nthread = threads
    parameters.allow_requantize = True
    # ctypes keeps no reference to what a pointer field points at: these names do.
    values = {name: np.ascontiguousarray(row) for name, row in importance.items()}
    kept_overrides = _overrides(types.overrides)
    kept_importance = _importance(values)
    if types.overrides:
        parameters.tt_overrides = ctypes.cast(
            kept_overrides, ctypes.POINTER(llama_cpp.llama_model_tensor_override)
        )
    if importance:
        parameters.imatrix = ctypes.cast(
            kept_importance, ctypes.POINTER(llama_cpp.llama_model_imatrix_data)
        )
    with redirect_stderr(Heard(sys.stderr, counted_steps(TENSOR_BEGUN, progress))):
        status = llama_cpp.llama_model_quantize(
            str(source).encode(), str(destination).encode(), ctypes.byref(parameters)
        )
    if status:
        raise RuntimeRefused(f"llama.cpp's quantizer refused {source} as {types.preset}.")


def _ones(source: Path, names: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """An importance by which all columns of these tensors count alike."""
    if not names:
        return {}
    tensors = {tensor.name: tensor for tensor in read_gguf_header(source).tensors}
    return {
        name: np.ones(prod(tensors[name].shape[:-2]) * tensors[name].shape[-1], np.float32)
        for name in names
    }


def _overrides(overrides: Mapping[str, str]) -> ctypes.Array[Any]:
    rows: ctypes.Array[Any] = (llama_cpp.llama_model_tensor_override * (len(overrides) + 1))()
    for row, (name, kind) in zip(rows, overrides.items(), strict=False):
        row.pattern = f"^{re.escape(name)}$".encode()
        row.type = TENSOR_TYPES[kind].ggml_id
    return rows


def _importance(
    importance: Mapping[str, NDArray[np.float32]],
) -> ctypes.Array[Any]:
    rows: ctypes.Array[Any] = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for row, (name, values) in zip(rows, importance.items(), strict=False):
        row.name = name.encode()
        row.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        row.size = values.size
    return rows
