"""Versions of everything that decides an artifact's bytes or its figures."""

from __future__ import annotations

from edgecomp import __version__
from edgecomp.common.package_versions import package_version

PACKAGES = (
    "llama-cpp-python", "gguf", "onnx", "onnxruntime", "onnxruntime-genai", "torch", "transformers",
    "tokenizers", "numpy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of everything that decides the bytes or the figures."""
    return {
        "edgecomp": __version__,
        **{name: package_version(name) for name in PACKAGES},
    }
