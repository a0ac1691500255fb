"""The worker that runs the onnxruntime-genai model builder, and the ONNX checker, on one model.

The builder imports its own top-level modules, prints, and holds the whole model in memory: all of
that stays in this process. It is kept from the network, and no code of a model is run.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from edgecomp.common.errors import ExportRefused
from edgecomp.common.events import Progress
from edgecomp.models.huggingface.model import language_config
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.processes.child import serve
from edgecomp.runtimes.heard import Heard, counted_steps

LAYER_BEGUN = re.compile(r"^Reading layer (\d+)", re.MULTILINE)
"""What the builder prints before it takes a layer in (models/builders/base.py)."""

RUNTIME_OPERATORS = ("SimplifiedLayerNormalization",)
"""Operators that ONNX Runtime keeps in ONNX's own domain, where the checker does not know them."""


def build(
    checkpoint: str,
    destination: str,
    precision: str,
    provider: str,
    options: dict[str, Any],
    progress: Progress,
) -> None:
    """Write the Hugging Face folder `checkpoint` as ONNX into `destination`.

    `options` are the builder's extra options. `progress` counts layers. Raises ExportRefused with
    the builder's reason.
    """
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    from onnxruntime_genai.models import builder

    # Typed values: the builder reads text only from its own command line.
    chosen = {"hf_token": "false", **{key: str(value) for key, value in options.items()}}
    given = [f"{key}={value}" for key, value in chosen.items()]
    config = language_config(read_json(Path(checkpoint) / "config.json"))
    layers = int(config.get("num_hidden_layers") or 0)
    heard = Heard(sys.stdout, counted_steps(LAYER_BEGUN, progress, layers) if layers else None)
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as cache, redirect_stdout(heard):
        try:
            parsed = builder.parse_extra_options(
                None, checkpoint, destination, precision, provider, cache, given
            )
            builder.create_model(
                None, checkpoint, destination, precision, provider, cache, **parsed
            )
        except OSError:
            raise
        except Exception as error:
            # The builder refuses what it does not know by exceptions of many kinds.
            raise ExportRefused(
                f"The ONNX builder cannot write {checkpoint} as {precision} for {provider}: "
                f"{type(error).__name__}: {error}. A GGUF artifact may be possible."
            ) from error


def check(folder: str, progress: Progress) -> str:
    """The fault that ONNX's checker or strict shape inference finds in `folder`'s graph, or ""."""
    import onnx

    from edgecomp.models.onnx_folder import GRAPH

    graph = onnx.load(Path(folder) / GRAPH, load_external_data=False)
    for node in graph.graph.node:
        if node.op_type in RUNTIME_OPERATORS:
            node.domain = "com.microsoft"
    # The checker looks for external data beside a file, so what it reads must lie in the folder.
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".onnx") as file:
        file.write(graph.SerializeToString())
        file.flush()
        try:
            onnx.checker.check_model(file.name)
            # Shapes between nodes are inferred anew: the builder notes some constants' loosely.
            del graph.graph.value_info[:]
            onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            return str(error)
    return ""


def check_config(folder: str, progress: Progress) -> str:
    """What onnxruntime-genai's parser says against `folder`'s genai_config.json, or ""."""
    import onnxruntime_genai

    try:
        onnxruntime_genai.Config(folder)
    except Exception as error:
        # The library raises RuntimeError, and what its JSON reader throws.
        return str(error)
    return ""


if __name__ == "__main__":
    serve({"build": build, "check": check, "check_config": check_config})
