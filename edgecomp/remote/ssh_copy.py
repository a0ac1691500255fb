"""Copy files to an ssh server so that an interrupted copy goes on where it stopped.

A file grows under a name of the writer's own and takes its final name only when its hash over
there is the one it has here. What a writer that has ended left of it is gone on with. What is there
already is hashed there and compared: nothing is trusted by its size.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import asyncssh

from edgecomp.common.digests import file_digest
from edgecomp.common.errors import ConnectionFailed, RemoteFailed
from edgecomp.common.events import Progress
from edgecomp.remote.address import SshAddress
from edgecomp.remote.partial_names import is_leftover, partial_name, writer
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
    with writer() as own:
        await _copy_until_whole(address, files, folder, Sender(python, own, progress))


class Sender(NamedTuple):
    """What a copy goes by: the Python over there, the writer's name, who is told bytes."""

    python: str
    writer: str
    progress: Progress


async def _copy_until_whole(
    address: SshAddress, files: Mapping[str, Path], folder: PurePosixPath, sender: Sender
) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with connected(address) as connection, connection.start_sftp_client() as sftp:
                far = RemoteEntry(connection, sftp, sender.python)
                await _copy_missing(far, files, folder, sender)
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
    far: RemoteEntry, files: Mapping[str, Path], folder: PurePosixPath, sender: Sender
) -> None:
    total = sum(path.stat().st_size for path in files.values())
    done = 0
    for name, path in files.items():
        target, size, digest = folder / name, path.stat().st_size, file_digest(path)
        if await far.size_bytes(target) != size or await far.digest(target, size) != digest:
            await far.sftp.makedirs(target.parent, exist_ok=True)
            partial = target.with_name(partial_name(target.name, sender.writer))
            await _take_leftover(far, target, partial)
            async for sent in _send(far, path, partial):
                sender.progress(done + sent, total)
            if await far.digest(partial, size) != digest:
                await far.sftp.remove(partial)
                raise RemoteFailed(
                    f"{target} arrived damaged: its SHA-256 is not that of {path}. Check the "
                    "device's disk and memory."
                )
            await far.sftp.posix_rename(partial, target)
        done += size
        sender.progress(done, total)


async def _take_leftover(far: RemoteEntry, target: PurePosixPath, partial: PurePosixPath) -> None:
    """Call the longest copy that nobody goes on with `partial`, and remove the others."""
    names = [str(name) for name in await far.sftp.listdir(target.parent)]
    left = [target.with_name(name) for name in names if is_leftover(name, target.name)]
    sizes = {path: await far.size_bytes(path) for path in left}
    for path in sorted(left, key=lambda path: -sizes[path]):
        # Another writer may take it, or remove it, at the same time.
        with suppress(asyncssh.SFTPNoSuchFile):
            if partial.name in names:
                await far.sftp.remove(path)
            else:
                await far.sftp.posix_rename(path, partial)
                names.append(partial.name)


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
