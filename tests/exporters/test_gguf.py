"""The exported GGUF computes what the checkpoint computes, and is as large as was said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from ggml_rounding import stored_values, write_twice
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import YARN_VARIANTS
from transformers import AutoModelForCausalLM

from edgecomp.checks.greedy_check import PROMPTS, check_greedy
from edgecomp.common.errors import ArchitectureUnsupported, ExportRefused
from edgecomp.devices.finding import find_device
from edgecomp.exporters.gguf import expected_float_size_bytes, export, reservations
from edgecomp.exporters.gguf_tensors import deinterleave, interleave
from edgecomp.formats.exporting import find_exporter
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.size import gguf_file_bytes, header_size_bytes
from edgecomp.models.gguf.writer import copied_fields, packed_field, write_gguf
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.session import Session
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.protocol import find_runtime

MakeModel = Callable[..., Path]
FAMILIES = (
    "llama", "llama-tied-llama3-rope", "llama-linear-rope", "llama-biased", "mistral", "mixtral",
    "qwen2", "qwen2-yarn-rope", "qwen3", "qwen2moe", "qwen3moe", "gemma2", "gemma3", "phi3",
    "phi4-mini", "gpt2",
)  # fmt: skip
# ggml looks GELU up in a table of 16-bit floats; SiLU it computes.
TOLERANCES = {"gemma2": 5e-3, "gemma3": 5e-3, "gpt2": 5e-3}
TOKENS = [1, *((37 * index + 11) % 600 for index in range(40))]


def transformers_logits(folder: Path) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.inference_mode():
        return model(torch.tensor([TOKENS])).logits[0].numpy()


def llama_cpp_logits(path: Path) -> np.ndarray:
    settings = RunSettings(context=256, outputs=64, threads=1, kv_type="F32", flash_attention=False)
    with Session(str(path), settings) as session:
        session.decode([(token, place, (0,), True) for place, token in enumerate(TOKENS)])
        return np.stack([session.logits(place).copy() for place in range(len(TOKENS))])


@pytest.mark.parametrize("family", (*FAMILIES, *YARN_VARIANTS))
def test_llama_cpp_computes_the_logits_of_transformers(
    tiny_model: MakeModel, tmp_path: Path, family: str
) -> None:
    folder = tiny_model(family)
    record = export(read_model(folder), tmp_path / "model.gguf", "F32")
    wanted, found = transformers_logits(folder), llama_cpp_logits(record.path)
    assert wanted.std() > 0.5
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCES.get(family, 1e-3))


def test_a_stored_head_wins_over_a_config_that_says_it_is_tied(  # P1
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama-tied-llama3-rope"), folder)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    weights["lm_head.weight"] = torch.randn(600, 64, generator=generator) * 0.15
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    file = export(read_model(folder), tmp_path / "model.gguf", "F32").path
    wanted = transformers_logits(folder)
    np.testing.assert_allclose(llama_cpp_logits(file), wanted, rtol=0, atol=1e-3)


def test_without_a_stored_head_the_embedding_gives_the_logits(  # P15
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder, tied = tmp_path / "m", tiny_model("llama-tied-llama3-rope")
    shutil.copytree(tied, folder)
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    file = export(read_model(folder), tmp_path / "model.gguf", "F32").path
    wanted = transformers_logits(tied)
    np.testing.assert_allclose(llama_cpp_logits(file), wanted, rtol=0, atol=1e-3)
    runtime = find_runtime("llama.cpp")
    result = check_greedy(folder, file, "F32", runtime, PROMPTS[:2])
    assert result.passed, result.detail


LAYER_KINDS = ("fssssss", "sffsffs", "sssssss", "ssfssfs", "fffffff", "ffffffs")


@pytest.mark.parametrize("kinds", LAYER_KINDS)
@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_each_layer_slides_as_the_config_says(  # P7
    tiny_model: MakeModel, tmp_path: Path, family: str, kinds: str
) -> None:
    """The window is 16 tokens, the text longer."""
    folder = tmp_path / "m"
    shutil.copytree(tiny_model(family), folder)
    config = json.loads((folder / "config.json").read_text())
    names = {"f": "full_attention", "s": "sliding_attention"}
    config["layer_types"] = [names[kind] for kind in kinds]
    (folder / "config.json").write_text(json.dumps(config))
    model = read_model(folder)
    file = export(model, tmp_path / "model.gguf", "F32").path
    wanted = transformers_logits(folder)
    np.testing.assert_allclose(llama_cpp_logits(file), wanted, rtol=0, atol=TOLERANCES[family])
    if "s" not in kinds:
        return
    layers = range(7)
    for made in (model, read_model(file)):
        assert [made.slides(layer) for layer in layers] == [kind == "s" for kind in kinds]
    find_exporter("huggingface").export(read_model(file), tmp_path / "back", "F32")
    assert (
        json.loads((tmp_path / "back" / "config.json").read_text())["layer_types"]
        == (config["layer_types"])
    )


@pytest.mark.parametrize("family", YARN_VARIANTS)
def test_a_gguf_files_own_scale_of_yarn_goes_back_into_a_checkpoint(  # P9
    tiny_model: MakeModel, tmp_path: Path, family: str
) -> None:
    folder = tiny_model(family)
    file = export(read_model(folder), tmp_path / "model.gguf", "F32").path
    find_exporter("huggingface").export(read_model(file), tmp_path / "back", "F32")
    wanted, found = transformers_logits(folder), transformers_logits(tmp_path / "back")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"beta_fast": 16}, "beta_fast is 16, llama.cpp assumes 32"),
        ({"beta_slow": 2.0}, "beta_slow is 2.0"),
        ({"truncate": False}, "truncate is False"),
    ],
)
def test_a_ramp_of_yarn_that_llama_cpp_does_not_read_is_refused(  # P9
    tiny_model: MakeModel, tmp_path: Path, entries: dict[str, object], said: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("qwen2-yarn-rope"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] |= entries
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportRefused, match=said):
        reservations(read_model(folder))
    config["rope_parameters"] |= {"beta_fast": 32.0, "beta_slow": 1, "truncate": True}
    (folder / "config.json").write_text(json.dumps(config))
    assert reservations(read_model(folder)) == ()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("float_type", ["F32", "F16", "BF16"])
def test_the_size_is_known_to_the_byte_before_a_weight_is_read(
    tiny_model: MakeModel, tmp_path: Path, family: str, float_type: str
) -> None:
    model = read_model(tiny_model(family))
    record = export(model, tmp_path / "model.gguf", float_type)
    assert record.size_bytes == record.path.stat().st_size
    assert expected_float_size_bytes(model, float_type) == record.size_bytes


def test_matrices_get_the_float_type_and_vectors_stay_f32(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    record = export(read_model(tiny_model("qwen2moe")), tmp_path / "model.gguf", "BF16")
    assert record.tensors["blk.0.attn_q.weight"] == "BF16"
    assert record.tensors["blk.1.ffn_down_exps.weight"] == "BF16"
    for name in ("output_norm.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"):
        assert record.tensors[name] == "F32"
    stored = {row.name: row.type.name for row in read_gguf_header(record.path).tensors}
    assert stored == record.tensors


@pytest.mark.parametrize(
    ("stored", "exported"), [("float32", "F16"), ("float16", "F16"), ("bfloat16", "BF16")]
)
def test_the_sources_float_type_is_kept_unless_it_is_f32(
    tiny_model: MakeModel, tmp_path: Path, stored: str, exported: str
) -> None:
    record = export(read_model(tiny_model("llama", stored)), tmp_path / "model.gguf")
    assert record.float_type == exported


def test_bfloat16_weights_go_over_bit_for_bit(tiny_model: MakeModel, tmp_path: Path) -> None:
    folder = tiny_model("llama", "bfloat16")
    record = export(read_model(folder), tmp_path / "model.gguf")
    stored = load_file(folder / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    tensor = next(
        row for row in gguf.GGUFReader(record.path).tensors if row.name == "blk.1.ffn_down.weight"
    )
    assert tensor.data.tobytes() == stored.view(torch.int16).numpy().tobytes()


def test_a_sharded_checkpoint_gives_the_same_file(tiny_model: MakeModel, tmp_path: Path) -> None:
    folder = tiny_model("qwen2moe")
    sharded = tmp_path / "sharded"
    shutil.copytree(folder, sharded)
    (sharded / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).save_pretrained(
        sharded, max_shard_size="40KB"
    )
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    one = export(read_model(folder), tmp_path / "one.gguf").path
    two = export(
        read_model(sharded).model_copy(update={"name": folder.name}), tmp_path / "two.gguf"
    ).path
    assert one.read_bytes() == two.read_bytes()


@given(heads=st.integers(1, 4), half=st.integers(1, 8), columns=st.integers(1, 3))
def test_changing_the_order_of_rotary_rows_can_be_undone(
    heads: int, half: int, columns: int
) -> None:
    rows = heads * half * 2
    array = np.arange(rows * columns).reshape(rows, columns)
    changed = interleave(array, heads)
    np.testing.assert_array_equal(deinterleave(changed, heads), array)
    # Row 2i of a head is its row i, row 2i + 1 its row i + half.
    np.testing.assert_array_equal(changed[0:2], array[[0, half]])


def test_the_quantizer_of_llama_cpp_keeps_the_headers_size(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    record = export(read_model(tiny_model("llama")), tmp_path / "model.gguf", "F16")
    quantized = tmp_path / "quantized.gguf"
    find_runtime("llama.cpp").quantize(record.path, quantized, Types(preset="Q8_0"), threads=1)
    before, after = read_gguf_header(record.path), read_gguf_header(quantized)
    assert header_size_bytes(after) == header_size_bytes(before)
    tensors = [(row.size_bytes, row) for row in after.tensors]
    sizes = [(int(np.prod(row.shape)), row.type.name) for _, row in tensors]
    assert gguf_file_bytes(header_size_bytes(before), sizes) == quantized.stat().st_size


def test_metadata_of_a_gguf_source_goes_over_byte_for_byte(tmp_path: Path) -> None:
    fields = {
        "general.architecture": packed_field("general.architecture", "llama", 8),
        "general.file_type": packed_field("general.file_type", 2, 4),
        "llama.block_count": packed_field("llama.block_count", 1, 4),
        "llama.embedding_length": packed_field("llama.embedding_length", 64, 4),
        "tokenizer.ggml.tokens": packed_field("tokenizer.ggml.tokens", [b"\x80\xff", b"a"], 9, 8),
        "own.empty": packed_field("own.empty", [], 9, 6),
    }
    tensors = [OutputTensor("token_embd.weight", (2, 64), "Q4_0")]
    raw = np.random.default_rng(0).integers(0, 128, 72, dtype=np.uint8)
    write_gguf(tmp_path / "source.gguf", fields, tensors, lambda tensor: [raw])
    source = read_model(tmp_path / "source.gguf")
    record = export(source, tmp_path / "float.gguf")
    found = copied_fields(read_gguf_header(record.path))
    assert found.pop("general.quantization_version")
    assert found.pop("general.file_type") == packed_field("general.file_type", 1, 4)
    assert found == {key: raw for key, raw in fields.items() if key != "general.file_type"}
    assert list(found) == [key for key in fields if key != "general.file_type"]
    assert expected_float_size_bytes(source) == record.size_bytes
    dequantized = gguf.dequantize(raw.reshape(2, 36), gguf.GGMLQuantizationType.Q4_0)
    stored = gguf.GGUFReader(record.path).tensors[0].data
    np.testing.assert_array_equal(stored, dequantized.astype(np.float16))


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "F16", "BF16"])
def test_dequantized_values_are_those_of_the_gguf_package(tmp_path: Path, kind: str) -> None:
    row = TENSOR_TYPES[kind]
    values = np.random.default_rng(1).standard_normal((3, 256)).astype(np.float32)
    try:
        raw = gguf.quantize(values, gguf.GGMLQuantizationType[kind]).view(np.uint8)
    except NotImplementedError:
        raw = np.full((3, row.size_bytes(256)), 17, dtype=np.uint8)
    fields = {
        "general.architecture": packed_field("general.architecture", "llama", 8),
        "llama.block_count": packed_field("llama.block_count", 1, 4),
        "llama.embedding_length": packed_field("llama.embedding_length", 256, 4),
    }
    tensors = [OutputTensor("output.weight", (3, 256), kind)]
    write_gguf(tmp_path / "source.gguf", fields, tensors, lambda tensor: [raw])
    record = export(read_model(tmp_path / "source.gguf"), tmp_path / "float.gguf", "F32")
    stored = gguf.GGUFReader(record.path).tensors[0].data
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(stored, expected)


def test_of_a_matrix_stored_twice_the_better_copy_is_written(  # A24
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    single = export(read_model(tiny_model("qwen2")), tmp_path / "once.gguf", "F32").path
    twice = write_twice(single, tmp_path / "twice.gguf", "Q5_0", "Q8_0")
    better = stored_values(read_gguf_header(twice), OUTPUT)
    record = export(read_model(twice), tmp_path / "float.gguf", "F32")
    assert OUTPUT not in record.tensors
    assert record.size_bytes == expected_float_size_bytes(read_model(twice), "F32")
    found = stored_values(read_gguf_header(record.path), EMBEDDING)
    np.testing.assert_array_equal(found, better)
    folder = find_exporter("huggingface").export(read_model(twice), tmp_path / "m", "F32").path
    weights = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(weights["model.embed_tokens.weight"].numpy(), better)
    assert "lm_head.weight" not in weights and read_model(folder).tied_embeddings


def _changed(folder: Path, destination: Path, **config: object) -> Path:
    shutil.copytree(folder, destination)
    path = destination / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return destination


def test_an_unknown_family_is_refused_by_name(tiny_model: MakeModel, tmp_path: Path) -> None:
    folder = _changed(tiny_model("llama"), tmp_path / "m", architectures=["NewbornForCausalLM"])
    with pytest.raises(ArchitectureUnsupported, match="NewbornForCausalLM cannot be written"):
        export(read_model(folder), tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize(
    ("family", "entry", "value"),
    [
        ("llama", "hidden_act", "relu"),
        ("qwen3moe", "norm_topk_prob", False),
        ("gemma2", "query_pre_attn_scalar", 100),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("llama", "rope_parameters", {"rope_type": "dynamic", "rope_theta": 1e4}),
        ("llama", "quantization_config", {"quant_method": "gptq"}),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    tiny_model: MakeModel, tmp_path: Path, family: str, entry: str, value: object
) -> None:
    folder = _changed(tiny_model(family), tmp_path / "m", **{entry: value})
    with pytest.raises(ExportRefused, match="cannot be written as GGUF"):
        export(read_model(folder), tmp_path / "model.gguf")


def test_weights_without_a_place_are_not_dropped_in_silence(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder = _changed(tiny_model("llama"), tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    extra = {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 64)}
    save_file(weights | extra, folder / "model.safetensors")
    with pytest.raises(ExportRefused, match="lora_A"):
        export(read_model(folder), tmp_path / "model.gguf")


def test_a_sliding_window_that_llama_cpp_ignores_is_noted(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder = _changed(tiny_model("mistral"), tmp_path / "m", sliding_window=32)
    model = read_model(folder)
    record = export(model, tmp_path / "model.gguf")
    assert "past 32 tokens" in record.notes[0]
    assert reservations(model) == record.notes
    plan = make_plan(model, find_device("rtx-4090"), Constraints())
    assert record.notes[0] in plan.notices


def test_a_plan_says_what_will_be_refused(tiny_model: MakeModel, tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 1e4}
    stretched = _changed(tiny_model("llama"), tmp_path / "rope", rope_parameters=rope)
    silent = _changed(tiny_model("llama"), tmp_path / "silent")
    (silent / "tokenizer.json").unlink()
    for folder, said in ((stretched, "the rope type 'dynamic'"), (silent, "no tokenizer.json")):
        plan = make_plan(read_model(folder), find_device("rtx-4090"), Constraints())
        assert any(said in notice for notice in plan.notices)


def test_the_language_model_of_a_multimodal_checkpoint_is_written(
    tiny_model: MakeModel, tmp_path: Path
) -> None:
    folder = _changed(
        tiny_model("gemma3"),
        tmp_path / "m",
        architectures=["Gemma3ForConditionalGeneration"],
        vision_config={"hidden_size": 8},
    )
    weights = {
        f"language_model.{name}": weight
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    vision = {"vision_tower.vision_model.embeddings.patch_embedding.weight": torch.zeros(8, 3)}
    save_file(weights | vision, folder / "model.safetensors")
    record = export(read_model(folder), tmp_path / "model.gguf", "F32")
    plain = export(read_model(tiny_model("gemma3")), tmp_path / "plain.gguf", "F32")
    assert record.tensors == plain.tensors
    assert record.notes == ()
    projector = read_model(folder).projector
    assert projector and projector.towers == ("vision",) and projector.file_bytes == 4 * 8 * 3


def test_the_exporter_is_found_by_its_name() -> None:
    assert find_exporter("gguf").export is export
    with pytest.raises(ExportRefused, match="no exporter called 'mlx'"):
        find_exporter("mlx")


PEAK = """
import resource, sys
from pathlib import Path
from edgecomp.exporters.gguf import export
from edgecomp.models.reading import read_model
export(read_model(sys.argv[1]), Path(sys.argv[2]), "F16")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_peak_memory_does_not_grow_with_the_number_of_layers(tmp_path: Path) -> None:
    piece = np.zeros((512, 2048), dtype=np.float32)
    peaks = []
    for layers in (4, 64):
        fields = {
            "general.architecture": packed_field("general.architecture", "llama", 8),
            "llama.block_count": packed_field("llama.block_count", layers, 4),
            "llama.embedding_length": packed_field("llama.embedding_length", 2048, 4),
        }
        tensors = [
            OutputTensor(f"blk.{layer}.ffn_up.weight", piece.shape, "F32")
            for layer in range(layers)
        ]
        source = tmp_path / f"{layers}.gguf"
        write_gguf(source, fields, tensors, lambda tensor: [piece])
        command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / "float.gguf")]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(answer.stdout) * 1024)
    # 17 MB of weights against 268 MB.
    assert peaks[1] - peaks[0] < 20e6
