"""Run by the Python of optimum's own environment: nothing of edgecomp is imported here.

    python optimum_program.py '{"checkpoint": ..., "destination": ..., "task": ..., "rounds": ...}'

Writes `model.onnx` into the folder `destination`; the tools' versions stand in the graph as its
producer.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from types import MethodType
from typing import Any

DECODER = "text-generation-with-past"
ROWS_TRIED = 64
"""Tokens by which a block of experts is compared: enough for most experts to be asked."""

TOOLS = ("optimum", "transformers", "torch", "onnx", "onnxruntime")
LARGEST_SINGLE_FILE = 2**31 - 2**26
"""A protobuf file holds less than 2 GiB; larger weights go beside it."""


def main() -> None:
    """Export, and round where that is asked for."""
    wanted = json.loads(sys.argv[1])
    destination = Path(wanted["destination"])
    export(wanted["checkpoint"], destination, wanted["task"])
    if wanted["rounds"]:
        round_dynamically(destination)
    name_the_tools(destination / "model.onnx")


def export(checkpoint: str, destination: Path, task: str) -> None:
    """Trace the checkpoint; optimum compares the graph's outputs with torch's.

    A decoder of a family that optimum has no row for is traced with the inputs and the cache of any
    other: attention with keys and values of each layer, and positions.
    """
    from optimum.exporters.onnx import main_export
    from optimum.exporters.onnx.model_configs import LlamaOnnxConfig
    from optimum.exporters.tasks import TasksManager
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint)
    usual: dict[str, Any] = {}
    if task == DECODER and config.model_type not in TasksManager._SUPPORTED_MODEL_TYPE:
        inputs = LlamaOnnxConfig(
            config, task="text-generation", use_past=True, use_past_in_inputs=True
        )
        usual = {"custom_onnx_configs": {"model": inputs}, "fn_get_submodels": traceable}
    main_export(
        checkpoint,
        destination,
        task=task,
        device="cpu",
        dtype="fp32",
        library_name="transformers",
        local_files_only=True,
        trust_remote_code=False,
        **usual,
    )


def traceable(model: Any) -> dict[str, Any]:
    """The model, whose blocks of experts take another way to the same numbers.

    As they are, they go through the experts that were asked for while the graph is traced, and
    leave out the others. A block for which every expert in turn does not give the same stays as it
    is: its graph is then refused by the comparison with torch.
    """
    import torch

    for block in model.modules():
        experts, router = (getattr(block, name, None) for name in ("experts", "gate"))
        if not (isinstance(experts, torch.nn.ModuleList) and isinstance(router, torch.nn.Linear)):
            continue
        states = torch.randn(1, ROWS_TRIED, router.in_features)
        with torch.no_grad():
            wanted, found = block(states), every_expert(block, states)
        if isinstance(wanted, tuple) and torch.allclose(wanted[0], found[0], atol=1e-5, rtol=1e-4):
            block.forward = MethodType(every_expert, block)
    return {"model": model}


def every_expert(block: Any, states: Any) -> tuple[Any, Any]:
    """A block of experts after Mixtral (arXiv 2401.04088, section 2.1), each expert in turn with
    the tokens that chose it; with Qwen2's shared expert where there is one."""
    import torch

    rows = states.flatten(0, 1)
    logits = block.gate(rows)
    weights, chosen = logits.float().softmax(-1).topk(block.top_k, dim=-1)
    if getattr(block, "norm_topk_prob", True):
        weights = weights / weights.sum(-1, keepdim=True)
    total = torch.zeros_like(rows)
    for number, expert in enumerate(block.experts):
        token, place = torch.where(chosen == number)
        answers = expert(rows[token]) * weights[token, place, None].to(rows.dtype)
        total = total.index_add(0, token, answers)
    if hasattr(block, "shared_expert"):
        gate = block.shared_expert_gate(rows).sigmoid()
        total = total + gate * block.shared_expert(rows)
    return total.reshape(states.shape), logits


def round_dynamically(folder: Path) -> None:
    """Put unsigned int8 matrices, one scale a column, in place of the float ones.

    Weights and activations are both unsigned: with signed weights, x86 processors without VNNI
    saturate in the sum of two products.
    """
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer

    large = sum(file.stat().st_size for file in folder.glob("model.onnx*")) > LARGEST_SINGLE_FILE
    scheme = AutoQuantizationConfig.avx2(
        is_static=False, per_channel=True, nodes_to_exclude=without_weights(folder / "model.onnx")
    )
    quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
    rounded = folder / "rounded"
    quantizer.quantize(
        save_dir=rounded, quantization_config=scheme, file_suffix="", use_external_data_format=large
    )
    for file in folder.glob("model.onnx*"):
        file.unlink()
    for file in rounded.glob("model.onnx*"):
        file.rename(folder / file.name)
    for file in rounded.iterdir():
        file.unlink()
    rounded.rmdir()


def without_weights(graph: Path) -> list[str]:
    """The products of two activations, which stay float: attention's scores and their use, and the
    angles of rotary positions, which eight bits would blur."""
    import onnx

    found = onnx.load(graph, load_external_data=False).graph
    weights = {tensor.name for tensor in found.initializer}
    weights |= {
        name
        for node in found.node
        if node.op_type == "Transpose" and node.input[0] in weights
        for name in node.output
    }
    return [n.name for n in found.node if n.op_type == "MatMul" and n.input[1] not in weights]


def name_the_tools(graph: Path) -> None:
    """Write the versions of all that made the graph into it."""
    import onnx

    model = onnx.load(graph, load_external_data=False)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in TOOLS)
    model.producer_name = f"optimum-onnx {importlib.metadata.version('optimum-onnx')} ({versions})"
    model.producer_version = ""
    onnx.save(model, graph)


if __name__ == "__main__":
    main()
