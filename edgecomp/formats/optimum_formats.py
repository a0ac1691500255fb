"""The formats that optimum writes: ONNX of decoders and of encoders, float or dynamic int8.

Optimum traces transformers' own model, so it knows families that the onnxruntime-genai builder does
not, and encoders; its graphs compute attention from plain operators and are slower. In int8 the
matrices are rounded to nearest by ONNX Runtime's quantizer, activations while the model runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecomp.common.errors import ExportRefused
from edgecomp.models.huggingface.model import read_json
from edgecomp.models.spec import ModelSpec


@dataclass(frozen=True)
class OptimumFormat:
    """One format, and the type most matrices then have."""

    name: str
    type: str

    @property
    def rounds(self) -> bool:
        return self.type != "F32"


OPTIMUM_FORMATS = {
    row.name: row
    for row in (
        OptimumFormat("onnx-optimum-fp32", "F32"),
        OptimumFormat("onnx-optimum-int8", "U8"),
    )
}
FLOAT_FORMAT = "onnx-optimum-fp32"

DECODER = "text-generation-with-past"
TASKS = {
    "ForCausalLM": DECODER,
    "LMHeadModel": DECODER,
    "ForSequenceClassification": "text-classification",
    "Model": "feature-extraction",
}
"""Optimum's task of a transformers class, by how the class's name ends."""


def optimum_task(model: ModelSpec) -> str:
    """What `model` is exported for. Raises ExportRefused for a class that does something else."""
    classes = read_json(model.path / "config.json").get("architectures") or ["unknown"]
    for ending, task in TASKS.items():
        if str(classes[0]).endswith(ending):
            return task
    raise ExportRefused(
        f"{model.name} is a {classes[0]}, which is not exported by optimum here. It exports "
        f"classes that end in {', '.join(TASKS)}."
    )


def optimum_bytes(model: ModelSpec, name: str) -> int:
    """About the bytes of a model's weights in a format: of an int8 export all matrices but the
    tables that are looked up in count one byte a weight."""
    if not OPTIMUM_FORMATS[name].rounds:
        return 4 * model.parameters
    return sum((1 if len(t.shape) == 2 else 4) * t.elements for t in model.tensors)
