"""Files and commands on an Android device, through the Android SDK's own `adb`."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from edgecomp.common.digests import file_digest
from edgecomp.common.errors import ConnectionFailed, RemoteFailed
from edgecomp.common.events import Progress
from edgecomp.remote.address import AdbAddress
from edgecomp.remote.partial_names import is_leftover, partial_name, writer

ANSWER_SECONDS = 60.0
"""In which a device that is awake answers whatever takes it no work."""

SLOWEST_COPY_BYTES_PER_SECOND = 10**6
SLOWEST_HASH_BYTES_PER_SECOND = 10**7


def adb(
    address: AdbAddress, arguments: Sequence[str], longest_seconds: float = ANSWER_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run one adb command for the device. Raises ConnectionFailed where there is no adb, or no
    answer within `longest_seconds`: a device that falls asleep or offline leaves adb waiting."""
    program = shutil.which("adb")
    if program is None:
        raise ConnectionFailed(
            f"{address} cannot be reached: there is no `adb` here. Install Android's platform "
            "tools and put them on the PATH."
        )
    try:
        return subprocess.run(
            [program, "-s", address.serial, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=longest_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise ConnectionFailed(
            f"{address} gave no answer to `adb {arguments[0]}` within {longest_seconds:.0f} s. "
            "Wake the device, look at its cable and `adb devices`, and run the same command again."
        ) from error


def check_device(address: AdbAddress) -> None:
    """Raise ConnectionFailed where the device is absent, offline or does not allow this machine."""
    state = adb(address, ["get-state"])
    if state.returncode or state.stdout.strip() != "device":
        reply = (state.stderr or state.stdout).strip()
        raise ConnectionFailed(
            f"{address} cannot be reached ({reply or 'no answer'}). See `adb devices`: the device "
            "must be listed as `device`, with USB debugging allowed for this machine."
        )


def shell(
    address: AdbAddress, command: str, longest_seconds: float = ANSWER_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a shell line on the device. Raises what `adb` raises."""
    return adb(address, ["shell", command], longest_seconds)


def push_files(
    address: AdbAddress, files: Mapping[str, Path], folder: PurePosixPath, progress: Progress
) -> None:
    """Copy `files` (their names below `folder`, their paths here) to the device.

    A file that is there with the same hash is not sent again; one that is half sent has another
    name, the writer's own, and what ended writers left goes. `progress` is told bytes. Raises
    ConnectionFailed or RemoteFailed.
    """
    total = sum(path.stat().st_size for path in files.values())
    done = 0
    for name, path in files.items():
        target, digest = folder / name, file_digest(path)
        if _digest(address, target, path.stat().st_size) != digest:
            _push(address, path, target, digest)
        done += path.stat().st_size
        progress(done, total)


def _push(address: AdbAddress, path: Path, target: PurePosixPath, digest: str) -> None:
    with writer() as own:
        _push_as(address, path, target, digest, target.with_name(partial_name(target.name, own)))


def _push_as(
    address: AdbAddress, path: Path, target: PurePosixPath, digest: str, half: PurePosixPath
) -> None:
    folder = str(target.parent)
    made = shell(address, f"{shlex.join(['mkdir', '-p', folder])} && ls -a {shlex.quote(folder)}")
    left = [name for name in made.stdout.splitlines() if is_leftover(name, target.name)]
    if left:
        shell(address, shlex.join(["rm", "-f", *(str(target.with_name(name)) for name in left)]))
    size_bytes = path.stat().st_size
    copied = ANSWER_SECONDS + size_bytes / SLOWEST_COPY_BYTES_PER_SECOND
    pushed = made if made.returncode else adb(address, ["push", str(path), str(half)], copied)
    if pushed.returncode:
        check_device(address)
        reply = (pushed.stderr or pushed.stdout).strip()
        raise RemoteFailed(f"{target} on {address} cannot be written: {reply}")
    if _digest(address, half, size_bytes) != digest:
        check_device(address)
        shell(address, shlex.join(["rm", "-f", str(half)]))
        raise RemoteFailed(
            f"{target} arrived damaged on {address}: its SHA-256 is not that of {path}. Try "
            "another cable, and run the same command again."
        )
    shell(address, shlex.join(["mv", str(half), str(target)]))


def _digest(address: AdbAddress, path: PurePosixPath, size_bytes: int) -> str | None:
    """SHA-256 of a file of about that size on the device; None where there is none."""
    hashed = ANSWER_SECONDS + size_bytes / SLOWEST_HASH_BYTES_PER_SECOND
    found = shell(address, shlex.join(["sha256sum", str(path)]), hashed)
    return found.stdout.split()[0] if found.returncode == 0 and found.stdout.strip() else None
