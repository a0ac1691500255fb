"""Measure an artifact on a device with an ssh server and an edgecomp of its own."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from edgecomp import __version__
from edgecomp.common.digests import file_digest
from edgecomp.common.errors import ConnectionFailed, RemoteFailed
from edgecomp.common.events import Listener, Noted, StageFinished, StageProgress, StageStarted
from edgecomp.common.inside_folder import files_inside
from edgecomp.measure.request import MeasureRequest
from edgecomp.measure.serving import Serving
from edgecomp.remote.address import SshAddress
from edgecomp.remote.ssh import CONNECTION_LOST, Ran, connected, run
from edgecomp.remote.ssh_copy import copy_files

RECEIVED = PurePosixPath(".cache/edgecomp/received")
"""Below the home folder over there; an artifact's folder is named by the hash of what it holds."""

COMMAND_NOT_FOUND = 127


def measure_over_ssh(
    artifact: Path, address: SshAddress, python: str, request: MeasureRequest, listen: Listener
) -> Serving:
    """Copy `artifact` (a file, or a folder as it is) to `address` and measure it there.

    `python` over there must be one that has edgecomp. Raises ConnectionFailed, HostUntrusted or
    RemoteFailed, which carries what the device's own edgecomp says.
    """
    return asyncio.run(_measure(artifact, address, python, request, listen))


async def _measure(
    artifact: Path, address: SshAddress, python: str, request: MeasureRequest, listen: Listener
) -> Serving:
    command = [python, "-m", "edgecomp.cli"]
    try:
        async with connected(address) as connection:
            _check_edgecomp(await run(connection, [*command, "--version"]), address, python)
        place = await _copy(artifact, address, python, listen)
        listen(Noted(text=f"Measuring on {address}:"))
        command += ["measure", str(place), "--json", *request.arguments()]
        async with connected(address) as connection:
            ran = await run(connection, command, lambda line: listen(Noted(text=line)))
    except CONNECTION_LOST as error:
        raise ConnectionFailed(
            f"The connection to {address} was lost while it was measuring. Nothing was recorded; "
            "run the same command again: what was copied is kept."
        ) from error
    return _answer(ran, address, python)


def _check_edgecomp(ran: Ran, address: SshAddress, python: str) -> None:
    if ran.exit_code == COMMAND_NOT_FOUND:
        raise RemoteFailed(
            f"{address} has no {python}. Name one that has edgecomp with --remote-python."
        )
    if ran.exit_code:
        last = ran.stderr.strip().splitlines()[-1:] or [f"exit code {ran.exit_code}"]
        raise RemoteFailed(
            f"{python} on {address} has no edgecomp that starts ({last[0]}). Install it there: "
            f"`{python} -m pip install edgecomp=={__version__}`, or name a Python that has it with "
            "--remote-python."
        )


async def _copy(
    artifact: Path, address: SshAddress, python: str, listen: Listener
) -> PurePosixPath:
    """Copy a file or all files of a folder; returns its place over there."""
    listen(StageStarted(stage="copy", title=f"Copying {artifact.name} to {address}"))
    began = time.perf_counter()
    files = files_of(artifact)
    listed = "".join(f"{file_digest(path)} {name}\n" for name, path in files.items())
    folder = RECEIVED / hashlib.sha256(listed.encode()).hexdigest()[:16]

    def progress(done: float, total: float) -> None:
        listen(StageProgress(stage="copy", done=done, total=total, unit="bytes"))

    await copy_files(address, files, folder, python, progress)
    listen(StageFinished(stage="copy", cached=False, seconds=time.perf_counter() - began))
    return folder / artifact.name


def files_of(artifact: Path) -> dict[str, Path]:
    """A file, or every file below a folder, by its path from the parent of `artifact`.

    Raises PathOutside where a link leads out of the folder: no other file here is copied.
    """
    if not artifact.is_dir():
        return {artifact.name: artifact}
    return {f"{artifact.name}/{name}": path for name, path in files_inside(artifact).items()}


def _answer(ran: Ran, address: SshAddress, python: str) -> Serving:
    if ran.exit_code and not ran.output:
        message = ran.stderr.rpartition("edgecomp: ")[2].strip()
        raise RemoteFailed(f"On {address}: {message or f'exit code {ran.exit_code}'}")
    try:
        return Serving.model_validate_json(ran.output)
    except ValidationError as error:
        raise RemoteFailed(
            f"The edgecomp of {python} on {address} answers in a form that this one "
            f"({__version__}) does not read. Install the same version there."
        ) from error
