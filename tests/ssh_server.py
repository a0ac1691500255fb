"""A real OpenSSH server on the loopback interface, and a line to it that can be cut."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from edgecomp.remote.address import SshAddress

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SFTP_SERVER = shutil.which("sftp-server", path="/usr/lib/openssh:/usr/libexec/openssh:/usr/libexec")
SEPARATION_FOLDER = Path("/run/sshd")
"""An sshd that root starts wants this folder, which the system's own service makes."""


class SshServer:
    """A running server. `home` is the home folder of both sides; `port` its own port."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port

    def address(self, port: int | None = None) -> SshAddress:
        return SshAddress(host="127.0.0.1", user=getpass.getuser(), port=port or self.port)

    def trust(self, port: int | None = None, key: str | None = None) -> None:
        """Put the server's key, or another one, into known_hosts."""
        text = key or (self.home / "host_key.pub").read_text()
        (self.home / ".ssh" / "known_hosts").write_text(
            f"[127.0.0.1]:{port or self.port} {' '.join(text.split()[:2])}\n"
        )


@pytest.fixture
def ssh_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """A server with a host key, a port and users' keys of its own; its host is not yet trusted."""
    if SSHD is None or SFTP_SERVER is None:
        pytest.skip("there is no sshd with an sftp-server here")
    if os.geteuid() == 0:
        try:
            SEPARATION_FOLDER.mkdir(exist_ok=True)
        except OSError:
            pytest.skip(f"sshd wants {SEPARATION_FOLDER}, which cannot be made here")
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    for key in (home / "host_key", home / ".ssh" / "id_ed25519"):
        make_key(key)
    port = free_port()
    config = home / "sshd_config"
    # Whatever is run begins in the test's own home folder instead of the account's.
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host_key\n"
        f"AuthorizedKeysFile {home}/.ssh/id_ed25519.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin yes\nSubsystem sftp {SFTP_SERVER}\n"
        f'ForceCommand cd {home} && HOME={home} exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    log = (home / "sshd.log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    try:
        wait_until_listening(port, server, home / "sshd.log")
        yield SshServer(home, port)
    finally:
        server.terminate()
        server.wait()
        log.close()


def make_key(path: Path) -> None:
    """Write a private key, and its public one beside it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(path)
    key.write_public_key(path.with_suffix(".pub"))
    path.chmod(0o600)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_listening(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail(f"sshd does not listen: {log.read_text()}")


class CutLine:
    """Forwards connections to a port; the n-th ends abruptly when `cuts[n]` bytes have gone out."""

    def __init__(self, target: int, cuts: list[int]) -> None:
        self.target = target
        self.cuts = cuts
        self.sent: list[int] = []
        """Bytes that went out on each connection."""

        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection now."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._open += [near, far]
                number = len(self.sent)
                self.sent.append(0)
                threading.Thread(target=self._out, args=(near, far, number), daemon=True).start()
                threading.Thread(target=self._back, args=(far, near), daemon=True).start()

    def _out(self, near: socket.socket, far: socket.socket, number: int) -> None:
        limit = self.cuts[number] if number < len(self.cuts) else None
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
                self.sent[number] += len(data)
                if limit is not None and self.sent[number] > limit:
                    break
        self._end(near, far)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)
        self._end(near, far)

    def _end(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
