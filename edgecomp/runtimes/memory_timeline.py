"""Memory of this process at the borders between phases: a sampling thread would disturb timing."""

from __future__ import annotations

import time

from edgecomp.runtimes.process_memory import process_memory


class MemoryTimeline:
    """Samples (seconds since the beginning, anonymous bytes, file-backed bytes)."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.samples: list[tuple[float, int, int]] = []

    def sample(self) -> dict[str, int]:
        memory = process_memory()
        seconds = time.perf_counter() - self.began
        self.samples.append((seconds, memory.anonymous_bytes, memory.file_backed_bytes))
        return memory.model_dump()
