"""What the user asks of an artifact."""

from __future__ import annotations

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import KvType, Task


class Constraints(FrozenModel):
    """Hard limits and the capability that counts first; None: no limit."""

    task: Task = "general"
    context: int | None = Field(default=None, gt=0)
    """Tokens of context the artifact must serve."""

    max_memory_bytes: int | None = Field(default=None, gt=0)
    """Most memory of the running process, everything counted."""

    max_size_bytes: int | None = Field(default=None, gt=0)
    """Largest file of the artifact."""

    min_decode_tokens_per_second: float | None = Field(default=None, gt=0)
    kv_type: KvType = "F16"
    """The KV cache's. A smaller one is lossy: the artifact is judged with it."""
