"""An ONNX artifact: a folder with a graph, external data, a tokenizer and genai_config.json.

The folder is checked before any runtime opens it: a missing or half-copied data file would
otherwise end in the runtime's own words, or in a crash.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.common.errors import FileCorrupt, FileTruncated, GraphNotDecoder, ModelIncomplete
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.inside_folder import path_inside
from edgecomp.common.safe_text import one_line

GRAPH, DATA, CONFIG, TOKENIZER = (
    "model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json",
)  # fmt: skip
NAMES_SHOWN = 4
COPY_AGAIN = "Copy the whole folder again, or export the model again."


class OnnxTensor(NamedTuple):
    """An initializer in external data: where its bytes are. `type` is ONNX's data type number."""

    file: Path
    offset: int
    size_bytes: int
    shape: tuple[int, ...]
    type: int


class OnnxFolder(FrozenModel):
    """What the headers of an ONNX artifact say."""

    path: Path
    ir_version: int
    opsets: dict[str, int]
    """Version of each operator set; the default domain is called `ai.onnx`."""

    producer: str
    layers: int
    kv_heads: int
    head_size: int
    context_length: int
    end_tokens: tuple[int, ...]
    shares_cache: bool
    """Whether new keys and values go into the buffer that holds the past ones."""

    size_bytes: int


def is_onnx_folder(path: Path) -> bool:
    return (path / GRAPH).is_file() or (path / CONFIG).is_file()


def read_onnx_folder(path: Path) -> OnnxFolder:
    """Read and check the folder at `path`; no weight is read.

    Raises ModelIncomplete for a missing file, FileTruncated for external data that ends too early,
    FileCorrupt for a graph or a configuration that cannot be read, GraphNotDecoder for a graph with
    other inputs or outputs than a decoder's, PathOutside where one of them names a file outside the
    folder.
    """
    for name in (GRAPH, CONFIG, TOKENIZER):
        if not (path / name).is_file():
            raise ModelIncomplete(path, f"{name} is missing.", COPY_AGAIN)
    graph = load_graph(path)
    promised: dict[Path, int] = {}
    for tensor in external_tensors(path, graph).values():
        end = tensor.offset + tensor.size_bytes
        promised[tensor.file] = max(promised.get(tensor.file, 0), end)
    for file, end in promised.items():
        if not file.is_file():
            raise ModelIncomplete(path, f"its external data {file.name} is missing.", COPY_AGAIN)
        if file.stat().st_size < end:
            raise FileTruncated(file, end, file.stat().st_size, COPY_AGAIN)
    config = _config(path / CONFIG)
    for name in _file_names(config):
        path_inside(path, name, path / CONFIG)
    try:
        model = config["model"]
        decoder, given = model["decoder"], model.get("eos_token_id")
        ends = given if isinstance(given, list) else [given]
        _require_decoder(path / GRAPH, graph, int(decoder["num_hidden_layers"]))
        return OnnxFolder(
            path=path,
            ir_version=graph.ir_version,
            opsets=opset_versions(graph),
            producer=graph.producer_name,
            layers=decoder["num_hidden_layers"],
            kv_heads=decoder["num_key_value_heads"],
            head_size=decoder["head_size"],
            context_length=model["context_length"],
            end_tokens=tuple(end for end in ends if isinstance(end, int)),
            shares_cache=config["search"]["past_present_share_buffer"],
            size_bytes=sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FileCorrupt(path / CONFIG, f"it describes no decoder ({error}).") from error


def _require_decoder(path: Path, graph: Any, layers: int) -> None:
    """Raise GraphNotDecoder for a graph without the inputs and outputs that a session binds."""
    has = [row.name for row in (*graph.graph.input, *graph.graph.output)]
    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    wanted = ["input_ids", "attention_mask", "logits"]
    wanted += [f"{side}.{part}" for side in ("past_key_values", "present") for part in parts]
    lacks = [name for name in wanted if name not in set(has)]
    if lacks:
        raise GraphNotDecoder(
            path, *(_some([one_line(n) for n in names]) for names in (has, lacks))
        )


def _some(names: list[str]) -> list[str]:
    more = len(names) - NAMES_SHOWN
    return names if more <= 0 else [*names[:NAMES_SHOWN], f"{more} more"]


def load_graph(path: Path) -> Any:
    """The graph (onnx.ModelProto) of the folder at `path`, without its external data."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path / GRAPH, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise FileCorrupt(path / GRAPH, f"it is no ONNX graph ({error}).") from error
    if not graph.graph.node:
        raise FileCorrupt(path / GRAPH, "its graph is empty.")
    return graph


def opset_versions(graph: Any) -> dict[str, int]:
    """The version of each operator set; the default domain is called `ai.onnx`."""
    return {row.domain or "ai.onnx": row.version for row in graph.opset_import}


def external_tensors(path: Path, graph: Any) -> dict[str, OnnxTensor]:
    """The initializers of `graph` that lie in external data, by name."""
    import onnx

    found = {}
    for tensor in graph.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        where = {row.key: row.value for row in tensor.external_data}
        file = path_inside(path, where.get("location", ""), path / GRAPH)
        if file.parent != path:
            raise FileCorrupt(path / GRAPH, f"{tensor.name} lies outside its folder.")
        found[tensor.name] = OnnxTensor(
            file,
            int(where.get("offset", 0)),
            int(where.get("length", 0)),
            tuple(tensor.dims),
            tensor.data_type,
        )
    return found


def _file_names(config: Any) -> Iterator[str]:
    """Every file that a configuration has onnxruntime-genai load, in whichever part."""
    parts = config.values() if isinstance(config, dict) else config
    if isinstance(config, dict) and isinstance(config.get("filename"), str):
        yield config["filename"]
    for part in parts:
        if isinstance(part, dict | list):
            yield from _file_names(part)


def onnx_bits_per_weight(path: Path) -> float:
    """Mean bits of a weight, scales included; rotary tables are no weights."""
    graph = load_graph(path)
    stored = external_tensors(path, graph)
    weights = bits = 0
    for name, tensor in stored.items():
        if name in ("cos_cache", "sin_cache"):
            continue
        bits += 8 * tensor.size_bytes
        if not _belongs_to_codes(name):
            weights += math.prod(tensor.shape)
    for node in graph.graph.node:
        settings = {row.name: row.i for row in node.attribute}
        if node.op_type == "MatMulNBits":
            weights += settings["K"] * settings["N"]
        elif node.op_type == "GatherBlockQuantized" and node.input[0] in stored:
            weights += 8 * stored[node.input[0]].size_bytes // settings["bits"]
    return bits / max(weights, 1)


def _belongs_to_codes(name: str) -> bool:
    return name.endswith((".weight_Q4", ".weight_Q8", ".weight_scales", ".weight_zero_points"))


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileCorrupt(path, f"it is no configuration of a model ({error}).") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise FileCorrupt(path, "it is no configuration of a model.")
    return config
