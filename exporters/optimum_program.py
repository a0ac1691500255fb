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
    """Trace the checkpoint; optimum compares the graph's outputs with torch's."""
    from optimum.exporters.onnx import main_export

    main_export(
        checkpoint,
        destination,
        task=task,
        device="cpu",
        dtype="fp32",
        library_name="transformers",
        local_files_only=True,
        trust_remote_code=False,
    )


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
