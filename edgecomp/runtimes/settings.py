"""How a runtime loads a model: the part of a plan that a runtime executes exactly."""

from __future__ import annotations

from pydantic import Field

from edgecomp.value import Value


class RunSettings(Value):
    """Settings of one loaded model. Counts are tokens; `outputs` is logits rows kept a batch."""

    context: int = Field(gt=0)
    """Cells of the KV cache, shared by all sequences."""

    micro_batch: int = Field(default=512, gt=0)
    sequences: int = Field(default=1, gt=0)
    outputs: int = Field(default=1, gt=0)
    threads: int = Field(gt=0)
    kv_type: str = "F16"
    flash_attention: bool = True
    memory_map: bool = False
    gpu_layers: int = Field(default=0, ge=0)
