"""Whether ONNX Runtime computes here: one matrix product by each provider that it offers.

A program of its own, so that a crash is only its own; prints one line of JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

SIZE = 64
PROVIDERS_SKIPPED = ("AzureExecutionProvider",)
"""Providers that call a server instead of computing on a device."""


def product(provider: str) -> str:
    """What is wrong with the product that a provider computes; empty where nothing is."""
    shape = [SIZE, SIZE]
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "abc"]
    graph = helper.make_graph([node], "product", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])
    if provider not in session.get_providers():
        return "it is offered, and no session takes it"
    a, b = (np.random.default_rng(n).standard_normal(shape, dtype=np.float32) for n in (0, 1))
    (c,) = session.run(None, {"a": a, "b": b})
    return "" if np.allclose(c, a @ b, atol=0.1) else "its product is wrong"


def main() -> None:
    """Say what computes."""
    faults: dict[str, str] = {}
    for provider in onnxruntime.get_available_providers():
        if provider in PROVIDERS_SKIPPED:
            continue
        try:
            faults[provider] = product(provider)
        except Exception as error:  # a provider's own library raises what it likes
            faults[provider] = (str(error).splitlines() or [type(error).__name__])[0]
    said: dict[str, Any] = {"version": onnxruntime.__version__, "faults": faults}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
