"""Copy files to an ssh server so that an interrupted copy goes on where it stopped.

A file grows under a name of its own and takes its final name only when its hash over there is the
one it has here. What is there already is hashed there and compared: nothing is trusted by its size.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import asyncssh

from edgecomp.common.digests import file_digest
from edgecomp.common.errors import ConnectionFailed, RemoteFailed
from edgecomp.common.events import Progress
from edgecomp.remote.address import SshAddress
from edgecomp.remote.ssh import CONNECTION_LOST, connected, run

CHUNK_BYTES = 4 * 2**20
ATTEMPTS, PAUSE_SECONDS = 4, 1.0
HASH_SCRIPT = (
    "import hashlib, sys\n"
    "left, digest = int(sys.argv[2]), hashlib.sha256()\n"
    "with open(sys.argv[1], 'rb') as file:\n"
    "    while left and (part := file.read(min(left, 1 << 20))):\n"
    "        digest.update(part); left -= len(part)\n"
    "print(digest.hexdigest())\n"
)


async def copy_files(
    address: SshAddress,
    files: Mapping[str, Path],
    folder: PurePosixPath,
    python: str,
    progress: Progress,
) -> None:
    """Copy `files` (their names below `folder`, their paths here) to `folder` on the device.

    A lost connection is opened again, a few times. `python` hashes over there; `progress` is told
    bytes. Raises ConnectionFailed, HostUntrusted or RemoteFailed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with connected(address) as connection, connection.start_sftp_client() as sftp:
                await _copy_missing(RemoteEntry(connection, sftp, python), files, folder, progress)
            return
        except CONNECTION_LOST as error:
            if attempt == ATTEMPTS:
                raise ConnectionFailed(
                    f"The connection to {address} was lost {ATTEMPTS} times while files were "
                    "copied. Run the same command again: it goes on where the copy stopped."
                ) from error
            await asyncio.sleep(PAUSE_SECONDS)
        except asyncssh.SFTPError as error:
            raise RemoteFailed(f"{folder} on {address} cannot be written: {error}.") from error


class RemoteEntry(NamedTuple):
    """The other side of a copy."""

    connection: asyncssh.SSHClientConnection
    sftp: asyncssh.SFTPClient
    python: str

    async def size_bytes(self, path: PurePosixPath) -> int:
        """0 where there is no such file."""
        return (await self.sftp.stat(path)).size or 0 if await self.sftp.exists(path) else 0

    async def digest(self, path: PurePosixPath, first_bytes: int) -> str:
        """SHA-256 of the first bytes of a file."""
        command = [self.python, "-c", HASH_SCRIPT, str(path), str(first_bytes)]
        return (await run(self.connection, command)).output.strip()


async def _copy_missing(
    far: RemoteEntry, files: Mapping[str, Path], folder: PurePosixPath, progress: Progress
) -> None:
    total = sum(path.stat().st_size for path in files.values())
    done = 0
    for name, path in files.items():
        target, size, digest = folder / name, path.stat().st_size, file_digest(path)
        if await far.size_bytes(target) != size or await far.digest(target, size) != digest:
            await far.sftp.makedirs(target.parent, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            async for sent in _send(far, path, partial):
                progress(done + sent, total)
            if await far.digest(partial, size) != digest:
                await far.sftp.remove(partial)
                raise RemoteFailed(
                    f"{target} arrived damaged: its SHA-256 is not that of {path}. Check the "
                    "device's disk and memory."
                )
            await far.sftp.posix_rename(partial, target)
        done += size
        progress(done, total)


async def _send(far: RemoteEntry, path: Path, partial: PurePosixPath) -> AsyncIterator[int]:
    """Send a file, less those of its first bytes that are there already; yield how many are."""
    there = await far.size_bytes(partial)
    with path.open("rb") as file:
        if there and (
            there > path.stat().st_size
            or await far.digest(partial, there) != _digest_of_first(file, there)
        ):
            there = 0
        file.seek(there)
        async with far.sftp.open(partial, "r+b" if there else "wb") as target:
            while chunk := file.read(CHUNK_BYTES):
                await target.write(chunk, there)
                there += len(chunk)
                yield there


def _digest_of_first(file: BinaryIO, count: int) -> str:
    digest = hashlib.sha256()
    while count and (part := file.read(min(count, CHUNK_BYTES))):
        digest.update(part)
        count -= len(part)
    return digest.hexdigest()
