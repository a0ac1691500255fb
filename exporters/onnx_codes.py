"""Put what a compression method chose into an int4 ONNX export of the builder's, losslessly.

The builder lays the graph out and rounds every matrix to nearest, in one type. Here each matrix
gets the codes beside the checkpoint, in the type that these have: bits, block, and whether there
are zero points, matrix by matrix; one without codes gets the checkpoint's floats. A table that is
only looked up in becomes a gather of codes (GatherBlockQuantized). The other nodes stay what they
were. The export must be one of the rounded checkpoint itself: its norms and biases, into which a
method may have folded scales, are then right already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgecomp.common.errors import ExportRefused
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.onnx_grids import SCALE_BYTES
from edgecomp.compress.packed import PackedIndex, read_packed, read_packed_index
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.onnx_folder import DATA, GRAPH, OnnxTensor, external_tensors, load_graph
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

ROLES = {
    "attn_q": "attn.q_proj",
    "attn_k": "attn.k_proj",
    "attn_v": "attn.v_proj",
    "attn_qkv": "attn.qkv_proj",
    "attn_output": "attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
FUSED = ("attn_q", "attn_k", "attn_v")
"""Rows of these follow one another in the builder's qkv_proj."""

HEAD, TABLE = "lm_head.MatMul.weight", "model.embed_tokens.weight"
MICROSOFT = "com.microsoft"

Rows = NDArray[np.uint8]
Arrays = dict[str, NDArray[Any]]
"""Initializers by name."""


class _Matrix(NamedTuple):
    """What a matrix of the graph is to hold: initializers, and the attributes of their operator;
    none of floats."""

    arrays: Arrays
    bits: int = 0
    block: int = 0

    @property
    def names(self) -> list[str]:
        return list(self.arrays)


def insert_codes(folder: Path, checkpoint: Path) -> tuple[str, ...]:
    """Give the matrices of the ONNX `folder` the codes beside `checkpoint`, or its floats.

    Returns the GGUF names of the matrices that now hold a method's codes. Raises ExportRefused
    where one has no place in the graph, or another shape there.
    """
    index = read_packed_index(checkpoint) or PackedIndex(tensors={})
    graph = load_graph(folder)
    stored = external_tensors(folder, graph)
    writer = _Writer(folder, graph, stored)
    source = _Source(checkpoint, index, stored)
    for node in list(graph.graph.node):
        if node.op_type == "MatMulNBits":
            place = node.input[1].removesuffix("_Q4")
            settings = {row.name: row.i for row in node.attribute}
            writer.product(node, source.matrix(place, (settings["N"], settings["K"])))
        elif node.op_type == "Gather" and node.input[0] == TABLE and EMBEDDING in index.tensors:
            shape = stored[TABLE].shape
            writer.lookup(node, source.matrix(TABLE, (shape[0], shape[1])))
    left = source.without_place()
    if left:
        raise ExportRefused(
            f"The codes of {', '.join(left)} have no place in {folder}. Export the model that the "
            "codes were chosen for."
        )
    writer.finish()
    return tuple(index.tensors)


class _Source:
    """The matrices of a rounded checkpoint, by their place in the graph."""

    def __init__(
        self, checkpoint: Path, index: PackedIndex, graph_holds: Mapping[str, OnnxTensor]
    ) -> None:
        self._checkpoint, self._index, self._graph_holds = checkpoint, index, graph_holds
        model = read_model(checkpoint)
        # Where the builder rounded a matrix.
        places = {n.removesuffix("_Q4") for n in graph_holds if n.endswith("_Q4")}
        self._names = _names_by_place(model, places)
        self._sources = {tensor.name: tensor.source_name for tensor in model.tensors}
        self._stored = stored_tensors(checkpoint)
        self._taken: set[str] = set()

    def matrix(self, place: str, shape: tuple[int, int]) -> _Matrix:
        """What is to stand at `place`: `shape` [rows, columns] there."""
        names, entries = self._names.get(place, ()), self._index.tensors
        self._taken.update(names)
        kinds = {entries[name].type if name in entries else "F32" for name in names}
        if len(kinds) != 1:
            raise ExportRefused(
                f"{place} holds {', '.join(names) or 'no matrix that is known'}, whose types are "
                f"{', '.join(sorted(kinds)) or 'unknown'}: what shares a place shares a type."
            )
        kind = kinds.pop()
        if kind == "F32":
            return self._floats(place, names, shape)
        packed = [read_packed(self._checkpoint, entries[name]).numpy() for name in names]
        rows = sum(entries[name].shape[0] for name in names)
        columns = entries[names[0]].shape[1]
        if (rows, columns) != shape:
            raise ExportRefused(
                f"{place} has the shape {list(shape)}, the {kind} codes of {', '.join(names)} "
                f"have {[rows, columns]}. Export the model that the codes were chosen for."
            )
        return _codes(place, kind, np.concatenate(packed), self._float_type(place))

    def _floats(self, place: str, names: tuple[str, ...], shape: tuple[int, int]) -> _Matrix:
        parts = [read_tensor(self._stored[self._sources[name]]).float() for name in names]
        values = np.concatenate([part.numpy() for part in parts])
        if values.shape != shape:
            raise ExportRefused(
                f"{place} has the shape {list(shape)}, {', '.join(names)} {list(values.shape)}. "
                "Export the model that the codes were chosen for."
            )
        return _Matrix({place: np.ascontiguousarray(values.T, self._float_type(place))})

    def _float_type(self, place: str) -> Any:
        """The graph's own float type, of its scales or of its table."""
        scales = self._graph_holds.get(f"{place}_scales", self._graph_holds.get(place))
        assert scales is not None
        return helper.tensor_dtype_to_np_dtype(scales.type)

    def without_place(self) -> list[str]:
        return [name for name in self._index.tensors if name not in self._taken]


def _names_by_place(model: ModelSpec, places: set[str]) -> dict[str, tuple[str, ...]]:
    """The GGUF names of the matrices at each place of the graph, in the order of their rows."""
    found: dict[str, tuple[str, ...]] = {}
    for tensor in model.tensors:
        if len(tensor.shape) != 2:
            continue
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name)
        if match is None:
            alone = tensor.name == EMBEDDING and not model.tied_embeddings
            found[TABLE if alone else HEAD] = (tensor.name,)
            continue
        layer, role = match.groups()
        place = f"model.layers.{layer}.{ROLES.get(role, role)}.MatMul.weight"
        fused = f"model.layers.{layer}.attn.qkv_proj.MatMul.weight"
        if role in FUSED and fused in places:
            found[fused] = tuple(f"blk.{layer}.{other}.weight" for other in FUSED)
        else:
            found[place] = (tensor.name,)
    return found


def _codes(place: str, kind: str, packed: Rows, scale_type: Any) -> _Matrix:
    """The initializers of codes uint8 [rows, row bytes] of a type: as MatMulNBits takes them, or
    with the blocks of a row in one, as a table."""
    row = TENSOR_TYPES[kind]
    blocks = packed.reshape(len(packed), -1, row.block_bytes)
    bits = 8 if kind.startswith("INT8") else 4
    code_bytes = row.block_elements * bits // 8
    codes = np.ascontiguousarray(blocks[..., -code_bytes:])
    scales = np.ascontiguousarray(blocks[..., :SCALE_BYTES]).view("<f4")[..., 0]
    arrays: Arrays = {
        f"{place}_Q{bits}": codes.reshape(len(codes), -1) if place == TABLE else codes,
        f"{place}_scales": scales.astype(scale_type),
    }
    if row.zero_points:
        zeros = blocks[..., SCALE_BYTES]
        zeros = np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2)))
        arrays[f"{place}_zero_points"] = zeros[:, 0::2] | zeros[:, 1::2] << 4
    return _Matrix(arrays, bits, row.block_elements)


class _Writer:
    """A graph with its external data, written anew beside what it was."""

    def __init__(self, folder: Path, graph: Any, stored: Mapping[str, OnnxTensor]) -> None:
        self._folder, self._graph, self._stored = folder, graph, stored
        self._replaced: dict[str, list[Any]] = {}
        self._data = (folder / f"{DATA}.new").open("wb")

    def product(self, node: Any, matrix: _Matrix) -> None:
        """Have a MatMulNBits multiply by `matrix`, and a table that shares its codes look it up."""
        before = list(node.input[1:])
        self._put(before, matrix)
        table = _tied_table(self._graph, before[0])
        if table and not matrix.bits:
            raise ExportRefused(
                "An embedding that is its model's head as well is not kept as floats beside "
                "matrices of few bits. Give it 8 bits."
            )
        del node.input[1:]
        node.input.extend(matrix.names)
        if not matrix.bits:
            node.op_type, node.domain = "MatMul", ""
            del node.attribute[:]
            return
        _set(node, bits=matrix.bits, block_size=matrix.block)
        node.name = re.sub(r"_Q\d$", f"_Q{matrix.bits}", node.name)
        if table:
            self._look_up_tied(table, matrix)

    def _look_up_tied(self, table: tuple[Any, Any, Any], matrix: _Matrix) -> None:
        shape, reshape, gather = table
        codes, scales, *zeros = matrix.names
        rows, blocks, block_bytes = matrix.arrays[codes].shape
        target = np.array([rows, blocks * block_bytes], dtype=np.int64)
        constant = f"/model/constants/INT64/{target.tolist()}"
        shape.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(target, constant))
        shape.name = f"/model/constant_nodes/INT64/{target.tolist()}"
        shape.output[0] = reshape.input[1] = constant
        reshape.input[0] = codes
        _name_inputs(gather, [gather.input[0], gather.input[1], scales, *zeros])
        _set(gather, bits=matrix.bits, block_size=matrix.block)
        _forget_shapes(self._graph, {reshape.output[0]})

    def lookup(self, node: Any, matrix: _Matrix) -> None:
        """Have a Gather look up the codes of `matrix`."""
        self._put([TABLE], matrix)
        codes, scales, *zeros = matrix.names
        ids = node.input[1]
        del node.attribute[:]
        node.op_type, node.domain = "GatherBlockQuantized", MICROSOFT
        _name_inputs(node, [codes, ids, scales, *zeros])
        _set(node, bits=matrix.bits, block_size=matrix.block, gather_axis=0, quantize_axis=1)

    def _put(self, before: list[str], matrix: _Matrix) -> None:
        """Write a matrix in the place of the initializers called `before`."""
        self._replaced |= {name: [] for name in before}
        self._replaced[before[0]] = [
            self._written(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape,
                          values.tobytes())
            for name, values in matrix.arrays.items()
        ]  # fmt: skip

    def _written(self, name: str, kind: int, shape: tuple[int, ...], raw: bytes) -> Any:
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": DATA, "offset": self._data.tell(), "length": len(raw)}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(raw)
        return tensor

    def finish(self) -> None:
        """Copy what stays, and put graph and data in the place of the old ones."""
        initializers = list(self._graph.graph.initializer)
        del self._graph.graph.initializer[:]
        self._graph.graph.initializer.extend(self._kept_and_new(initializers))
        _forget_shapes(self._graph, self._replaced)
        self._data.flush()
        os.fsync(self._data.fileno())
        self._data.close()
        os.replace(self._data.name, self._folder / DATA)
        (self._folder / GRAPH).write_bytes(self._graph.SerializeToString())

    def _kept_and_new(self, initializers: list[Any]) -> Iterator[Any]:
        for tensor in initializers:
            if tensor.name in self._replaced:
                yield from self._replaced[tensor.name]
            elif tensor.name in self._stored:
                place = self._stored[tensor.name]
                with place.file.open("rb") as file:
                    file.seek(place.offset)
                    raw = file.read(place.size_bytes)
                yield self._written(tensor.name, place.type, place.shape, raw)
            else:
                yield tensor


def _tied_table(graph: Any, codes: str) -> tuple[Any, Any, Any] | None:
    """The nodes that look up in the codes of the head: the shape that a Reshape of them gets, the
    Reshape, and the gather."""
    nodes = graph.graph.node
    reshape = next((n for n in nodes if n.op_type == "Reshape" and codes in n.input), None)
    if reshape is None:
        return None
    shape = next(node for node in nodes if reshape.input[1] in node.output)
    gather = next(node for node in nodes if reshape.output[0] in node.input)
    return shape, reshape, gather


def _name_inputs(node: Any, names: list[str]) -> None:
    del node.input[:]
    node.input.extend(names)


def _set(node: Any, **values: int) -> None:
    """Set whole-numbered attributes."""
    kept = [row for row in node.attribute if row.name not in values]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())


def _forget_shapes(graph: Any, names: Container[str]) -> None:
    """Drop what the builder noted of values that have other shapes now."""
    kept = [row for row in graph.graph.value_info if row.name not in names]
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(kept)
