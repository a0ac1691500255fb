"""Measure an artifact on another device, in the way that its address calls for."""

from __future__ import annotations

from pathlib import Path

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.common.errors import RemoteFailed
from edgecomp.common.events import Listener
from edgecomp.measure.genai_bench import GenaiBench
from edgecomp.measure.llama_bench import LlamaBench
from edgecomp.measure.request import MeasureRequest
from edgecomp.measure.serving import Serving
from edgecomp.remote.adb_measure import Builds, measure_over_adb
from edgecomp.remote.address import AdbAddress, parse_address
from edgecomp.remote.ssh_measure import measure_over_ssh


def measure_on(
    address: str,
    name: str,
    request: MeasureRequest,
    listen: Listener,
    *,
    remote_python: str,
    builds: Builds,
) -> Serving | LlamaBench | GenaiBench:
    """Measure the artifact called `name` on the device at `address`.

    Over ssh a bundle goes over whole, since its recipe holds the settings; `remote_python` has
    edgecomp there. Over adb a runtime's own benchmark measures one sequence; `builds` are of such
    runtimes. Raises AddressInvalid and what `find_artifact`, `measure_over_ssh` and
    `measure_over_adb` raise.
    """
    device = parse_address(address)
    artifact = find_artifact(name)
    if isinstance(device, AdbAddress):
        if request != MeasureRequest():
            raise RemoteFailed(
                "Over adb one sequence is measured at a time: there are no options for "
                f"loads or limits ({' '.join(request.arguments())})."
            )
        return measure_over_adb(artifact, device, builds, listen)
    place = Path(name).expanduser() if artifact.recipe else artifact.path
    return measure_over_ssh(place.resolve(), device, remote_python, request, listen)
