"""ONNX Runtime's execution providers: what each computes of our graphs, and what it is given.

A provider takes the nodes that it has kernels for; what it lacks stays with the CPU, and every
change of sides hands activations over. Our graphs are the model builder's (onnxruntime-genai 0.18),
which draws one for the CPU, CUDA, DirectML and WebGPU each; the other providers get the CPU's.

Which operators have kernels was read in 2026-11 in:
CUDA, DirectML: microsoft/onnxruntime, docs/OperatorKernels.md (generated from the registries), and
contrib_ops/cuda/quantization/matmul_nbits.cc: 4 and 8 bits, with or without zero points, blocks of
32, 64 and 128 by its mixed-type product, others by taking weights apart first.
WebGPU: contrib_ops/webgpu/webgpu_contrib_kernels.cc, quantization/matmul_nbits.cc: 4 and 8 bits.
QNN: onnxruntime/onnxruntime-qnn (2.x), docs/execution_providers/QNN-ExecutionProvider.md: only
nodes whose shapes are fixed.
CoreML: tools/ci_build/github/apple/coreml_supported_mlprogram_ops.md.
OpenVINO: seen in runs of our int4, int8 and float graphs with onnxruntime-openvino 1.24.1 on its
CPU device, whose profile names the provider of each node (benchmarks/execution_provider.py).
Which precisions are built for a provider: the builder's own list. QMoE: its builders/gptoss.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from edgecomp.common.errors import CompressionSettingsInvalid

Precision = Literal["fp32", "fp16", "int8", "int4"]
Graph = Literal["cpu", "cuda", "dml", "webgpu"]

DECODER_OPERATORS = (
    "MatMul", "MatMulNBits", "GroupQueryAttention", "GatherBlockQuantized", "RotaryEmbedding",
    "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "QMoE",
)  # fmt: skip
"""The operators of a decoder's graph that a provider may lack and that take its time."""


class ExecutionProvider(NamedTuple):
    """One provider as a target."""

    name: str
    title: str
    runtime_name: str
    """ONNX Runtime's own."""

    config_name: str
    """Under `provider_options` of genai_config.json."""

    graph: Graph
    """Whose graph of the builder's it is given."""

    precisions: tuple[Precision, ...]
    """Formats whose products it computes."""

    packages: tuple[str, ...]
    """What brings it, by pip; empty: no package does."""

    runs_on: str
    lacks: frozenset[str] = frozenset()
    """Operators of DECODER_OPERATORS that stay with the CPU."""

    fast_blocks: tuple[int, ...] = ()
    """Blocks of int4 that its product reads as they lie; empty: no source says which."""

    fixed_shapes: bool = False
    """It takes no node whose shape depends on the prompt; our graphs' do."""

    float_copies: int = 0
    """Copies that it makes of the codes that it takes, as float32: int4 is then no smaller in
    memory, and no faster, than float32."""

    library_bytes: int = 0
    """What its own libraries take of the process's memory, where that was measured."""

    options: Mapping[str, str] = {}
    """What its package asks of it."""

    @property
    def float_type(self) -> Literal["F32", "F16"]:
        """Of activations, scales and the cache in all formats but onnx-fp32."""
        return "F32" if self.graph == "cpu" else "F16"


PROVIDERS = {
    row.name: row
    for row in (
        ExecutionProvider(
            name="cpu",
            title="the CPU",
            runtime_name="CPUExecutionProvider",
            config_name="cpu",
            graph="cpu",
            precisions=("fp32", "int8", "int4"),
            packages=("onnxruntime", "onnxruntime-genai"),
            runs_on="any processor",
            fast_blocks=(16, 32, 64, 128, 256),
        ),
        ExecutionProvider(
            name="cuda",
            title="CUDA",
            runtime_name="CUDAExecutionProvider",
            config_name="cuda",
            graph="cuda",
            precisions=("fp32", "fp16", "int8", "int4"),
            packages=("onnxruntime-gpu", "onnxruntime-genai-cuda"),
            runs_on="NVIDIA's cards",
            fast_blocks=(32, 64, 128),
            options={"enable_cuda_graph": "0"},
        ),
        ExecutionProvider(
            name="dml",
            title="DirectML",
            runtime_name="DmlExecutionProvider",
            config_name="dml",
            graph="dml",
            precisions=("fp16", "int4"),
            packages=("onnxruntime-directml", "onnxruntime-genai-directml"),
            runs_on="graphics processors under Windows (DirectX 12)",
            lacks=frozenset({"GatherBlockQuantized", "QMoE"}),
            options={"enable_graph_capture": "1"},
        ),
        ExecutionProvider(
            name="webgpu",
            title="WebGPU",
            runtime_name="WebGpuExecutionProvider",
            config_name="webgpu",
            graph="webgpu",
            precisions=("int8", "int4"),
            packages=("onnxruntime-ep-webgpu", "onnxruntime-webgpu"),
            runs_on="graphics processors with Vulkan, Metal or DirectX 12, and browsers",
            options={"enableGraphCapture": "0", "validationMode": "basic"},
        ),
        ExecutionProvider(
            name="qnn",
            title="QNN",
            runtime_name="QNNExecutionProvider",
            config_name="qnn",
            graph="cpu",
            precisions=("fp32", "int8", "int4"),
            packages=("onnxruntime-qnn",),
            runs_on="Qualcomm's Snapdragon chips",
            lacks=frozenset(
                {
                    "GroupQueryAttention", "GatherBlockQuantized",
                    "SkipSimplifiedLayerNormalization", "QMoE",
                }
            ),
            fixed_shapes=True,
            options={"backend_type": "htp"},
        ),
        ExecutionProvider(
            name="coreml",
            title="CoreML",
            runtime_name="CoreMLExecutionProvider",
            config_name="CoreML",
            graph="cpu",
            precisions=("fp32",),
            packages=("onnxruntime",),
            runs_on="Apple's chips (the package's builds for macOS have it)",
            lacks=frozenset(DECODER_OPERATORS) - {"MatMul"},
            options={"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
        ),
        ExecutionProvider(
            name="openvino",
            title="OpenVINO",
            runtime_name="OpenVINOExecutionProvider",
            config_name="OpenVINO",
            graph="cpu",
            precisions=("fp32", "int8", "int4"),
            packages=("onnxruntime-openvino",),
            runs_on="Intel's processors, graphics and NPUs, and other x86 processors",
            lacks=frozenset({"GroupQueryAttention", "GatherBlockQuantized", "QMoE"}),
            float_copies=2,
            library_bytes=160 * 10**6,
            options={"device_type": "CPU"},
        ),
    )
}  # fmt: skip


def execution_provider(name: str) -> ExecutionProvider:
    """The provider called `name`. Raises CompressionSettingsInvalid."""
    if name not in PROVIDERS:
        raise CompressionSettingsInvalid(
            f"There is no execution provider {name!r} here. Known: {', '.join(PROVIDERS)}."
        )
    return PROVIDERS[name]


def require_precision(name: str, precision: Precision) -> None:
    """Raise CompressionSettingsInvalid for a provider that is none, or that computes no product of
    this precision."""
    provider = execution_provider(name)
    if precision not in provider.precisions:
        raise CompressionSettingsInvalid(
            f"{provider.title} does not run {precision} models: "
            f"it has {', '.join(provider.precisions)}. "
            f"{precision} has {_listed(_with_precision(precision))}."
        )


def how_to_get(provider: ExecutionProvider) -> str:
    """The command that brings a provider, and where it runs."""
    return f"pip install {' '.join(provider.packages)} (for {provider.runs_on})"


def with_operator(operator: str) -> tuple[str, ...]:
    """The titles of the providers that have kernels for one of DECODER_OPERATORS."""
    return tuple(row.title for row in PROVIDERS.values() if operator not in row.lacks)


def _with_precision(precision: Precision) -> list[str]:
    return [row.name for row in PROVIDERS.values() if precision in row.precisions]


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
