"""The kinds of files that are mutated, and what a user would run on each."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from checkpoints import CONFIG, Weights, llama_weights, written_llama, written_shards

from fuzz.mutations import (
    LARGER_BYTES,
    Mutation,
    mutated_bytes,
    mutated_json,
    mutated_rows,
    mutated_safetensors,
    mutated_text,
)

DEVICE = "raspberry-pi-5-8gb"
TOKENS = 32
ROPE = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
LONG_ROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.1], "long_factor": [1.0, 2.0],
}  # fmt: skip
CONFIGS: tuple[dict[str, Any], ...] = (
    CONFIG,
    CONFIG | {"rope_parameters": ROPE, "head_dim": 4, "tie_word_embeddings": True},
    CONFIG | {"architectures": ["MistralForCausalLM"], "sliding_window": 16},
    CONFIG | {"architectures": ["Qwen2ForCausalLM"], "rope_scaling": LONG_ROPE},
    CONFIG | {"architectures": ["NewbornForCausalLM"], "num_experts": 0, "intermediate_size": [24]},
    {"architectures": ["NewbornForCausalLM"], "text_config": CONFIG, "vision_config": {"a": 1}},
    CONFIG
    | {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": {"a": {"weights": {"type": "int", "num_bits": 4, "group_size": 32}}},
        }
    },
    CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}},
)


class Kind(NamedTuple):
    """One kind of file: writes a whole example into a folder and gives the file to mutate; how it
    is mutated; and what is run on the folder."""

    example: Callable[[Path, Random], Path]
    mutate: Mutation
    run: Callable[[Path], None]
    share: int
    """How often it comes, beside the others."""


def write_input(kind: str, seed: int, folder: Path) -> Path:
    """The folder with the example of a kind, mutated by `seed`; gives the mutated file."""
    random = Random(f"{kind}-{seed}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    row = KINDS[kind]
    file = row.example(folder, random)
    file.write_bytes(row.mutate(file.read_bytes(), random))
    if row.mutate in (mutated_bytes, mutated_safetensors) and random.random() < 0.1:
        os.truncate(file, random.choice(LARGER_BYTES))
    return file


def _shown(value: Any, render: Callable[[Any], Any]) -> None:
    from rich.console import Console

    json.loads(value.model_dump_json())
    Console(file=io.StringIO(), width=120).print(render(value))


def _inspect_and_plan(path: Path) -> None:
    from edgecomp.devices.finding import find_device
    from edgecomp.models.reading import read_model
    from edgecomp.planning.planner import make_plan
    from edgecomp.recipes.constraints import Constraints
    from edgecomp.terminal.plan_tables import plan_table
    from edgecomp.terminal.tables import model_table

    model = read_model(path)
    _shown(model, model_table)
    _shown(make_plan(model, find_device(DEVICE), Constraints(context=64)), plan_table)


def _checkpoint(folder: Path, random: Random) -> None:
    tokenizer, settings = _tokenizer()
    written_llama(folder, _weights(), **random.choice(CONFIGS))
    (folder / "tokenizer.json").write_bytes(tokenizer)
    (folder / "tokenizer_config.json").write_bytes(settings)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")


@cache
def _weights() -> Weights:
    return llama_weights()


@cache
def _tokenizer() -> tuple[bytes, bytes]:
    """A byte-level BPE of few tokens, and the settings beside it."""
    letters = [chr(number) for number in range(ord("a"), ord("a") + TOKENS - 5)]
    vocabulary = {name: at for at, name in enumerate(["<unk>", "<s>", "</s>", *letters])}
    vocabulary |= {"ab": TOKENS - 2, "abc": TOKENS - 1}
    special = [
        {"id": at, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for at, name in enumerate(("<unk>", "<s>", "</s>"))
    ]  # fmt: skip
    definition = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True,
                          "trim_offsets": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocabulary,
                  "merges": [["a", "b"], ["ab", "c"]]},
    }  # fmt: skip
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": {"content": "<unk>"}, "add_bos_token": True,
        "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
        "added_tokens_decoder": {"1": {"content": "<s>", "special": True}},
    }  # fmt: skip
    return json.dumps(definition).encode(), json.dumps(settings).encode()


def _file_of_checkpoint(name: str) -> Callable[[Path, Random], Path]:
    def example(folder: Path, random: Random) -> Path:
        _checkpoint(folder, random)
        return folder / name

    return example


def _index(folder: Path, random: Random) -> Path:
    _checkpoint(folder, random)
    (folder / "model.safetensors").unlink()
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    names = list(_weights())
    half = {name: _weights()[name] for name in names[::2]}
    rest = {name: _weights()[name] for name in names[1::2]}
    written_shards(
        folder, {one: half, two: rest}, dict.fromkeys(half, one) | dict.fromkeys(rest, two)
    )
    return folder / "model.safetensors.index.json"


def _inside(folder: Path) -> None:
    from edgecomp.models.huggingface.model import stored_tensors

    for tensor in stored_tensors(folder).values():
        assert tensor.file.resolve().is_relative_to(folder.resolve()), tensor.file
    _inspect_and_plan(folder)


def _gguf(folder: Path, random: Random) -> Path:
    import gguf

    path = folder / "model.gguf"
    family = random.choice(("llama", "gemma3", "qwen2", "newborn"))
    writer = gguf.GGUFWriter(path, family)
    writer.add_name("Tiny")
    writer.add_license("mit")
    writer.add_block_count(2)
    writer.add_context_length(256)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(24)
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 2] if random.random() < 0.3 else 2)
    writer.add_sliding_window(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{number}" for number in range(TOKENS)])
    writer.add_token_types([1] * TOKENS)
    writer.add_bos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    shapes = {"attn_q": 16, "attn_k": 8, "attn_v": 8, "attn_output": 16, "ffn_gate": 24}
    writer.add_tensor("token_embd.weight", np.ones((TOKENS, 16), np.float16))
    writer.add_tensor("output_norm.weight", np.ones(16, np.float32))
    for layer in range(2):
        for name, rows in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones((rows, 16), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _recipe_example(folder: Path, random: Random) -> Path:
    from edgecomp.making.compress_job import CompressionRequest, compression_recipe
    from edgecomp.recipes.calibration_mix import preset_mix
    from edgecomp.recipes.recipe import write_recipe

    path = folder / "recipe.yaml"
    method, form = random.choice((("awq+gptq", "Q4_K_M"), ("wanda", "Q8_0"), ("llama.cpp", "Q4_0")))
    write_recipe(
        path,
        compression_recipe(
            CompressionRequest(
                model="demo", method=method, format=form, calibration=preset_mix("general")
            )
        ),
    )
    return path


def _run_recipe(path: Path) -> None:
    from edgecomp.recipes.recipe import read_recipe

    json.loads(read_recipe(path).model_dump_json())


def _profile_example(folder: Path, random: Random) -> Path:
    import importlib.resources

    shipped = importlib.resources.files("edgecomp.device_profiles")
    name = random.choice(("rtx-3060-12gb", DEVICE, "steam-deck", "jetson-orin-nano-8gb"))
    (folder / "devices").mkdir()
    path = folder / "devices" / f"{name}.toml"
    path.write_text(shipped.joinpath(f"{name}.toml").read_text("utf-8"))
    return path


def _run_profile(path: Path) -> None:
    from edgecomp.devices.finding import find_device
    from edgecomp.planning.planner import make_plan
    from edgecomp.recipes.constraints import Constraints
    from edgecomp.terminal.plan_tables import plan_table
    from edgecomp.terminal.tables import device_table

    os.environ["EDGECOMP_CONFIG"] = str(path.parent.parent)
    try:
        device = find_device(path.stem)
        _shown(device, device_table)
        _shown(make_plan(_whole_model(), device, Constraints(context=64)), plan_table)
    finally:
        del os.environ["EDGECOMP_CONFIG"]


@cache
def _whole_model() -> Any:
    """The headers of a model whose file stays for as long as the process."""
    from edgecomp.models.reading import read_model

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return read_model(_gguf(folder, Random(0)))


def _manifest_example(folder: Path, random: Random) -> Path:
    """A bundle."""
    from edgecomp.bundles.bundle import BundledFile, Manifest
    from edgecomp.recipes.recipe import read_recipe

    recipe = read_recipe(_recipe_example(folder, random))
    _gguf(folder, random)
    # A hash that is wrong: what is listed is compared, and no runtime is started.
    listed = BundledFile(size_bytes=11, sha256="0" * 64)
    manifest = Manifest(
        artifact="model.gguf", files={"model.gguf": listed, "recipe.yaml": listed}, recipe=recipe,
        device="this machine", source="huggingface", source_sha256="0" * 64,
        calibration_sha256=None, versions={"edgecomp": "0.1.0"},
    )  # fmt: skip
    path = folder / "manifest.json"
    path.write_text(manifest.model_dump_json())
    return path


def _run_manifest(path: Path) -> None:
    from edgecomp.bundles.artifact_argument import find_artifact
    from edgecomp.bundles.bundle import verify_bundle
    from edgecomp.terminal.report_tables import verification

    _shown(verify_bundle(path.parent), verification)
    find_artifact(str(path.parent))


ROWS: dict[str, dict[str, Any]] = {
    "mmlu": {"subject": "music", "question": "Lowest?", "choices": ["bass", "alto"], "answer": 0},
    "gsm8k": {"question": "2 and 3?", "answer": "2 + 3 = 5\n#### 5"},
    "mgsm": {"language": "de", "question": "2 und 3?", "answer": "5"},
    "xcopa": {
        "language": "it", "premise": "Piove.", "choice1": "Apro l'ombrello.",
        "choice2": "Vado al mare.", "question": "effect", "label": 0,
    },
    "ifeval": {
        "key": 1, "prompt": "Write.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"num_words": 5, "relation": "at least"}],
    },
    "humaneval": {
        "task_id": "T/1", "prompt": "def f():\n", "entry_point": "f", "test": "def check(f): pass",
    },
    "truthfulqa-mc1": {
        "question": "Is it?", "best_answer": "Yes", "correct_answers": ["Yes", "It is"],
        "incorrect_answers": ["No", "Never"],
    },
}  # fmt: skip


def _rows_example(folder: Path, random: Random) -> Path:
    from edgecomp.evaluate.benchmarks import BENCHMARKS

    name = random.choice(list(ROWS))
    path = folder / str(BENCHMARKS[name].file)
    (folder / "benchmark").write_text(name)
    path.write_text("".join(json.dumps(ROWS[name]) + "\n" for _ in range(3)))
    return path


def _run_rows(path: Path) -> None:
    from edgecomp.evaluate.benchmarks import BENCHMARKS
    from edgecomp.evaluate.datasets import read_benchmark

    name = (path.parent / "benchmark").read_text()
    for item in read_benchmark(BENCHMARKS[name], path.parent, limit=2):
        json.loads(item.model_dump_json())


def _run_folder(path: Path) -> None:
    _inspect_and_plan(path.parent)


KINDS = {
    "gguf": Kind(_gguf, mutated_bytes, _inspect_and_plan, 5),
    "safetensors": Kind(
        _file_of_checkpoint("model.safetensors"), mutated_safetensors, _run_folder, 3
    ),
    "config": Kind(_file_of_checkpoint("config.json"), mutated_json, _run_folder, 5),
    "index": Kind(_index, mutated_json, lambda path: _inside(path.parent), 2),
    "tokenizer": Kind(_file_of_checkpoint("tokenizer.json"), mutated_json, _run_folder, 3),
    "tokenizer-config": Kind(
        _file_of_checkpoint("tokenizer_config.json"), mutated_json, _run_folder, 2
    ),
    "recipe": Kind(_recipe_example, mutated_text, _run_recipe, 2),
    "profile": Kind(_profile_example, mutated_text, _run_profile, 2),
    "manifest": Kind(_manifest_example, mutated_json, _run_manifest, 2),
    "rows": Kind(_rows_example, mutated_rows, _run_rows, 2),
}
