"""One process that holds torch for all tests of a module, whatever run of theirs asks it first.

Loading torch takes longer than all that a tiny model needs of it. Runs of a user end their worker;
tests/torch_worker/test_torch_worker.py looks at that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edgecomp.common.events import Progress
from edgecomp.making import mixed_precision as mixing
from edgecomp.pipeline import run as pipeline
from edgecomp.torch_worker.client import TorchWorker


class LastingWorker(TorchWorker):
    """Ends with the module, or when a request fails."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        yield

    def call(self, request: str, progress: Progress, **settings: Any) -> Any:
        try:
            return super().call(request, progress, **settings)
        except BaseException:
            super().end()
            raise

    def end(self) -> None:
        """The next run goes on with it."""


@pytest.fixture(scope="module")
def lasting_torch() -> Iterator[None]:
    """Every run of the module's own process asks the same worker."""
    worker = LastingWorker()
    with pytest.MonkeyPatch.context() as patch:
        for module in (pipeline, mixing):
            patch.setattr(module, "TorchWorker", lambda: worker)
        yield
    TorchWorker.end(worker)
