"""transformers as a runtime.

Loading torch and transformers takes seconds, and an evaluation asks a hundred times. So a worker
that has answered waits for the next request, with the libraries and no model in memory, until this
process ends. What is measured is measured in a fresh one.
"""

from __future__ import annotations

import atexit
import threading
from pathlib import Path
from typing import Any

from edgecomp.common.errors import ChildDied, EdgecompError
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.package_versions import named_version
from edgecomp.processes.child import Child
from edgecomp.processes.limits import enforced_limits
from edgecomp.runtimes.transformers.kernels import KERNELS
from edgecomp.runtimes.worker_client import ServingRuntime


class TransformersRuntime(ServingRuntime):
    """The runtime `transformers`."""

    name = "transformers"
    worker = "edgecomp.runtimes.transformers"
    package = "transformers"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Child | None = None
        atexit.register(self.end)

    def version(self) -> str:
        """transformers' version, torch's, which tells what it was built for, and those of the
        kernels that are installed: what a folder's answers depend on."""
        known = {name for row in KERNELS.values() for name in row.packages}
        missing = {name for row in KERNELS.values() for name in row.missing}
        names = [self.package, "torch", *sorted(known - missing)]
        return ", ".join(named_version(name) for name in names)

    def notes(self, artifact: Path) -> tuple[str, ...]:
        notes: list[str] = self.ask("notes", path=str(artifact))
        return tuple(notes)

    def ask(self, request: str, progress: Progress = ignore_progress, **arguments: Any) -> Any:
        """One request to the worker that waits, or to another where there is none. Limits hold for
        workers from their start, so one that is to keep some is never kept waiting."""
        if enforced_limits() or request == "idle_memory":
            return super().ask(request, progress, **arguments)
        with self._lock:
            child, self._waiting = self._waiting, None
        child = child or Child(self.worker)
        answered = False
        try:
            answer = child.call(request, progress, **arguments)
            answered = True
        except ChildDied:
            raise
        except EdgecompError:
            answered = True  # A refusal is an answer.
            raise
        finally:
            # One that was interrupted may still be at work.
            if not answered or not self._keep(child):
                child.close()
        return answer

    def _keep(self, child: Child) -> bool:
        """Let a worker wait, unless another does."""
        with self._lock:
            if self._waiting is not None:
                return False
            self._waiting = child
            return True

    def end(self) -> None:
        """End the worker that waits, if there is one; the next request starts another."""
        with self._lock:
            child, self._waiting = self._waiting, None
        if child:
            child.close()
