"""Memory and processor use of a run: its process and all it started."""

from __future__ import annotations

from typing import NamedTuple

import psutil


class Sample(NamedTuple):
    """Resident bytes, and percent of one core, over the whole tree of processes."""

    memory_bytes: int
    processor_percent: float


class RunMeter:
    """Samples one tree; processors are averaged since the sample before."""

    def __init__(self, process_id: int) -> None:
        self.process_id = process_id
        self._known: dict[int, psutil.Process] = {}

    def sample(self) -> Sample:
        """What the tree uses now; zeros once it is gone."""
        memory, processor = 0, 0.0
        for process in self._tree():
            try:
                memory += process.memory_info().rss
                processor += process.cpu_percent()
            except psutil.Error:
                self._known.pop(process.pid, None)
        return Sample(memory, processor)

    def _tree(self) -> list[psutil.Process]:
        try:
            root = self._known.setdefault(self.process_id, psutil.Process(self.process_id))
            children = root.children(recursive=True)
        except psutil.Error:
            return []
        # cpu_percent counts from an object's last call, so each process keeps its object.
        return [root, *(self._known.setdefault(child.pid, child) for child in children)]
