"""Bytes of a model with an execution provider of ONNX Runtime, and the memories they lie in.

By shapes and number types; of the providers beside the CPU's only OpenVINO's was measured, on its
CPU device (benchmarks/RESULTS.md). What a provider's own libraries keep on a card is in what the
device's profile reserves. A provider that compiles the CPU's graph keeps its products' weights in a
form of its own, beside what ONNX Runtime has loaded.
"""

from __future__ import annotations

from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.execution_providers import ExecutionProvider
from edgecomp.formats.onnx_formats import (
    float_type,
    onnx_data_bytes,
    onnx_format,
    onnx_tensor_bytes,
    onnx_types,
)
from edgecomp.models.spec import EMBEDDING, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.memory import VOCABULARY_ENTRY_BYTES, MemoryEstimate
from edgecomp.planning.onnx_memory import (
    LAYER_GRAPH_BYTES,
    ONNX_WORKER_BYTES,
    activation_numbers,
    estimate_onnx_memory,
)
from edgecomp.planning.provider_choice import provider_processor
from edgecomp.planning.provider_partition import expected_nodes, partition
from edgecomp.recipes.run_settings import RunSettings


def estimate_provider_memory(
    model: ModelSpec,
    format_name: str,
    settings: RunSettings,
    provider: ExecutionProvider,
    device: DeviceProfile,
) -> tuple[MemoryEstimate, dict[str, int]]:
    """Peak memory of `model` in a format, and the bytes in each of the device's memories.

    Raises what `provider_processor` raises.
    """
    system = device.system_pool.name
    pool = provider_processor(provider.name, device).pool
    if provider.graph == "cpu":
        memory = estimate_onnx_memory(model, format_name, settings)
        update = {
            "weights_bytes": memory.weights_bytes + _compiled_bytes(model, format_name, provider),
            "runtime_bytes": memory.runtime_bytes + provider.library_bytes,
        }
        memory = memory.model_copy(update=update)
        return memory, {system: memory.total_bytes}
    memory, with_host = _own_graph(model, format_name, settings, provider)
    if pool == system:
        return memory, {system: memory.total_bytes}
    return memory, {pool: memory.total_bytes - with_host, system: with_host}


def _compiled_bytes(model: ModelSpec, format_name: str, provider: ExecutionProvider) -> int:
    """What a provider keeps of the products that it takes, beside what was loaded: floats once
    more, and codes as `float_copies` says."""
    divided = partition(expected_nodes(model, format_name, provider), provider)
    if provider.name == "cpu" or not {"MatMul", "MatMulNBits"} & set(divided.taken):
        return 0
    types = onnx_types(model, format_name)
    kind = onnx_format(format_name).type
    coded = not TENSOR_TYPES[kind].is_float
    kept = "F32" if coded and provider.float_copies else kind
    copies = provider.float_copies if coded and provider.float_copies else 1
    matrices = [row for row in model.tensors if types.get(row.name) == kind and len(row.shape) == 2]
    return copies * sum(onnx_tensor_bytes(row.shape, kept) for row in matrices)


def _own_graph(
    model: ModelSpec, format_name: str, settings: RunSettings, provider: ExecutionProvider
) -> tuple[MemoryEstimate, int]:
    """The memory of a graph that is drawn for the provider, and what of it lies with the host."""
    plain = float_type(onnx_format(format_name), provider.name)
    number = TENSOR_TYPES[plain].block_bytes
    tokens = min(settings.micro_batch, settings.context)
    cell = model.layers * model.kv_heads * (model.key_length + model.value_length)
    process = ONNX_WORKER_BYTES
    process += model.vocabulary * VOCABULARY_ENTRY_BYTES + model.layers * LAYER_GRAPH_BYTES
    looked_up = _host_table_bytes(model, format_name, provider, plain)
    last_logits = 4 * model.vocabulary
    memory = MemoryEstimate(
        weights_bytes=onnx_data_bytes(model, format_name, provider.name) + looked_up,
        kv_cache_bytes=number * settings.context * cell,
        compute_bytes=number * activation_numbers(model, settings),
        output_bytes=number * tokens * model.vocabulary + last_logits,
        runtime_bytes=process,
        basis="formula, not measured",
    )
    return memory, process + looked_up + last_logits


def _host_table_bytes(
    model: ModelSpec, format_name: str, provider: ExecutionProvider, plain: str
) -> int:
    """A table of codes that the CPU looks up in, since the provider has no kernel for it."""
    nodes = expected_nodes(model, format_name, provider)
    if "GatherBlockQuantized" not in nodes or "GatherBlockQuantized" not in provider.lacks:
        return 0
    shape = next(row.shape for row in model.tensors if row.name == EMBEDDING)
    return onnx_tensor_bytes(shape, onnx_format(format_name).type, plain)
