"""Methods end to end: what a solver chose is what the GGUF file holds, bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ggml_rounding import stored_bytes, stored_values, write_twice, write_typed
from quantized_checkpoints import gptq_parts, write_quantized
from safetensors.torch import load_file, save_file

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.common.errors import (
    CalibrationRefused,
    CompressionSettingsInvalid,
    NotWritable,
    WeightsNotFinite,
)
from edgecomp.common.events import Event, StageFinished, StageStarted, Warned, ignore
from edgecomp.common.folders import cache_folder
from edgecomp.compress.packed import read_packed, read_packed_index
from edgecomp.formats.exporting import find_exporter
from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.presets import SOURCE
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.making.gguf import make_artifact
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.pipeline.run import Run
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import method_of, read_recipe, sparsity_percent

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)


def made(source: Path, folder: Path, method: str, format_name: str = "Q4_0") -> Compressed:
    recipe = compression_recipe(
        CompressionRequest(model=str(source), method=method, format=format_name, calibration=MIX)
    )
    return compress(recipe, folder, None, ignore)


def values(path: Path) -> dict[str, np.ndarray]:
    """The dequantized matrices inside the blocks of a GGUF file."""
    header = read_gguf_header(path)
    return {
        tensor.name: np.concatenate([piece.ravel() for piece in float32_pieces(header, tensor)])
        for tensor in header.tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1
    }


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


def test_a_mixture_whose_routers_rounding_turns_is_judged_by_its_exact_weights(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """In BF16 kernels tokens go to other experts than in the source, which is no export's fault."""
    result = made(tiny_model("mixtral", "bfloat16"), tmp_path / "out", "rtn", "Q8_0")
    greedy = next(check for check in result.checks if check.name == "greedy text")
    assert greedy.passed and "as F32" in greedy.detail
    assert not [*(cache_folder() / "stages").glob("check-base-*/*.gguf")]


def test_a_model_is_known_by_the_name_of_its_own_folder(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "the same model in a folder whose name is far longer"
    shutil.copytree(source, copy)
    for folder in (source, copy):
        result = made(folder, tmp_path / f"of {folder.name}", "rtn", "Q8_0")
        header = read_gguf_header(result.folder / result.file)
        assert header.get("general.name") == folder.name


@pytest.mark.parametrize(("trained", "context"), [(4096, 2048), (512, 512)])
def test_nothing_is_set_up_for_more_than_it_was_trained_for(
    source: Path, tmp_path: Path, trained: int, context: int
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = trained
    (folder / "config.json").write_text(json.dumps(config))
    recipe = compression_recipe(
        CompressionRequest(model=str(folder), method="rtn", format="Q8_0", calibration=MIX)
    )
    assert recipe.settings.context == context


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    source: Path, tmp_path: Path
) -> None:
    place = tmp_path / "a file"
    place.write_text("")
    heard: list[Event] = []
    recipe = compression_recipe(
        CompressionRequest(model=str(source), method="rtn", format="Q8_0", calibration=MIX)
    )
    with pytest.raises(NotWritable, match="it is a file"):
        compress(recipe, place, None, heard.append)
    assert not heard


@pytest.mark.parametrize(
    ("family", "method", "format_name"),
    [
        ("llama", "gptq", "Q4_0"),
        ("llama", "gptq", "Q8_0"),
        ("llama", "awq+gptq", "Q5_1"),
        ("llama", "rtn", "IQ4_NL"),
        ("mixtral", "gptq", "Q4_0"),
        ("qwen2moe", "awq+gptq", "Q4_0"),
        ("qwen3moe", "awq", "Q4_1"),
    ],
)
def test_what_llama_cpp_dequantizes_is_what_the_solver_chose(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str, method: str, format_name: str
) -> None:
    result = made(tiny_model(family), tmp_path / "out", method, format_name)
    file = result.folder / result.file
    newest = max(
        (cache_folder() / "stages").glob("rounding-*/checkpoint"),
        key=lambda path: path.stat().st_mtime,
    )
    chosen = tmp_path / "chosen.gguf"
    base = next((cache_folder() / "stages").glob("intake-*/base-*.gguf"))
    find_exporter("gguf").export(read_model(newest), chosen, "F32", vocabulary=base)
    in_file, by_solver = values(file), values(chosen)
    assert in_file.keys() == by_solver.keys()
    for name in in_file:
        half = result.types[name] == "F16"  # columns that no block divides
        expected = by_solver[name].astype(np.float16) if half else by_solver[name]
        assert np.array_equal(in_file[name], expected), name


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_the_same_recipe_again_takes_every_stage_from_the_cache(  # A10
    source: Path, tmp_path: Path, kind: str
) -> None:
    model = source
    if kind == "gguf":
        model = tmp_path / "source.gguf"
        find_exporter("gguf").export(read_model(source), model, "F16")
    recipe = compression_recipe(
        CompressionRequest(model=str(model), method="gptq", format="Q4_0", calibration=MIX)
    )
    events: list[list[Event]] = [[], []]
    files = []
    for number in (0, 1):
        result = compress(recipe, tmp_path / str(number), None, events[number].append)
        files.append((result.folder / result.file).read_bytes())
    first, again = ([e for e in rows if isinstance(e, StageFinished)] for rows in events)
    assert files[0] == files[1]
    assert [e.stage for e in first] == [e.stage for e in again] and len(again) > 3
    assert all(event.cached for event in again)


def test_folded_scales_reach_the_norms_of_the_file(source: Path, tmp_path: Path) -> None:
    """AWQ divides a norm by what it multiplies into the next matrices."""
    plain, folded = (
        read_gguf_header(r.folder / r.file)
        for r in (made(source, tmp_path / m, m) for m in ("gptq", "awq+gptq"))
    )
    norms = [
        np.concatenate([p.ravel() for p in float32_pieces(h, t)])
        for h in (plain, folded)
        for t in h.tensors
        if t.name == "blk.0.attn_norm.weight"
    ]
    assert not np.array_equal(norms[0], norms[1])


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "magnitude"])
def test_half_of_the_weights_are_zero_in_the_shipped_file(
    source: Path, tmp_path: Path, method: str
) -> None:
    result = made(source, tmp_path / "out", method, "F16")
    for name, weights in values(result.folder / result.file).items():
        assert np.mean(weights == 0) == pytest.approx(0.5, abs=0.02), name


def test_the_embedding_is_never_touched_by_pruning(source: Path, tmp_path: Path) -> None:
    result = made(source, tmp_path / "out", "wanda", "F16")
    header = read_gguf_header(result.folder / result.file)
    (embedding,) = (t for t in header.tensors if t.name == "token_embd.weight")
    found = np.concatenate([p.ravel() for p in float32_pieces(header, embedding)])
    stored = stored_tensors(source)["model.embed_tokens.weight"]
    original = np.memmap(stored.file, np.float32, "r", stored.start, stored.shape)
    assert np.array_equal(found, original.astype(np.float16).astype(np.float32).ravel())


def test_r30_pruning_for_reasoning_without_its_calibration_is_refused(
    source: Path, tmp_path: Path
) -> None:
    """R30, R35: the override is explicit."""
    mix = CalibrationMix(samples={"text": 128}, row_tokens=64)
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="wanda",
            format="F16",
            calibration=mix,
            constraints=Constraints(task="reasoning"),
        )
    )
    with pytest.raises(CalibrationRefused, match="matches the task reasoning"):
        compress(recipe, tmp_path / "out", None, ignore)
    assert not (tmp_path / "out").exists()
    forced = recipe.model_copy(update={"any_calibration": True})
    assert compress(forced, tmp_path / "out", None, ignore).calibration is not None


@pytest.mark.parametrize(
    ("method", "format_name", "said"),
    [("gtpq", "Q4_0", "no method 'gtpq'"), ("gptq", "Q4_9", "no format 'Q4_9'")],
)
def test_an_unknown_method_or_format_is_named(method: str, format_name: str, said: str) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=said):
        compression_recipe(
            CompressionRequest(model="demo", method=method, format=format_name, calibration=MIX)
        )


def listened(
    source: Path,
    folder: Path,
    format_name: str,
    types: dict[str, str] | None = None,
    method: str = "gptq",
) -> tuple[Compressed, set[str]]:
    """What a method made of a model, and the stages that it took; `types`: some tensors' own."""
    recipe = compression_recipe(
        CompressionRequest(model=str(source), method=method, format=format_name, calibration=MIX)
    )
    recipe = recipe.model_copy(update={"tensor_types": types or {}})
    stages: set[str] = set()

    def listen(event: Event) -> None:
        if isinstance(event, StageStarted | StageFinished):
            stages.add(event.stage)

    return compress(recipe, folder, None, listen), stages


@pytest.mark.parametrize(
    "kind",
    [
        "IQ4_XS",
        "IQ2_XXS",
        "MXFP4",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS")
        ),
    ],
)
def test_types_of_few_bits_take_a_solvers_codes_and_need_no_importance(
    tiny_family: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    """llama.cpp's quantizer asks for one for most of them, and for embeddings of IQ2_XXS."""
    source = tiny_family("llama")
    types = {
        tensor.name: kind for tensor in read_model(source).tensors if len(tensor.shape) > 1
    } | {OUTPUT: "Q6_K"}
    result, stages = listened(source, tmp_path / "out", "Q4_0", types)
    assert "rounding" in stages and "importance" not in stages
    assert {result.types[name] for name in types} == {kind, "Q6_K"}
    newest = max(
        (cache_folder() / "stages").glob("rounding-*/checkpoint"),
        key=lambda path: path.stat().st_mtime,
    )
    index = read_packed_index(newest)
    assert index
    stored = stored_bytes(result.folder / result.file)
    solved = {n: entry for n, entry in index.tensors.items() if n.startswith("blk.")}
    assert len(solved) == 14
    for name, entry in solved.items():
        if ".attn_q." not in name and ".attn_k." not in name:  # whose rows the file permutes
            assert stored[name] == read_packed(newest, entry).numpy().tobytes(), name


def test_importance_is_not_measured_where_a_solver_chose_all_it_would_weigh(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    tied = tiny_model("llama-tied-llama3-rope")
    result, stages = listened(tied, tmp_path / "out", "Q4_0")
    assert "rounding" in stages and "importance" not in stages
    recipe = read_recipe(tmp_path / "out" / "recipe.yaml")
    planned = tensor_types_of(read_model(tied), "Q4_0", importance=recipe.importance)
    assert result.types == planned


@pytest.mark.parametrize(
    ("method", "kind", "measured"),
    [("awq", "Q4_0", True), ("awq", "Q8_0", False), ("gptq", "Q4_0", False)],
)
def test_importance_is_measured_for_an_output_head_that_it_weighs(
    source: Path, tmp_path: Path, method: str, kind: str, measured: bool
) -> None:
    """llama.cpp rounds to Q8_0 alike with and without it (A31); GPTQ chooses the head's codes."""
    _, stages = listened(source, tmp_path / "out", "Q4_0", {"output.weight": kind}, method)
    assert ("importance" in stages) == measured


def test_a_quantized_checkpoint_is_made_float_first_and_its_user_told(
    source: Path, tmp_path: Path
) -> None:
    config = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    write_quantized(source, tmp_path / "gptq", config, gptq_parts)
    recipe = compression_recipe(
        CompressionRequest(
            model=str(tmp_path / "gptq"), method="gptq", format="Q8_0", calibration=MIX
        )
    )
    events: list[Event] = []
    result = compress(recipe, tmp_path / "out", None, events.append)
    assert all(check.passed for check in result.checks)
    warned = [event.text for event in events if isinstance(event, Warned)]
    assert any("quantized (gptq INT4)" in text and "second time" in text for text in warned)


@pytest.mark.parametrize("method", ["rtn", "awq+gptq"])
def test_symmetric_codes_of_a_checkpoint_come_back_as_q4_0(
    tiny_model: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    """AWQ finds no scale that is better than none."""
    config = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    folder = tmp_path / "gptq"
    stored = write_quantized(tiny_model("qwen2"), folder, config, gptq_parts, symmetric=True)
    result = made(folder, tmp_path / "out", method)
    found = values(result.folder / result.file)
    for role, name in (("mlp.down_proj", "ffn_down"), ("self_attn.v_proj", "attn_v")):
        wanted = stored[f"model.layers.1.{role}.weight"].numpy().ravel()
        np.testing.assert_array_equal(found[f"blk.1.{name}.weight"], wanted)


def test_what_made_a_file_is_known_when_it_is_evaluated(source: Path, tmp_path: Path) -> None:
    """A verdict's remedy for a pruned file is another than for a rounded one."""
    result = made(source, tmp_path / "out", "magnitude", "Q8_0")
    recipe = find_artifact(str(result.folder / result.file)).recipe
    assert recipe is not None and recipe == read_recipe(result.folder / "recipe.yaml")
    assert (method_of(recipe), sparsity_percent(recipe)) == ("pruning", 50.0)
    renamed = (result.folder / result.file).rename(result.folder / "other.gguf")
    assert find_artifact(str(renamed)).recipe is None


def test_a_mixture_that_comes_as_gguf_is_rounded_expert_by_expert(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """R31: it is said where the calibration seldom reached an expert."""
    file = find_exporter("gguf").export(read_model(tiny_model("mixtral")), tmp_path / "m.gguf").path
    mix = CalibrationMix(samples={"math": 1}, row_tokens=16)
    recipe = compression_recipe(
        CompressionRequest(
            model=str(file), method="awq+gptq", format="Q4_0", calibration=mix, any_calibration=True
        )
    )
    events: list[Event] = []
    result = compress(recipe, tmp_path / "out", None, events.append)
    assert all(check.passed for check in result.checks)
    assert result.types["blk.1.ffn_up_exps.weight"] == "Q4_0"
    assert result.types["blk.1.ffn_gate_inp.weight"] == "F32"
    said = [event.text for event in events if isinstance(event, Warned)]
    assert any("of 8 experts saw fewer than 32 of the calibration's tokens" in s for s in said)


def test_a_quantized_checkpoint_of_experts_is_refused_by_name_and_a_format_named(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"mixture of experts.*GGUF"):
        made(tiny_model("qwen3moe"), tmp_path / "out", "gptq", "gptq-int4-g32")


def test_nothing_is_calibrated_where_nothing_depends_on_it(  # A31
    source: Path, tmp_path: Path
) -> None:
    heard: list[Event] = []
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="llama.cpp",
            format="Q8_0",
            calibration=CalibrationMix(samples={"text": 8}),
        )
    )
    (tmp_path / "data").mkdir()
    result = compress(recipe, tmp_path / "out", tmp_path / "data", heard.append)
    assert result.calibration is None
    assert not [e for e in heard if isinstance(e, StageStarted) and "alibration" in e.title]


def test_rows_of_calibration_end_with_the_models_positions(  # P16
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """GPT-2's positions are learned: there is no 257th."""
    heard: list[Event] = []
    mix = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=300)
    recipe = compression_recipe(
        CompressionRequest(
            model=str(tiny_model("gpt2")), method="gptq", format="Q4_0", calibration=mix
        )
    )
    result = compress(recipe, tmp_path / "out", None, heard.append)
    assert result.calibration and result.calibration.mix.row_tokens == 256
    said = [event.text for event in heard if isinstance(event, Warned)]
    assert sum("cut to the 256 tokens of the model's context" in text for text in said) == 1


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_source_with_a_weight_that_is_no_number_is_refused_by_its_name(  # P20
    tiny_model: Callable[..., Path], tmp_path: Path, wrong: float
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama", "bfloat16"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = wrong
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsNotFinite, match=r"layers\.1\.mlp\.down_proj\.weight holds NaN"):
        made(folder, tmp_path / "out", "llama.cpp", "Q4_0")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq+gptq"])
def test_rows_and_norms_that_are_all_zero_stay_zero(  # P25
    tiny_model: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][7] = 0
    weights["model.layers.0.input_layernorm.weight"][5] = 0
    weights["model.layers.1.mlp.gate_proj.weight"][:, 3] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = made(folder, tmp_path / "out", method)
    found = values(result.folder / result.file)
    assert all(np.isfinite(matrix).all() for matrix in found.values())
    assert not found["blk.0.ffn_up.weight"].reshape(96, 64)[7].any()


@pytest.fixture(scope="module")
def stored_twice(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied model whose file holds the embedding at 5 bits and, as its head, at 8."""
    folder = tmp_path_factory.mktemp("twice")
    model = read_model(tiny_model("qwen2"))
    single = find_exporter("gguf").export(model, folder / "once.gguf", "F16").path
    return write_twice(single, folder / "twice.gguf", "Q5_0", "Q8_0")


@pytest.mark.parametrize("method", ["llama.cpp", "gptq"])
def test_a_matrix_that_a_file_holds_twice_is_shipped_once_from_its_better_copy(  # A24
    stored_twice: Path, tmp_path: Path, method: str
) -> None:
    result = made(stored_twice, tmp_path / "out", method)
    assert all(check.passed for check in result.checks)
    assert OUTPUT not in result.types and result.types[EMBEDDING] == "Q8_0"
    shipped = stored_values(read_gguf_header(result.folder / result.file), EMBEDDING)
    better = stored_values(read_gguf_header(stored_twice), OUTPUT)
    np.testing.assert_array_equal(shipped, better)


def test_a_file_that_holds_a_matrix_twice_is_shipped_as_it_is_where_that_is_wanted(  # A24
    stored_twice: Path, tmp_path: Path
) -> None:
    wanted = CompressionRequest(
        model=str(stored_twice), method="llama.cpp", format="Q8_0", calibration=MIX
    )
    recipe = compression_recipe(wanted).model_copy(update={"format": SOURCE})
    run = Run(read_model(stored_twice), recipe, None, ignore)
    with run.torch.kept():
        artifact = make_artifact(run)
    assert all(check.passed for check in artifact.checks)
    assert artifact.types[OUTPUT] == "Q8_0" and artifact.types[EMBEDDING] == "Q5_0"


@pytest.fixture(scope="module")
def quantized_source(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file whose first layer is Q4_0 and IQ4_NL in turn, its second Q4_0 but for the values."""
    folder = tmp_path_factory.mktemp("quantized")
    model = read_model(tiny_model("llama"))
    single = find_exporter("gguf").export(model, folder / "float.gguf", "F16").path
    matrices = [t.name for t in model.tensors if len(t.shape) > 1 and t.name.startswith("blk.")]
    types = dict.fromkeys(matrices, "Q4_0")
    types |= dict.fromkeys(matrices[0 : len(matrices) // 2 : 2], "IQ4_NL")
    types |= {"blk.1.attn_v.weight": "Q8_0", OUTPUT: "Q8_0"}
    return write_typed(single, folder / "quantized.gguf", types)


@pytest.mark.parametrize("method", ["llama.cpp", "rtn", "awq+gptq"])
def test_tensors_that_keep_their_type_keep_every_bit(
    quantized_source: Path, tmp_path: Path, method: str
) -> None:
    result = made(quantized_source, tmp_path / "out", method)
    assert all(check.passed for check in result.checks)
    before = {t.name: t.dtype for t in read_model(quantized_source).tensors}
    kept = [n for n, kind in result.types.items() if kind == before[n] and "norm" not in n]
    assert OUTPUT in kept and len(kept) > 8
    assert {before[n] for n in result.types if n not in kept} >= {"IQ4_NL", "Q8_0"}
    old, new = stored_bytes(quantized_source), stored_bytes(result.folder / result.file)
    for name in kept:
        assert new[name] == old[name], name


def test_what_a_stage_changed_is_rounded_anew(quantized_source: Path, tmp_path: Path) -> None:
    result = made(quantized_source, tmp_path / "out", "wanda", "Q4_0")
    weights = values(result.folder / result.file)
    assert np.mean(weights["blk.1.ffn_up.weight"] == 0) == pytest.approx(0.5, abs=0.05)
