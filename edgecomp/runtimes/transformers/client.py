"""transformers as a runtime."""

from __future__ import annotations

from pathlib import Path

from edgecomp.runtimes.worker_client import WorkerRuntime


class TransformersRuntime(WorkerRuntime):
    """The runtime `transformers`."""

    name = "transformers"
    worker = "edgecomp.runtimes.transformers"
    package = "transformers"

    def notes(self, artifact: Path) -> tuple[str, ...]:
        notes: list[str] = self.ask("notes", path=str(artifact))
        return tuple(notes)
