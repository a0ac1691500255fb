"""A tensor that an exporter is about to write."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgecomp.models.tensor_types import TENSOR_TYPES


@dataclass(frozen=True)
class OutputTensor:
    """Its name, its shape (rows first, as numpy writes it) and its type."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def size_bytes(self) -> int:
        return TENSOR_TYPES[self.type].size_bytes(math.prod(self.shape))
