"""How a runtime loads a model: the part of a plan that a runtime executes exactly."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.cache_types import cache_types


class RunSettings(FrozenModel):
    """Settings of one loaded model. Counts are tokens; `outputs` is logits rows kept a batch."""

    context: int = Field(gt=0)
    """Cells of the KV cache, shared by all sequences."""

    micro_batch: int = Field(default=512, gt=0)
    sequences: int = Field(default=1, gt=0)
    outputs: int = Field(default=1, gt=0)
    threads: int = Field(gt=0)
    kv_type: str = "F16"
    """The KV cache's: one type, or the keys' and the values', parted by a slash."""

    flash_attention: bool = True
    memory_map: bool = False
    memory_lock: bool = False
    """Keep the weights in memory, where the system could swap them out."""

    gpu_layers: int = Field(default=0, ge=0)
    """Layers on the cards, from the last on; the head counts as one."""

    tensor_split: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """How many of those layers each card has; empty: as the runtime divides them."""

    cpu_expert_layers: int = Field(default=0, ge=0)
    """The first layers of the model, whose experts stay with the CPU."""

    kv_on_gpu: bool = True
    """Each layer's cache is where the layer is; False: all of it with the CPU."""

    @property
    def key_type(self) -> str:
        return cache_types(self.kv_type)[0]

    @property
    def value_type(self) -> str:
        return cache_types(self.kv_type)[1]

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        shared = sum(self.tensor_split)
        if self.tensor_split and shared != self.gpu_layers:
            raise ValueError(
                f"tensor_split shares {shared} layers, gpu_layers is {self.gpu_layers}"
            )
        return self
