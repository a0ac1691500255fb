"""Exports by optimum: what they hold, what is refused; the real ones need its environment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgecomp.common.errors import (
    ArtifactRejected,
    CompressionSettingsInvalid,
    ExportRefused,
    RuntimeMissing,
)
from edgecomp.common.events import ignore
from edgecomp.exporters.onnx_optimum import _generation_config, _write_older_checkpoint
from edgecomp.exporters.optimum_environment import VARIABLE, optimum_python
from edgecomp.formats.exporting import find_optimum_exporter
from edgecomp.formats.optimum_formats import DECODER, optimum_task
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.models.onnx_folder import GRAPH, read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import find_runtime

MIX = CalibrationMix(samples={"math": 24}, row_tokens=64)
TinyModel = Callable[..., Path]


@pytest.fixture(scope="module")
def encoder(
    request: pytest.FixtureRequest, tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A tiny BERT of a class of transformers, with a tokenizer, made once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            import torch
            import transformers

            folder = made[name] = tmp_path_factory.mktemp(name)
            torch.manual_seed(0)
            config = transformers.BertConfig(
                vocab_size=600, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=256,
            )  # fmt: skip
            getattr(transformers, name)(config).save_pretrained(folder)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(tiny_model("llama") / file, folder / file)
        return made[name]

    return make


def made(source: Path, folder: Path, format_name: str) -> Compressed:
    recipe = compression_recipe(
        CompressionRequest(model=str(source), format=format_name, calibration=MIX)
    )
    return compress(recipe, folder, None, ignore)


def details(result: Compressed) -> dict[str, str]:
    assert all(check.passed for check in result.checks)
    return {check.name: check.detail for check in result.checks}


def test_without_its_environment_optimum_is_said_to_be_missing_and_how_to_make_it(
    monkeypatch: pytest.MonkeyPatch, tiny_model: TinyModel, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none" / "python"))
    with pytest.raises(RuntimeMissing, match=f"{VARIABLE} names .*make optimum"):
        made(tiny_model("llama"), tmp_path / "out", "onnx-optimum-fp32")
    assert not (tmp_path / "out").exists()


def test_a_python_without_optimum_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(python))
    with pytest.raises(RuntimeMissing, match="has no optimum-onnx"):
        optimum_python()


@pytest.mark.parametrize("method", ["gptq", "sparsegpt", "llama.cpp"])
def test_a_method_that_optimum_does_not_know_is_refused(method: str) -> None:
    with pytest.raises(CompressionSettingsInvalid, match="rounded to nearest"):
        compression_recipe(
            CompressionRequest(
                model="model", method=method, format="onnx-optimum-int8", calibration=MIX
            )
        )


def test_classes_are_exported_for_what_they_do(
    tiny_model: TinyModel, encoder: Callable[[str], Path]
) -> None:
    assert optimum_task(read_model(tiny_model("gpt2"))) == DECODER
    for name, task in {
        "BertModel": "feature-extraction",
        "BertForSequenceClassification": "text-classification",
    }.items():
        assert optimum_task(read_model(encoder(name))) == task
    with pytest.raises(ExportRefused, match="BertForQuestionAnswering"):
        optimum_task(read_model(encoder("BertForQuestionAnswering")))


def test_rotary_positions_are_told_in_the_words_of_transformers_4(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    _write_older_checkpoint(tiny_model("llama-tied-llama3-rope"), tmp_path / "older", tied=True)
    config = json.loads((tmp_path / "older" / "config.json").read_text())
    assert "rope_parameters" not in config
    assert config["rope_theta"] == 500_000.0
    assert config["rope_scaling"]["rope_type"] == "llama3"
    assert config["rope_scaling"]["factor"] == 8.0


def test_the_number_of_experts_is_told_in_the_words_of_transformers_4(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    _write_older_checkpoint(tiny_family("qwen3_moe"), tmp_path / "older", tied=False)
    assert json.loads((tmp_path / "older" / "config.json").read_text())["num_experts"] == 4


@pytest.mark.optimum
@pytest.mark.parametrize("family", ["llama-tied-llama3-rope", "gpt2", "gemma3"])
def test_a_decoders_float_export_writes_the_sources_text(
    tiny_model: TinyModel, tmp_path: Path, family: str
) -> None:
    result = made(tiny_model(family), tmp_path / "out", "onnx-optimum-fp32")
    found = details(result)
    assert found["token ids"].startswith("equal on all")
    assert "after 20 prompts are the source's" in found["greedy text"]
    assert "IR version 8, operator sets ai.onnx 18" in found["graph"]
    assert "optimum-onnx 0.1.0 (optimum 2.1.0, transformers 4.57.6" in found["graph"]
    assert not read_onnx_folder(result.folder / result.file).shares_cache


@pytest.mark.optimum
@pytest.mark.parametrize(
    "family", ["olmo3", "seed_oss", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe"]
)
def test_decoders_without_a_row_and_mixtures_of_experts_write_the_sources_text(
    tiny_family: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    found = details(made(tiny_family(family), tmp_path / "out", "onnx-optimum-fp32"))
    assert "after 20 prompts are the source's" in found["greedy text"]


@pytest.mark.optimum
def test_a_graph_that_left_experts_out_is_no_artifact(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its experts are chosen by a layout of their own, which tracing fixes."""
    with pytest.raises(ArtifactRejected, match=r"granitemoe.*traced with.*choose a GGUF"):
        made(tiny_family("granitemoe"), tmp_path / "out", "onnx-optimum-fp32")
    assert not (tmp_path / "out").exists()


@pytest.mark.optimum
def test_a_decoders_int8_matrices_hold_bytes_and_its_divergence_is_told(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    source = tiny_model("llama")
    result = made(source, tmp_path / "out", "onnx-optimum-int8")
    assert set(result.types.values()) == {"UINT8"}
    assert details(result)["divergence"].startswith("KL 0.0")
    own = (result.folder / result.file / "tokenizer.json").read_bytes()
    assert own == (source / "tokenizer.json").read_bytes()


@pytest.mark.optimum
def test_a_growing_cache_can_be_rewound_to_a_shared_prefix(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Choices are scored after a context that is run once; each alone must score the same."""
    find_optimum_exporter().export_format(
        read_model(tiny_model("llama")), tmp_path / "out", "onnx-optimum-fp32"
    )
    settings = RunSettings(context=128, micro_batch=16, threads=1, kv_type="F32")
    context, choices = "The answer to this is:", [" yes", " no, not at all", " perhaps"]

    def scores(*asked: str) -> list[float]:
        return find_runtime("onnx").score(tmp_path / "out", settings, [(context, asked)])[0]

    together = scores(*choices)
    assert together == pytest.approx([scores(choice)[0] for choice in choices], abs=1e-4)


@pytest.mark.optimum
@pytest.mark.parametrize("name", ["BertModel", "BertForSequenceClassification"])
@pytest.mark.parametrize("format_name", ["onnx-optimum-fp32", "onnx-optimum-int8"])
def test_an_encoder_gives_what_its_source_gives(
    encoder: Callable[[str], Path], tmp_path: Path, name: str, format_name: str
) -> None:
    result = made(encoder(name), tmp_path / "out", format_name)
    assert "on 20 texts within" in details(result)["outputs"]
    session = onnxruntime.InferenceSession(str(result.folder / result.file / GRAPH))
    ids = np.array([[1, 17, 99, 40]], dtype=np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": 0 * ids}
    output = session.run(None, inputs)[0]
    assert output.shape == ((1, 2) if "Sequence" in name else (1, 4, 64))


@pytest.mark.optimum
def test_a_graph_by_optimum_runs_in_onnxruntime_genai(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    import onnxruntime_genai

    folder = tmp_path / "out"
    find_optimum_exporter().export_format(
        read_model(tiny_model("llama")), folder, "onnx-optimum-fp32"
    )
    settings = RunSettings(context=64, threads=1, kv_type="F32")
    (wanted,) = find_runtime("onnx").complete(folder, settings, ["Hello world"], [8])
    (prompt,) = find_runtime("onnx").tokenize(
        folder, ["Hello world"], add_special=True, parse_special=True
    )
    model = onnxruntime_genai.Model(str(folder))
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + len(wanted.tokens))
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    assert list(generator.get_sequence(0))[len(prompt) :] == list(wanted.tokens)


def test_generation_configs_end_tokens_reach_the_generators(  # P8
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama"), folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 2]}))
    said = _generation_config(read_model(folder))["model"]
    assert said["eos_token_id"] == [2, 3] and said["pad_token_id"] == 2
