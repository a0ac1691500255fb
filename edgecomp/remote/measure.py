"""Measure an artifact on another device, in the way that its address calls for."""

from __future__ import annotations

from pathlib import Path

from edgecomp.artifact_argument import find_artifact
from edgecomp.errors import AddressInvalid
from edgecomp.events import Listener
from edgecomp.measure.request import MeasureRequest
from edgecomp.measure.serving import Serving
from edgecomp.remote.address import AdbAddress, parse_address
from edgecomp.remote.ssh_measure import measure_over_ssh


def measure_on(
    address: str, name: str, request: MeasureRequest, remote_python: str, listen: Listener
) -> Serving:
    """Measure the artifact called `name` on the device at `address`.

    A bundle goes over whole, since its recipe holds the settings. Raises AddressInvalid and what
    `find_artifact` and `measure_over_ssh` raise.
    """
    device = parse_address(address)
    if isinstance(device, AdbAddress):
        raise AddressInvalid(address)
    artifact = find_artifact(name)
    place = Path(name).expanduser() if artifact.recipe else artifact.path
    return measure_over_ssh(place.resolve(), device, remote_python, request, listen)
