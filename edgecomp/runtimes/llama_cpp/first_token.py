"""Whether this build of llama.cpp computes here: a tiny model is loaded, reads and decodes a token.

A program of its own, started by its path: while edgecomp is being installed there is nothing else
of it yet. A build for another processor dies at its first matrix product, so matrices of each kind
of kernel are there, and both a batch of tokens and a single one go through them. On success one
line of JSON goes to standard output: version, devices and what was computed on each.
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

WIDTH, FEED_FORWARD, HEADS, VOCABULARY = 256, 512, 4, 256
CONTEXT, READ_TOKENS = 64, 32
ALL_LAYERS = 99
CARD_TYPES = (1, 2)
"""`GGML_BACKEND_DEVICE_TYPE_GPU` and `_IGPU`."""

QUANTIZED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0")
"""Types that gguf's own code can write."""

RAW = ("Q4_K", "Q6_K", "Q2_K", "IQ4_NL")
"""Types whose blocks are written as zeros, which stand for zero weights."""

ROLES = {
    "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH),
    "attn_output": (WIDTH, WIDTH), "ffn_gate": (FEED_FORWARD, WIDTH),
    "ffn_up": (FEED_FORWARD, WIDTH), "ffn_down": (WIDTH, FEED_FORWARD),
}  # fmt: skip


def write_model(path: Path) -> None:
    """Write a Llama of three layers; its matrices take the types in turn."""
    random = np.random.default_rng(0)
    types = ("F16", *QUANTIZED, *RAW)
    layers = -(-2 * len(types) // len(ROLES))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("none")
    tensors = {f"blk.{layer}.{role}": ROLES[role] for layer in range(layers) for role in ROLES}
    for index, (name, shape) in enumerate([("token_embd", (VOCABULARY, WIDTH)), *tensors.items()]):
        values = random.standard_normal(shape, dtype=np.float32) * shape[1] ** -0.5
        _add(writer, f"{name}.weight", values, types[index % len(types)])
    norms = [f"blk.{n}.{norm}" for n in range(layers) for norm in ("attn_norm", "ffn_norm")]
    for name in ("output_norm", *norms):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: gguf.GGUFWriter, name: str, values: Any, type_name: str) -> None:
    kind = gguf.GGMLQuantizationType[type_name]
    if type_name in RAW:
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        rows, columns = values.shape
        raw = np.zeros((rows, columns // block * block_bytes), dtype=np.uint8)
    elif type_name == "F16":
        writer.add_tensor(name, values.astype(np.float16))
        return
    else:
        raw = gguf.quantize(values, kind)
    writer.add_tensor(name, raw, raw_dtype=kind)


def decode(path: Path, gpu_layers: int) -> int:
    """Read some tokens in one batch, then one more; the likeliest token after it. Raises
    RuntimeError where llama.cpp refuses or the logits are not finite."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = gpu_layers
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise RuntimeError("llama.cpp does not load a model that it should")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = CONTEXT
    settings.n_threads = settings.n_threads_batch = 2
    context = llama_cpp.llama_init_from_model(model, settings)
    if not context:
        raise RuntimeError("llama.cpp opens no context")
    batch = llama_cpp.llama_batch_init(CONTEXT, 0, 1)
    _run(context, batch, range(READ_TOKENS), 0)
    _run(context, batch, [READ_TOKENS], READ_TOKENS)
    pointer = llama_cpp.llama_get_logits_ith(context, 0)
    logits = np.ctypeslib.as_array(pointer, shape=(VOCABULARY,)).copy()
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    if not np.isfinite(logits).all():
        raise RuntimeError("llama.cpp computes logits that are not finite")
    return int(logits.argmax())


def _run(context: Any, batch: Any, tokens: Any, start: int) -> None:
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index] = token
        batch.pos[index] = start + index
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = 0
        batch.logits[index] = index == len(tokens) - 1
    status = llama_cpp.llama_decode(context, batch)
    if status:
        raise RuntimeError(f"llama.cpp decodes no batch (status {status})")


def devices() -> list[dict[str, Any]]:
    """The devices that ggml lists, in its order: name, description, whether it is a graphics card,
    free and total bytes."""
    library = llama_cpp.llama_cpp._lib
    try:
        count, get = library.ggml_backend_dev_count, library.ggml_backend_dev_get
        name, description = library.ggml_backend_dev_name, library.ggml_backend_dev_description
        memory, kind = library.ggml_backend_dev_memory, library.ggml_backend_dev_type
    except AttributeError:
        return []  # a build that hides ggml within it
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    name.restype = description.restype = ctypes.c_char_p
    name.argtypes = description.argtypes = kind.argtypes = [ctypes.c_void_p]
    memory.argtypes = [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    rows = []
    for index in range(count()):
        device = get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        rows.append(
            {
                "name": name(device).decode(),
                "title": description(device).decode(),
                "is_card": kind(device) in CARD_TYPES,
                "free_bytes": free.value,
                "total_bytes": total.value,
            }
        )
    return rows


def main() -> None:
    """Say what this build is, and what it decoded on the processor and with layers on a card."""
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
        path = Path(folder) / "first-token.gguf"
        write_model(path)
        found = devices()
        said: dict[str, Any] = {
            "version": llama_cpp.__version__,
            "system": llama_cpp.llama_print_system_info().decode(),
            "devices": found,
            "token": decode(path, 0),
        }
        if any(row["is_card"] for row in found):
            said["offloaded_token"] = decode(path, ALL_LAYERS)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
