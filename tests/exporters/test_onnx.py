"""ONNX exports of tiny models: what is written, what is refused, whose codes it computes with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkpoints import copied_with_equal_head
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from edgecomp.checks.greedy_check import MORE_PROMPTS
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.errors import (
    CompressionSettingsInvalid,
    EdgecompError,
    ExportRefused,
    FileCorrupt,
    FileTruncated,
    GraphNotDecoder,
    ModelIncomplete,
    NotWritable,
)
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.packed import read_packed, read_packed_index
from edgecomp.formats.execution_providers import execution_provider
from edgecomp.formats.exporting import OnnxRecord, find_onnx_exporter
from edgecomp.formats.onnx_formats import onnx_data_bytes, onnx_types
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.onnx_folder import (
    DATA,
    GRAPH,
    external_tensors,
    load_graph,
    onnx_bits_per_weight,
    read_onnx_folder,
)
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.provider_partition import counted_nodes, expected_nodes, partition
from edgecomp.processes.child import Child
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Windows, find_runtime

Export = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def exported(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The folder of a family's model in a format, exported once."""
    made: dict[tuple[str, str], OnnxRecord] = {}

    def make(family: str, format_name: str) -> Path:
        key = (family, format_name)
        if key not in made:
            folder = tmp_path_factory.mktemp("onnx") / format_name
            model = read_model(tiny_model(family))
            made[key] = find_onnx_exporter().export_format(model, folder, format_name)
        return made[key].path

    return make


@pytest.mark.parametrize("family", ["llama", "llama-tied-llama3-rope"])
@pytest.mark.parametrize("format_name", ["onnx-fp32", "onnx-int8", "onnx-int4-32", "onnx-int4-128"])
def test_external_data_has_the_size_that_was_predicted(
    exported: Export, tiny_model: Callable[..., Path], family: str, format_name: str
) -> None:
    folder = exported(family, format_name)
    planned = onnx_data_bytes(read_model(tiny_model(family)), format_name)
    assert (folder / DATA).stat().st_size == planned


@pytest.mark.parametrize("format_name", ["onnx-fp32", "onnx-int4-32"])
def test_a_head_that_is_the_embedding_over_again_is_written_once(  # A24
    tiny_model: Callable[..., Path], tmp_path: Path, format_name: str
) -> None:
    model = read_model(copied_with_equal_head(tiny_model("llama"), tmp_path / "m"))
    record = find_onnx_exporter().export_format(model, tmp_path / "out", format_name)
    assert (record.path / DATA).stat().st_size == onnx_data_bytes(model, format_name)


def test_opset_and_ir_version_are_recorded_and_the_tokenizer_is_the_sources(
    exported: Export, tiny_model: Callable[..., Path]
) -> None:
    folder = exported("llama", "onnx-fp32")
    found = read_onnx_folder(folder)
    assert found.ir_version >= 10
    assert found.opsets["ai.onnx"] >= 21
    source = tiny_model("llama")
    assert (folder / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    check = check_token_ids(read_model(source), folder, find_runtime("onnx"))
    assert check.passed, check.detail


@pytest.mark.parametrize(
    ("provider", "format_name"), [("cuda", "onnx-fp16"), ("dml", "onnx-int4-32")]
)
def test_models_for_other_providers_are_written_and_said_not_to_have_run(
    tiny_model: Callable[..., Path], tmp_path: Path, provider: str, format_name: str
) -> None:
    reported: list[tuple[float, float]] = []
    record = find_onnx_exporter().export_format(
        read_model(tiny_model("llama")), tmp_path / "out", format_name, provider,
        progress=lambda done, total: reported.append((done, total)),
    )  # fmt: skip
    assert record.provider == provider
    assert {(0, 2), (1, 2)} <= set(reported)  # A2: each of the model's layers
    assert any("not run" in note for note in record.notes)
    model, target = read_model(tiny_model("llama")), execution_provider(provider)
    assert (record.path / DATA).stat().st_size == onnx_data_bytes(model, format_name, provider)
    graph = load_graph(record.path)
    drawn = partition(counted_nodes(node.op_type for node in graph.graph.node), target)
    assert drawn == partition(expected_nodes(model, format_name, target), target)


@pytest.mark.parametrize(
    ("format_name", "provider", "said"),
    [
        ("onnx-fp32", "tpu", "no execution provider 'tpu'"),
        ("onnx-fp16", "cpu", "does not run fp16"),
        ("onnx-int3", "cpu", "no ONNX format 'onnx-int3'"),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    tiny_model: Callable[..., Path], tmp_path: Path, format_name: str, provider: str, said: str
) -> None:
    model = read_model(tiny_model("llama"))
    with pytest.raises(CompressionSettingsInvalid, match=said):
        find_onnx_exporter().export_format(model, tmp_path / "out", format_name, provider)
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_the_builder_does_not_know_leaves_nothing_behind(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match="ONNX builder"):
        find_onnx_exporter().export_format(
            read_model(tiny_model("gpt2")), tmp_path / "out", "onnx-fp32"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_overwritten(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NotWritable):
        find_onnx_exporter().export_format(read_model(tiny_model("llama")), tmp_path, "onnx-fp32")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def _lost_data(folder: Path) -> None:
    (folder / DATA).unlink()


def _half_data(folder: Path) -> None:
    with (folder / DATA).open("r+b") as file:
        file.truncate(100_000)


def _broken_graph(folder: Path) -> None:
    (folder / GRAPH).write_bytes(b"\xff" * 1000)


def _half_graph(folder: Path) -> None:
    raw = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(raw[: len(raw) // 2])


def _lost_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "genai_config.json").write_text(json.dumps({"model": {"decoder": {}}}))


def _encoder_graph(folder: Path) -> None:
    graph = load_graph(folder)
    kept = [row for row in graph.graph.input if not row.name.startswith("past_key_values")]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    (folder / GRAPH).write_bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (_lost_data, ModelIncomplete, r"model\.onnx\.data is missing.*Copy the whole folder again"),
        (_half_data, FileTruncated, r"model\.onnx\.data is cut short.*Copy the whole folder again"),
        (_broken_graph, FileCorrupt, r"model\.onnx is damaged"),
        (_half_graph, FileCorrupt, r"model\.onnx is damaged"),
        (_lost_tokenizer, ModelIncomplete, r"tokenizer\.json is missing"),
        (_broken_config, FileCorrupt, "describes no decoder"),
        (_encoder_graph, GraphNotDecoder, r"lacks past_key_values\.0\.key.*onnx-int4-32"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(
    exported: Export,
    tmp_path: Path,
    damage: Callable[[Path], None],
    error: type[EdgecompError],
    said: str,
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported("llama", "onnx-fp32"), folder)
    damage(folder)
    with pytest.raises(error, match=said):
        find_runtime("onnx").tokenize(folder, ["a"], add_special=True, parse_special=True)


@pytest.fixture(scope="module")
def rounded(tiny_model: Callable[..., Path], rounded_to: Callable[..., Path]) -> Export:
    """A family's checkpoint rounded to INT4_32 by a method, with its codes beside it."""

    def make(family: str, rounding: str) -> Path:
        source = tiny_model(family)
        return rounded_to(source, onnx_types(read_model(source), "onnx-int4-32"), rounding)

    return make


@pytest.fixture(scope="module")
def rounded_to(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A checkpoint rounded to types by matrix, with its codes beside it."""

    def make(source: Path, types: dict[str, str], rounding: str = "rtn") -> Path:
        folder = tmp_path_factory.mktemp("rounded")
        np.save(folder / "tokens.npy", np.random.default_rng(0).integers(5, 600, (8, 64)))
        with Child("edgecomp.torch_worker") as child:
            child.call(
                "round",
                checkpoint=str(source),
                tokens=str(folder / "tokens.npy"),
                destination=str(folder / "checkpoint"),
                rounding=rounding,
                types=types,
                threads=1,
            )
        return folder / "checkpoint"

    return make


def _computed_with(folder: Path, name: str) -> np.ndarray:
    """The matrix [columns, rows] that ONNX Runtime's own MatMulNBits multiplies by."""
    graph = load_graph(folder)
    node = next(n for n in graph.graph.node if name in n.input)
    settings = {row.name: helper.get_attribute_value(row) for row in node.attribute}
    stored = external_tensors(folder, graph)
    inputs = []
    for tensor in node.input[1:3]:
        place = stored[tensor]
        kind = np.uint8 if place.type == TensorProto.UINT8 else np.float32
        raw = place.file.read_bytes()[place.offset : place.offset + place.size_bytes]
        values = np.frombuffer(raw, kind).reshape(place.shape)
        inputs.append(onnx.numpy_helper.from_array(values, tensor))
    settings["accuracy_level"] = 1
    columns, rows = settings["K"], settings["N"]
    alone = helper.make_graph(
        [helper.make_node("MatMulNBits", ["x", *node.input[1:3]], ["y"], domain="com.microsoft",
                          **settings)],
        "alone",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [columns, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [columns, rows])],
        inputs,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(alone, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    computed: np.ndarray = session.run(None, {"x": np.eye(columns, dtype=np.float32)})[0]
    return computed


@pytest.mark.parametrize("rounding", ["gptq", "awq+gptq"])
def test_matmulnbits_computes_with_what_the_solver_chose_bit_for_bit(
    rounded: Export, tmp_path: Path, rounding: str
) -> None:
    checkpoint = rounded("llama", rounding)
    folder, exporter = tmp_path / "out", find_onnx_exporter()
    exporter.export_format(read_model(checkpoint), folder, "onnx-int4-32")
    size = (folder / DATA).stat().st_size
    placed = exporter.insert_codes(folder, checkpoint)
    assert len(placed) == 2 * 7 + 1
    assert (folder / DATA).stat().st_size == size
    stored = stored_tensors(checkpoint)

    def chosen(*names: str) -> np.ndarray:
        parts = [read_tensor(stored[f"model.layers.1.{name}.weight"]).numpy() for name in names]
        return np.concatenate(parts).T

    fused = chosen("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    found = _computed_with(folder, "model.layers.1.attn.qkv_proj.MatMul.weight_Q4")
    np.testing.assert_array_equal(found, fused)
    for name in ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        found = _computed_with(folder, f"model.layers.1.{name}.MatMul.weight_Q4")
        np.testing.assert_array_equal(found, chosen(name))


def mixed_types(model: ModelSpec) -> dict[str, str]:
    """Every kind of type, one for q, k and v; the blocks of the second layer's gate stay floats."""
    types = {t.name: "INT4_32" for t in model.tensors if len(t.shape) == 2}
    types |= {f"blk.0.attn_{role}.weight": "UINT4_16" for role in "qkv"}
    types |= {"blk.0.ffn_up.weight": "INT8_32", "blk.0.ffn_down.weight": "UINT4_32"}
    types |= {"blk.1.attn_output.weight": "INT4_64", "blk.1.ffn_gate.weight": "F32"}
    return types | ({EMBEDDING: "INT8_64"} if model.tied_embeddings else {EMBEDDING: "UINT4_32"})


@pytest.mark.parametrize(
    "family", [pytest.param("llama", marks=pytest.mark.slow), "llama-tied-llama3-rope"]
)
def test_a_mix_by_matrix_runs_with_the_values_that_were_chosen(
    tiny_model: Callable[..., Path], rounded_to: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    """An export of the rounded values as floats gives the same logits to float32's last places."""
    model = read_model(tiny_model(family))
    types, folder = mixed_types(model), tmp_path / "mixed"
    checkpoint = rounded_to(tiny_model(family), types)
    exporter = find_onnx_exporter()
    exporter.export_format(read_model(checkpoint), folder, "onnx-mix", accuracy_level=1)
    placed = exporter.insert_codes(folder, checkpoint)
    assert set(placed) == {name for name, kind in types.items() if kind != "F32"}
    assert (folder / DATA).stat().st_size == onnx_data_bytes(model, "onnx-mix", overrides=types)
    exporter.export_format(
        read_model(with_chosen_table(checkpoint, tmp_path / "values")), tmp_path / "f", "onnx-fp32"
    )
    settings = RunSettings(context=64, outputs=32, threads=1, kv_type="F32")
    samples = find_runtime("onnx").compare(
        tmp_path / "f", folder, settings, " ".join(MORE_PROMPTS * 4), windows=Windows(64, 2)
    )
    assert np.abs(np.asarray(samples.kl)).max() < 1e-6
    rotary = 2 * 4 * model.context_length * (model.key_length // 2)
    bits = 8 * (onnx_data_bytes(model, "onnx-mix", overrides=types) - rotary) / model.parameters
    assert onnx_bits_per_weight(folder) == pytest.approx(bits, rel=1e-3)
    nodes = [node.op_type for node in load_graph(folder).graph.node]
    assert nodes.count("MatMul") == 1 and nodes.count("GatherBlockQuantized") == 1


def with_chosen_table(checkpoint: Path, folder: Path) -> Path:
    """A copy whose embedding and head are what their codes stand for."""
    index = read_packed_index(checkpoint)
    assert index is not None
    shutil.copytree(checkpoint, folder)
    model = read_model(checkpoint)
    sources = {tensor.name: tensor.source_name for tensor in model.tensors}
    for name in (EMBEDDING, OUTPUT):
        if name in index.tensors:
            entry = index.tensors[name]
            values = dequantized(entry.type, read_packed(checkpoint, entry).numpy())
            stored = stored_tensors(folder)[sources[name]]
            tensors = load_file(stored.file)
            tensors[sources[name]] = torch.from_numpy(values)
            save_file(tensors, stored.file, metadata={"format": "pt"})
    return folder


def dequantized(kind: str, packed: np.ndarray) -> np.ndarray:
    """What packed codes [rows, row bytes] stand for, by the definition of MatMulNBits."""
    row = TENSOR_TYPES[kind]
    blocks = packed.reshape(len(packed), -1, row.block_bytes)
    scales = np.ascontiguousarray(blocks[..., :4]).view("<f4")
    if kind.startswith("INT8"):
        return ((blocks[..., 4:].astype(np.float32) - 128) * scales).reshape(len(packed), -1)
    zeros = blocks[..., 4:5].astype(np.float32) if row.zero_points else 8.0
    halves = blocks[..., -row.block_elements // 2 :]
    codes = np.stack([halves & 15, halves >> 4], axis=-1).reshape(*blocks.shape[:2], -1)
    return ((codes.astype(np.float32) - zeros) * scales).reshape(len(packed), -1)


def test_codes_of_another_model_are_refused(
    tiny_model: Callable[..., Path], rounded: Export, tmp_path: Path
) -> None:
    folder, exporter = tmp_path / "out", find_onnx_exporter()
    exporter.export_format(read_model(tiny_model("mistral")), folder, "onnx-int4-32")
    with pytest.raises(ExportRefused, match="has the shape"):
        exporter.insert_codes(folder, rounded("llama", "rtn"))


def without_ends(model: Path, folder: Path, **generation: object) -> Path:
    """A copy none of whose files names a token that ends an answer, but for `generation`."""
    shutil.copytree(model, folder)
    for name in ("config", "generation_config", "tokenizer_config"):
        path = folder / f"{name}.json"
        held = json.loads(path.read_text()) if path.is_file() else {}
        kept = {key: value for key, value in held.items() if not key.startswith("eos_token")}
        path.write_text(json.dumps(kept | (generation if name == "generation_config" else {})))
    return folder


def test_a_model_that_names_no_end_token_is_refused_before_it_is_built(  # P17
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = without_ends(tiny_model("llama"), tmp_path / "m")
    with pytest.raises(ExportRefused, match="names no token that ends an answer"):
        find_onnx_exporter().export_format(read_model(folder), tmp_path / "out", "onnx-int4-32")
    assert not (tmp_path / "out").exists()


def test_end_tokens_that_generation_config_alone_names_reach_the_artifact(  # P8, P17
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = without_ends(tiny_model("llama"), tmp_path / "m", eos_token_id=[2, 3])
    out = tmp_path / "out"
    find_onnx_exporter().export_format(read_model(folder), out, "onnx-int4-32")
    assert read_onnx_folder(out).end_tokens == (2, 3)
    # An artifact of another maker may have none: it ends by length.
    config = json.loads((out / "genai_config.json").read_text())
    config["model"]["eos_token_id"] = None
    (out / "genai_config.json").write_text(json.dumps(config))
    assert read_onnx_folder(out).end_tokens == ()
