"""ONNX Runtime as a runtime."""

from __future__ import annotations

from edgecomp.runtimes.worker_client import ServingRuntime


class OnnxRuntime(ServingRuntime):
    """The runtime `onnx`."""

    name = "onnx"
    worker = "edgecomp.runtimes.onnx"
    package = "onnxruntime"
