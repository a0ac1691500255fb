"""What genai_config.json says for an execution provider, as onnxruntime-genai (0.18) reads it.

Under `model.decoder.session_options.provider_options` stands the provider with its options, all of
them texts; `search` bounds the cache, which that library takes whole before it begins.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from edgecomp.common.atomic import replacing, write_text
from edgecomp.common.events import ignore_progress
from edgecomp.formats.execution_providers import ExecutionProvider, execution_provider
from edgecomp.formats.exporting import ServedLimits
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.models.onnx_folder import CONFIG
from edgecomp.processes.child import Child

WORKER = "edgecomp.exporters.onnx_builder"


def genai_config(
    built: dict[str, Any], provider: ExecutionProvider, limits: ServedLimits
) -> dict[str, Any]:
    """The builder's configuration with a provider, its options, and a plan's context, batch and
    threads. A context longer than the model's is cut to it."""
    config = copy.deepcopy(built)
    session = config["model"]["decoder"]["session_options"]
    options = [{provider.config_name: dict(provider.options)}]
    session["provider_options"] = [] if provider.name == "cpu" else options
    session["intra_op_num_threads"] = limits.threads
    search = config["search"]
    search["max_length"] = min(limits.context, config["model"]["context_length"])
    search["batch_size"] = limits.sequences
    if limits.sequences == 1:
        # The library reads prompts in parts for one sequence only.
        search["chunk_size"] = limits.chunk
    return config


def configure(folder: Path, provider: str, limits: ServedLimits) -> str:
    """Write the configuration of the ONNX `folder` for a provider; what onnxruntime-genai's own
    parser says against it, or "".

    The parser refuses entries that it does not know; whether a provider computes is not asked.
    Raises CompressionSettingsInvalid for a provider that is none, NotWritable or DiskFull.
    """
    place = folder / CONFIG
    config = genai_config(read_json(place), execution_provider(provider), limits)
    with replacing(place) as temporary:
        write_text(temporary, json.dumps(config, indent=4) + "\n")
    with Child(WORKER) as child:
        return str(child.call("check_config", ignore_progress, folder=str(folder)))
