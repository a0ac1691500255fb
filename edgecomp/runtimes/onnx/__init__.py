"""ONNX Runtime in a child process.

It is driven directly, not through onnxruntime-genai, whose generator hands out the logits of the
last position only: evaluation and divergence need those of every position, and a cache that can be
rewound to a prefix that several continuations share.
"""

from edgecomp.runtimes.onnx.client import OnnxRuntime

runtime = OnnxRuntime()
