"""The worker process that holds torch, kept from one request to the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgecomp.common.events import Progress
from edgecomp.processes.child import Child

MODULE = "edgecomp.torch_worker"


class TorchWorker:
    """Answers requests from torch_worker/__main__.py. Loading torch takes seconds: while
    `kept`, the worker of one request answers the next ones too, unless one failed."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._kept = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the worker from request to request until the body ends."""
        self._kept = True
        try:
            yield
        finally:
            self._kept = False
            self.end()

    @property
    def process_id(self) -> int | None:
        """The kept worker's, where there is one."""
        return self._child.process_id if self._child else None

    def call(self, request: str, progress: Progress, **settings: Any) -> Any:
        """The worker's answer (JSON values). Raises what `Child.call` raises."""
        child = self._child = self._child or Child(MODULE)
        try:
            answer = child.call(request, progress, **settings)
        except BaseException:
            self.end()  # One that was interrupted may still be at work.
            raise
        if not self._kept:
            self.end()
        return answer

    def end(self) -> None:
        """End the kept worker; the next request starts another."""
        if self._child:
            self._child.close()
        self._child = None
