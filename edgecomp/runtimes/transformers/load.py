"""A folder's model as transformers runs it. Runs in a worker process only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.safe_text import one_line
from edgecomp.models.float_conversion import stored_array
from edgecomp.models.huggingface.dequantized import dequantize
from edgecomp.models.huggingface.quantization_config import SAID_IN, read_quantization
from edgecomp.models.huggingface.quantized import joined_tensors, quantized_linears
from edgecomp.models.huggingface.weight_files import read_json, stored_tensors
from edgecomp.runtimes.transformers.kernels import KERNELS
from edgecomp.runtimes.transformers.loading import Loading, loading_of

LONGEST_REASON = 300


def card_bytes() -> int | None:
    """The memory of the first card; None where torch has none."""
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)


def load_model(folder: Path) -> PreTrainedModel:
    """The model of `folder`, on the first card or else on the processor, ready to run.

    No code of the folder is run and nothing is fetched. Raises RuntimeRefused, and what
    `loading_of` raises.
    """
    loading = loading_of(folder, card_bytes())
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        known = type(config) in AutoModelForCausalLM._model_mapping
        auto = AutoModelForCausalLM if known else AutoModelForImageTextToText
        kind: Any = auto._model_mapping[type(config)]
        model, found = kind.from_pretrained(
            **_source(folder, config, loading),
            dtype=loading.dtype if loading.dtype == "auto" else getattr(torch, loading.dtype),
            output_loading_info=True,
        )
    except RuntimeRefused:
        raise
    except Exception as error:
        # transformers and its quantizers raise what they like.
        reason = one_line(f"{type(error).__name__}: {error}", LONGEST_REASON)
        raise _refusal(folder, loading, reason) from error
    if loading.method and not loading.dequantized and not hasattr(model, "hf_quantizer"):
        # It loads what it can of a method that it does not know.
        raise _refusal(folder, loading, "this version of transformers does not know it")
    if found["missing_keys"]:
        raise RuntimeRefused(
            f"transformers finds no weights for {sorted(found['missing_keys'])[0]} in {folder}: "
            "the folder is incomplete, or of a family that this version reads otherwise."
        )
    made: PreTrainedModel = model
    if torch.cuda.is_available():
        made.to("cuda")  # type: ignore[arg-type]
    made.train(mode=False)
    return made


def _source(folder: Path, config: Any, loading: Loading) -> dict[str, Any]:
    """What transformers is to load: the folder, or the floats that its codes stand for."""
    if not loading.dequantized:
        return {
            "pretrained_model_name_or_path": folder,
            "local_files_only": True,
            "trust_remote_code": False,
            "use_safetensors": True,
        }
    for entry in SAID_IN:
        if hasattr(config, entry):
            delattr(config, entry)
    return {
        "pretrained_model_name_or_path": None,
        "config": config,
        "state_dict": dequantized_weights(folder),
    }


def dequantized_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a quantized folder by name: float32 for the quantized linears, and the others
    as they are stored."""
    quantization = read_quantization(read_json(folder / "config.json"), folder)
    assert quantization is not None
    stored = stored_tensors(folder)
    linears = quantized_linears(stored, quantization)
    found = {}
    for name, tensor in joined_tensors(stored, linears).items():
        if name in linears:
            found[name] = torch.from_numpy(dequantize(linears[name], quantization))
            continue
        values = torch.from_numpy(stored_array(tensor).copy())
        # numpy has no bfloat16: such weights come as 16-bit integers.
        found[name] = values.view(torch.bfloat16) if tensor.dtype == "BF16" else values
    return found


def _refusal(folder: Path, loading: Loading, reason: str) -> RuntimeRefused:
    if loading.method is None or loading.dequantized:
        return RuntimeRefused(f"transformers cannot load {folder} ({reason}).")
    kernels = KERNELS.get(loading.method)
    cure = f"{kernels.cure} installs what it needs; or give" if kernels else "Give"
    return RuntimeRefused(
        f"{folder} is quantized by {loading.method}, which nothing installed reads ({reason}). "
        f"{cure} the checkpoint from before its quantization."
    )
