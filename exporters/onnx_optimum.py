"""Models as ONNX by optimum, run in an environment of its own (optimum_environment.py).

The second way beside the builder's: decoders of families that the builder does not know, and
encoders. A decoder's folder also gets the genai_config.json that ONNX Runtime's generators read.
The tokenizer's files are the source's own (onnx_tokenizer.py).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from edgecomp.common.atomic import copy_file, new_folder
from edgecomp.common.errors import ArtifactRejected, ExportRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.folders import scratch_folder
from edgecomp.formats.exporting import ExportRecord, FloatType, OnnxRecord
from edgecomp.formats.optimum_formats import (
    DECODER,
    FLOAT_FORMAT,
    OPTIMUM_FORMATS,
    optimum_bytes,
    optimum_task,
)
from edgecomp.models.huggingface.end_tokens import required_end_token_ids
from edgecomp.models.huggingface.model import language_config, read_json
from edgecomp.models.huggingface.tied_head import tied_config
from edgecomp.models.onnx_folder import CONFIG, GRAPH, TOKENIZER, load_graph, opset_versions
from edgecomp.models.rope_scaling import rope_parameters, sliding_rope_theta
from edgecomp.models.spec import ModelSpec
from edgecomp.processes.child import Child

from .onnx_tokenizer import copy_tokenizer
from .optimum_environment import optimum_python
from .other_program import run_program

PROGRAM = Path(__file__).parent / "optimum_program.py"
CHECKER = "edgecomp.exporters.onnx_builder"
TOKENIZER_FILES = (
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip


def export(
    model: ModelSpec,
    destination: Path,
    float_type: FloatType | None = None,
    progress: Progress = ignore_progress,
) -> ExportRecord:
    """Write `model` with F32 weights, the only float type."""
    if float_type not in (None, "F32"):
        raise ExportRefused(f"Optimum does not write {float_type} for the CPU. Choose F32.")
    return export_format(model, destination, FLOAT_FORMAT, progress)


def expected_float_size_bytes(model: ModelSpec, float_type: FloatType | None = None) -> int:
    """The size of the weights alone: small ones lie in the graph, among its nodes."""
    return optimum_bytes(model, FLOAT_FORMAT)


def export_format(
    model: ModelSpec,
    destination: Path,
    format_name: str,
    progress: Progress = ignore_progress,
) -> OnnxRecord:
    """Write `model`, a Hugging Face folder, to the folder `destination` in one of
    `edgecomp.formats.optimum_formats`, whole or not.

    Raises RuntimeMissing without optimum's environment, ExportRefused with optimum's reason,
    ArtifactRejected where the ONNX checker refuses what was made, DiskFull or NotWritable.
    """
    task, python = optimum_task(model), optimum_python()
    if task == DECODER:
        required_end_token_ids(model)
    if not (model.path / TOKENIZER).is_file():
        raise ExportRefused(
            f"{model.name} has no {TOKENIZER}, which an ONNX artifact must carry unchanged. "
            "Save the model with its fast tokenizer."
        )
    rounds = OPTIMUM_FORMATS[format_name].rounds
    with new_folder(destination) as folder:
        with scratch_folder() as scratch:
            _write_older_checkpoint(model.path, scratch / "checkpoint", tied=model.tied_embeddings)
            made = scratch / "made"
            made.mkdir()
            _run(python, model, scratch / "checkpoint", made, task, rounds=rounds)
            for file in made.glob(f"{GRAPH}*"):
                shutil.move(file, folder / file.name)
        note = _copy_files(model.path, folder)
        if task == DECODER:
            (folder / CONFIG).write_text(json.dumps(_generation_config(model), indent=1))
        with Child(CHECKER) as child:
            fault = child.call("check", progress, folder=str(folder))
        if fault:
            raise ArtifactRejected(
                f"Optimum wrote a graph of {model.name} that ONNX's checker refuses: {fault}. "
                "Nothing was kept; choose another format."
            )
        record = _record(folder, destination, format_name, note)
    return record


def _copy_files(source: Path, folder: Path) -> str:
    """Copy what goes beside the graph; returns a note on the tokenizer."""
    for name in ("config.json", *TOKENIZER_FILES):
        if (source / name).is_file():
            copy_file(source / name, folder / name)
    return copy_tokenizer(source / TOKENIZER, folder / TOKENIZER)


def _run(
    python: Path, model: ModelSpec, checkpoint: Path, made: Path, task: str, *, rounds: bool
) -> None:
    ended = run_program(
        python,
        PROGRAM,
        {"checkpoint": str(checkpoint), "destination": str(made), "task": task, "rounds": rounds},
        doing=f"Optimum exported {model.name}, which takes memory for the model and its graph,",
        instead="export it by the builder (onnx-int4-32)",
    )
    if ended.code:
        raise ExportRefused(
            f"Optimum cannot write {model.name} for {task}: "
            f"{ended.lines[-1] if ended.lines else 'no reason'}. A GGUF artifact may be possible."
        )


def _write_older_checkpoint(source: Path, folder: Path, *, tied: bool) -> None:
    """The weights, and the config in the words of transformers 4, which would take rotary positions
    and numbers of experts that it does not find for the default ones; a tied head is one by what is
    stored."""
    folder.mkdir()
    for file in source.glob("*.safetensors*"):
        (folder / file.name).symlink_to(file.resolve())
    config = read_json(source / "config.json")
    config = tied_config(config) if tied else config
    if config.get("rope_parameters"):
        parameters = rope_parameters(config)
        config["rope_theta"] = parameters.pop("rope_theta")
        config["rope_scaling"] = parameters if parameters["rope_type"] != "default" else None
        sliding = sliding_rope_theta(config)
        if sliding:
            config["rope_local_base_freq"] = sliding
        del config["rope_parameters"]
    if "num_local_experts" in config:
        config.setdefault("num_experts", config["num_local_experts"])
    (folder / "config.json").write_text(json.dumps(config))


def _generation_config(model: ModelSpec) -> dict[str, Any]:
    """genai_config.json of a graph whose cache grows; our runtime and onnxruntime-genai read it."""
    config = language_config(read_json(model.path / "config.json"))
    ends = required_end_token_ids(model)
    pad = config.get("pad_token_id")
    return {
        "model": {
            "bos_token_id": config.get("bos_token_id"),
            "eos_token_id": list(ends) if len(ends) > 1 else ends[0],
            "pad_token_id": ends[0] if pad is None else pad,
            "context_length": model.context_length,
            "type": config["model_type"],
            "vocab_size": model.vocabulary,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": GRAPH,
                "head_size": model.key_length,
                "hidden_size": model.embedding_length,
                "num_attention_heads": model.heads,
                "num_hidden_layers": model.layers,
                "num_key_value_heads": model.kv_heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": "position_ids",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": False,
            "max_length": model.context_length,
            "past_present_share_buffer": False,
        },
    }


def _record(folder: Path, destination: Path, format_name: str, note: str) -> OnnxRecord:
    graph = load_graph(folder)
    types = {1: "F32", 2: "U8", 7: "I64"}
    return OnnxRecord(
        path=destination,
        size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
        float_type="F32",
        tensors={
            tensor.name: types.get(tensor.data_type, str(tensor.data_type))
            for tensor in graph.graph.initializer
            if len(tensor.dims) > 1
        },
        notes=(note,),
        format=format_name,
        provider="cpu",
        ir_version=graph.ir_version,
        opsets=opset_versions(graph),
        builder=graph.producer_name,
    )
