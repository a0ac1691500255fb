"""A memory limit kept by watching: for systems on which no control group can be made."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psutil

PERIOD_SECONDS = 0.02


class MemoryWatch:
    """Looks at a process's resident memory until it ends, or ends it when that exceeds a limit."""

    def __init__(self, process_id: int, limit_bytes: int, kill: Callable[[], None]) -> None:
        self._process = psutil.Process(process_id)
        self._limit_bytes = limit_bytes
        self._kill = kill
        self._peak_bytes = 0
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def reached(self) -> bool:
        return self._peak_bytes > self._limit_bytes

    def peak_bytes(self) -> int:
        """The most that was seen."""
        return self._peak_bytes

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(PERIOD_SECONDS):
            try:
                resident = int(self._process.memory_info().rss)
            except psutil.Error:
                return
            self._peak_bytes = max(self._peak_bytes, resident)
            if self.reached():
                self._kill()
                return
