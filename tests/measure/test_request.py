"""A request asks another device's command line for what it asks for here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp import cli
from edgecomp.jobs import measure
from edgecomp.measure.request import MeasureRequest
from edgecomp.processes.limits import Limits


@pytest.mark.parametrize(
    "request_",
    [
        MeasureRequest(),
        MeasureRequest(concurrencies=(3, 5), requests_per_second=0.5, minutes=2.5),
        MeasureRequest(limits=Limits(memory_bytes=3_999_999_999, cpus=2)),
        MeasureRequest(limits=Limits(cpus=1)),
    ],
)
def test_its_arguments_are_read_as_the_same_request(
    request_: MeasureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[MeasureRequest] = []

    def keep(name: str, request: MeasureRequest, listen: object) -> None:
        asked.append(request)
        raise SystemExit

    monkeypatch.setattr(measure, "measure_artifact", keep)
    with pytest.raises(SystemExit):
        cli.app(args=["measure", str(Path("m.gguf")), *request_.arguments()])
    assert asked == [request_]
