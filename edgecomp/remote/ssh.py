"""Connections to an ssh server, and commands run there.

The user's own ssh configuration, keys and agent are used. The host's key must be the one that
known_hosts holds; there is no way round that here.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncssh

from edgecomp.common.errors import ConnectionFailed, HostUntrusted
from edgecomp.remote.address import SshAddress

CONNECT_SECONDS = 20
KEEPALIVE_SECONDS, KEEPALIVES_MISSED = 10, 3
"""A connection that was cut without a word is noticed after half a minute."""

CONNECTION_LOST = (
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    ConnectionError,
)


class Ran(NamedTuple):
    """A command that ended: its exit code, what it printed and what it complained of."""

    exit_code: int
    output: str
    stderr: str


@asynccontextmanager
async def connected(address: SshAddress) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to `address`. Raises HostUntrusted or ConnectionFailed."""
    asyncio.get_running_loop().set_exception_handler(_report_unless_lost)
    connection = await _connect(address)
    try:
        yield connection
    finally:
        connection.abort()


def _report_unless_lost(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A lost connection fails every request that is under way: whoever waits for the first is told,
    and of the others asyncio would print tracebacks."""
    if not isinstance(context.get("exception"), CONNECTION_LOST):
        loop.default_exception_handler(context)


async def _connect(address: SshAddress) -> asyncssh.SSHClientConnection:
    try:
        options = await asyncssh.SSHClientConnectionOptions.construct(
            host=address.host,
            connect_timeout=CONNECT_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVES_MISSED,
            **({"username": address.user} if address.user else {}),
            **({"port": address.port} if address.port else {}),
        )
        # With `UserKnownHostsFile none` ssh knows no host; None would let asyncssh trust every one.
        known_hosts = options.known_hosts or b""
        return await asyncssh.connect(address.host, options=options, known_hosts=known_hosts)
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostUntrusted(str(address), address.host) from error
    except asyncssh.PermissionDenied as error:
        raise ConnectionFailed(
            f"{address} lets nobody in with the keys of this account. Make `ssh {address}` work "
            "without a password first (ssh-copy-id, ssh-agent)."
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise ConnectionFailed(
            f"{address} cannot be reached: {error or 'it does not answer'}. Check that `ssh "
            f"{address}` works."
        ) from error


async def run(
    connection: asyncssh.SSHClientConnection,
    command: Sequence[str],
    hear: Callable[[str], None] = lambda line: None,
) -> Ran:
    """Run `command` to its end; `hear` gets each line of its standard error as it comes.

    Where the connection is lost, the command is ended over there. Raises one of CONNECTION_LOST.
    """
    async with connection.create_process(_ending_with_connection(command)) as process:
        stderr = []
        async for line in process.stderr:
            stderr.append(line)
            hear(line.rstrip("\n"))
        output = await process.stdout.read()
        await process.wait_closed()
    if process.exit_status is None:
        raise asyncssh.ConnectionLost("the connection was lost")
    return Ran(process.exit_status, output, "".join(stderr))


def _ending_with_connection(command: Sequence[str]) -> str:
    """A shell line that runs `command`, and ends it when standard input closes."""
    watch = "exec 3<&0; (cat <&3; kill $$) >/dev/null 2>&1 & exec 3<&-; exec "
    return shlex.join(["sh", "-c", watch + shlex.join(command) + " </dev/null"])
