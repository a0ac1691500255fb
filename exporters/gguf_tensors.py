"""The tensors of a Hugging Face checkpoint as llama.cpp wants them.

Names come from `gguf`'s table; what else differs is in the family's row (architectures.py): rows of
Q and K that change places, weights stored columns first, norms with an offset, experts in one
tensor. Agrees with `modify_tensors` of llama.cpp's `conversion/{llama,qwen,gemma,phi,gpt2}.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import ExportRefused
from edgecomp.formats.exporting import FloatType
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.models.architectures import Architecture
from edgecomp.models.float_conversion import convert, round_to_type, stored_array, to_float32
from edgecomp.models.huggingface.model import named_tensors
from edgecomp.models.huggingface.towers import beside_text
from edgecomp.models.output_tensor import OutputTensor
from edgecomp.models.rope_scaling import frequency_factors
from edgecomp.models.safetensors_header import StoredTensor
from edgecomp.models.spec import ModelSpec, TensorSpec

NOT_WEIGHTS = ("rotary_emb", ".attn.bias", ".attn.masked_bias")
"""Tables and masks that the model computes anew."""


def output_tensors(tensors: tuple[TensorSpec, ...], float_type: FloatType) -> list[OutputTensor]:
    """What will be written: matrices in `float_type`, vectors and the few matrices that llama.cpp
    never quantizes in F32."""
    return [
        OutputTensor(tensor.name, tensor.shape, float_type if quantizable(tensor) else "F32")
        for tensor in tensors
    ]


class CheckpointTensors:
    """Gives the converted values of a checkpoint's tensors, one at a time, read when asked for."""

    def __init__(
        self,
        model: ModelSpec,
        architecture: Architecture,
        stored: dict[str, StoredTensor],
        config: dict[str, Any],
    ) -> None:
        """Raises ExportRefused where the checkpoint holds weights that have no place in GGUF."""
        self._model = model
        self._architecture = architecture
        self._stored, unknown = named_tensors(stored, architecture.gguf_name, model.layers)
        self._factors = frequency_factors(config, model.key_length)
        skipped = (*NOT_WEIGHTS, "lm_head.") if model.tied_embeddings else NOT_WEIGHTS
        lost = [
            name
            for name in unknown
            if not (beside_text(name) or any(part in name for part in skipped))
        ]
        if lost:
            raise ExportRefused(
                f"{model.path} holds {len(lost)} tensors that llama.cpp's {architecture.gguf_name} "
                f"has no place for ({lost[0]} …). Export a checkpoint without adapters or "
                "quantization."
            )

    def pieces(self, tensor: OutputTensor) -> Iterator[NDArray[Any]]:
        """The bytes of `tensor`, in order, as arrays."""
        if tensor.name in self._factors:
            yield np.asarray(self._factors[tensor.name], dtype=np.float32)
            return
        for stored in self._stored[tensor.name]:
            array = self._laid_out(stored_array(stored), tensor.name)
            if self._architecture.norm_offset and "_norm." in tensor.name:
                values = to_float32(np.ascontiguousarray(array), stored.dtype)
                yield round_to_type(
                    values + np.float32(self._architecture.norm_offset), "F32", stored.name
                )
            else:
                yield from convert(array, stored.dtype, tensor.type, stored.name)

    def _laid_out(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        if self._architecture.interleaved_rope:
            if ".attn_q." in name:
                return interleave(array, self._model.heads)
            if ".attn_k." in name:
                return interleave(array, self._model.kv_heads)
        if array.ndim == 2 and any(f".{r}." in name for r in self._architecture.transposed):
            return array.T
        return array


def interleave(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of each head from (first half, second half) to (pair by pair): [rows, ...]."""
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def deinterleave(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """The inverse of `interleave`."""
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)
