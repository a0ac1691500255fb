"""The importance matrix as llama.cpp's own graph gives it: for every matrix of any family.

While the calibration runs, llama.cpp's evaluation callback is asked after each product of a weight
and its inputs, and each input column is squared and summed: what `tools/imatrix/imatrix.cpp`
(`IMatrixCollector::collect_imatrix`) does. edgecomp.compress.importance gives the same from torch,
for checkpoints that it can walk.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.importance_file import ColumnSums, write_importance
from edgecomp.models.spec import OUTPUT
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.session import Session

PRODUCT, EXPERTS_PRODUCT = b"MUL_MAT", b"MUL_MAT_ID"
FLOAT32, INT32 = 0, 26
"""Numbers of ggml's types (`enum ggml_type`)."""

DEVICE_MARK = b"#"
"""Copies of a weight on a device are called `CUDA0#name#0`."""


class GgmlTensor(ctypes.Structure):
    """`struct ggml_tensor` of ggml.h, as far as it is read here."""


GgmlTensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("elements", ctypes.c_int64 * 4),
    ("strides", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("sources", ctypes.POINTER(GgmlTensor) * 10),
    ("view_source", ctypes.c_void_p),
    ("view_offset", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


def gather_importance(
    path: Path,
    tokens: NDArray[np.int64],
    settings: RunSettings,
    destination: Path,
    datasets: Sequence[str],
    progress: Progress,
) -> None:
    """Write the importance matrix of the float GGUF file `path`; tokens [rows, length].

    Raises RuntimeRefused where the library is laid out otherwise than is known here.
    """
    names = (row.name for row in read_gguf_header(path).tensors)
    watcher = _Watcher({n.encode() for n in names if n.startswith("blk.") or n == OUTPUT})
    callback = llama_cpp.llama_cpp.ggml_backend_sched_eval_callback(watcher.asked)
    with Session(str(path), settings, watch=callback) as session:
        for index, row in enumerate(tokens):
            progress(index, len(tokens))
            session.clear()
            for begin in range(0, len(row), settings.micro_batch):
                part = row[begin : begin + settings.micro_batch]
                # All logits are wanted: the last block's work is left out for the others.
                session.decode(
                    [(int(token), begin + at, (0,), True) for at, token in enumerate(part)]
                )
                if watcher.fault is not None:
                    raise RuntimeRefused(f"Importance cannot be read here: {watcher.fault}.")
    progress(len(tokens), len(tokens))
    write_importance(
        destination,
        watcher.sums(),
        chunks=len(tokens),
        chunk_tokens=tokens.shape[1],
        datasets=datasets,
    )


class _Watcher:
    """Sums the inputs of weights, by their names."""

    def __init__(self, weights: set[bytes]) -> None:
        self._weights = weights
        self._squares: dict[bytes, NDArray[np.float64]] = {}
        self._tokens: dict[bytes, NDArray[np.int64]] = {}
        self._ggml = llama_cpp.llama_cpp._lib
        self._ggml.ggml_op_name.restype = ctypes.c_char_p
        self._ggml.ggml_get_name.restype = ctypes.c_void_p
        self._ggml.ggml_get_name.argtypes = [ctypes.c_void_p]
        self._ggml.ggml_nbytes.restype = ctypes.c_size_t
        self._ggml.ggml_nbytes.argtypes = [ctypes.c_void_p]
        self._ggml.ggml_backend_tensor_get.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t,
        ]  # fmt: skip
        self.fault: str | None = None

    def asked(self, address: int, ask: bool, _: Any) -> bool:  # noqa: FBT001 - a C callback
        """Before an operation: whether its inputs are wanted. After it: take them; True goes on."""
        try:
            tensor = self._read(address)
            operation = self._ggml.ggml_op_name(tensor.op)
            if operation not in (PRODUCT, EXPERTS_PRODUCT):
                return not ask
            name = _plain(tensor.sources[0].contents.name)
            if name not in self._weights:
                return not ask
            if not ask:
                self._add(name, tensor, by_expert=operation == EXPERTS_PRODUCT)
        except Exception as error:  # None may pass through a C library.
            self.fault = self.fault or repr(error)
        return True

    def sums(self) -> dict[str, ColumnSums]:
        """What was summed, by the weights' names."""
        return {
            name.decode(): ColumnSums(squares, self._tokens[name])
            for name, squares in self._squares.items()
        }

    def _read(self, address: int) -> GgmlTensor:
        if self._ggml.ggml_get_name(address) != address + GgmlTensor.name.offset:
            raise RuntimeRefused("this version of ggml lays its tensors out otherwise")
        return GgmlTensor.from_address(address)

    def _add(self, name: bytes, tensor: GgmlTensor, *, by_expert: bool) -> None:
        weight, inputs = tensor.sources[0].contents, self._values(tensor.sources[1])
        matrices, columns = int(weight.elements[2]), int(weight.elements[0])
        squares = self._squares.setdefault(name, np.zeros((matrices, columns)))
        tokens = self._tokens.setdefault(name, np.zeros(matrices, np.int64))
        if not by_expert:
            # One row of inputs a token for each matrix; several heads of one matrix count each.
            rows = inputs.reshape(-1, columns) if matrices == 1 else inputs
            for matrix in range(matrices):
                own = rows if matrices == 1 else rows[:, matrix].reshape(-1, columns)
                squares[matrix] += np.square(own, dtype=np.float64).sum(axis=0)
                tokens[matrix] += len(own)
            return
        chosen = self._values(tensor.sources[2])[0, 0]
        squared = np.square(inputs[0], dtype=np.float64)
        for place in range(chosen.shape[1]):
            # One row a token where all its experts read the same, else one row an expert.
            rows = squared[:, place % squared.shape[1]]
            np.add.at(squares, chosen[:, place], rows)
            np.add.at(tokens, chosen[:, place], 1)

    def _values(self, pointer: Any) -> NDArray[Any]:
        """A tensor's values, slowest dimension first, wherever they lie."""
        tensor = pointer.contents
        kinds = {FLOAT32: np.float32, INT32: np.int32}
        if tensor.type not in kinds:
            raise RuntimeRefused(f"inputs of ggml's type {tensor.type} are not known")
        address = ctypes.addressof(tensor)
        raw = np.empty(self._ggml.ggml_nbytes(address), np.uint8)
        self._ggml.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
        return np.lib.stride_tricks.as_strided(
            raw.view(kinds[tensor.type]), tuple(tensor.elements)[::-1], tuple(tensor.strides)[::-1]
        )


def _plain(name: bytes) -> bytes:
    parts = name.split(DEVICE_MARK)
    return parts[1] if len(parts) == 3 else name
