"""One worker holds torch for a whole run, and none that failed is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import ChildDied
from edgecomp.common.events import ignore_progress
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.torch_worker.client import TorchWorker

ONE_CHOICE = Sensitivities(
    tensors=(TensorSensitivity(name="one", elements=32, losses={"Q8_0": 0.1}),)
).model_dump(mode="json")


def asked(worker: TorchWorker) -> int | None:
    """The process that is kept after a request, if any."""
    settings = {"sensitivities": ONE_CHOICE, "budget_bytes": 34}
    assert worker.call("allocate", ignore_progress, **settings) == {"one": "Q8_0"}
    return worker.process_id


def test_a_worker_is_kept_while_it_is_asked_to_be_and_ends_after_a_request_else() -> None:
    worker = TorchWorker()
    assert asked(worker) is None
    with worker.kept():
        first = asked(worker)
        assert first is not None and asked(worker) == first
        worker.end()
        assert asked(worker) != first
        last = worker.process_id
    assert worker.process_id is None and not Path(f"/proc/{last}").exists()


def test_after_a_request_that_failed_another_worker_answers() -> None:
    worker = TorchWorker()
    with worker.kept():
        first = asked(worker)
        with pytest.raises(ChildDied):
            worker.call("no such request", ignore_progress)
        assert worker.process_id is None
        assert asked(worker) not in (None, first)
