"""RunSettings as llama.cpp's C parameters of a model: which memory each tensor goes to."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from edgecomp.common.errors import RuntimeRefused
from edgecomp.recipes.run_settings import RunSettings

LOAD_MODES = {
    # (mapped, locked)
    (False, False): 0,
    (True, False): 1,
    (False, True): 2,
    (True, True): 3,
}
"""`enum llama_load_mode`."""

EXPERTS_OF_LAYER = r"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""The tensors that llama.cpp's `--n-cpu-moe` keeps with the CPU (common.h)."""


class BufferOverride(ctypes.Structure):
    """`struct llama_model_tensor_buft_override`: tensors whose names match go to that memory."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p)]


class ModelParameters:
    """`llama_model_params`, and the arrays that it points to, which must outlive the loading."""

    def __init__(self, settings: RunSettings | None, *, allocate: bool) -> None:
        """Without settings, for the vocabulary alone. Raises RuntimeRefused where this build of
        llama.cpp cannot carry the settings out."""
        self.values: Any = llama_cpp.llama_model_default_params()
        self.values.vocab_only = settings is None
        self.values.no_alloc = not allocate
        self.values.n_gpu_layers = 0
        self.values.load_mode = LOAD_MODES[False, False]
        if settings is None:
            return
        _check(settings)
        self.values.load_mode = LOAD_MODES[settings.memory_map, settings.memory_lock]
        self.values.n_gpu_layers = settings.gpu_layers
        self.values.split_mode = llama_cpp.LLAMA_SPLIT_MODE_LAYER
        if settings.tensor_split:
            shares = (ctypes.c_float * llama_cpp.llama_max_devices())(*settings.tensor_split)
            self.values.tensor_split = shares
        if settings.cpu_expert_layers:
            self._overrides = _experts_with_cpu(settings.cpu_expert_layers)
            self.values.tensor_buft_overrides = ctypes.cast(self._overrides, ctypes.c_void_p)


def _check(settings: RunSettings) -> None:
    if settings.memory_lock and not llama_cpp.llama_supports_mlock():
        raise RuntimeRefused(
            "This build of llama.cpp cannot lock memory. Leave out `memory_lock` in the settings."
        )
    devices = int(llama_cpp.llama_max_devices())
    if len(settings.tensor_split) > devices:
        raise RuntimeRefused(
            f"The settings divide layers over {len(settings.tensor_split)} cards, and this build "
            f"of llama.cpp knows {devices}. Shorten `tensor_split`, or use a build for the cards."
        )


def _experts_with_cpu(layers: int) -> Any:
    """Overrides for the first `layers` layers, with the empty entry that ends the list."""
    memory = _cpu_buffer_type()
    patterns = [EXPERTS_OF_LAYER.format(layer=layer).encode() for layer in range(layers)]
    rows = [BufferOverride(pattern, memory) for pattern in patterns]
    return (BufferOverride * (layers + 1))(*rows, BufferOverride(None, None))


def _cpu_buffer_type() -> int:
    """The plain memory of the CPU, as ggml names it: by its address within the library that is
    loaded. Wheels hold copies of the library, whose addresses llama.cpp would not know."""
    try:
        function = llama_cpp.llama_cpp._lib.ggml_backend_cpu_buffer_type
    except AttributeError as error:
        raise RuntimeRefused(
            "This build of llama.cpp hides ggml's memories, which experts on the CPU need. Set "
            "`cpu_expert_layers` to 0 in the settings, or use a build with shared libraries."
        ) from error
    function.restype = ctypes.c_void_p
    return int(function())
