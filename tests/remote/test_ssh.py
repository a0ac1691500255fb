"""A real sshd on loopback: trust, measuring there, and connections that are cut."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import asyncssh
import psutil
import pytest
from ssh_server import CutLine, SshServer, make_key

from edgecomp.common.errors import ConnectionFailed, HostUntrusted, RemoteFailed
from edgecomp.common.events import Event, Noted, ignore
from edgecomp.formats.exporting import find_exporter
from edgecomp.measure.request import MeasureRequest
from edgecomp.models.reading import read_model
from edgecomp.remote import ssh_copy
from edgecomp.remote.partial_names import MACHINE, partial_name, writer
from edgecomp.remote.ssh import CONNECTION_LOST, connected, run
from edgecomp.remote.ssh_copy import copy_files
from edgecomp.remote.ssh_measure import measure_over_ssh

ONE_LOAD = MeasureRequest(concurrencies=(2,))
FOLDER = PurePosixPath("there")
SIZE = 24 * 2**20


@pytest.fixture
def model(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    path = tmp_path / "a tiny model.gguf"
    find_exporter("gguf").export(read_model(tiny_model("llama")), path, "F16", lambda *_: None)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of random bytes."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def cut_line(
    ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[list[int]], CutLine]]:
    """Makes lines to the server, which is trusted on them."""
    monkeypatch.setattr(ssh_copy, "PAUSE_SECONDS", 0.0)
    lines: list[CutLine] = []

    def make(cuts: list[int]) -> CutLine:
        lines.append(CutLine(ssh_server.port, cuts))
        ssh_server.trust(lines[-1].port)
        return lines[-1]

    yield make
    for line in lines:
        line.close()


def measure(server: SshServer, model: Path, python: str = sys.executable) -> object:
    return measure_over_ssh(model, server.address(), python, ONE_LOAD, ignore)


def test_r47_a_model_is_measured_on_the_device_and_its_figures_come_back(
    ssh_server: SshServer, model: Path
) -> None:
    ssh_server.trust()
    heard: list[Event] = []
    found = measure_over_ssh(model, ssh_server.address(), sys.executable, ONE_LOAD, heard.append)
    assert found.artifact == model.name and found.artifact_bytes == model.stat().st_size
    assert [level.concurrency for level in found.levels] == [2]
    assert any(isinstance(event, Noted) and "2 at a time" in event.text for event in heard)
    received = list((ssh_server.home / ".cache/edgecomp/received").rglob("*.gguf"))
    assert [path.read_bytes() for path in received] == [model.read_bytes()]


def test_an_unknown_host_and_a_changed_key_get_nothing(
    ssh_server: SshServer, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(HostUntrusted, match="Nothing was sent"):
        measure(ssh_server, model)
    make_key(tmp_path / "other_key")
    ssh_server.trust(key=(tmp_path / "other_key.pub").read_text())
    with pytest.raises(HostUntrusted, match="ssh-keygen -R"):
        measure(ssh_server, model)
    assert not (ssh_server.home / ".cache/edgecomp/received").exists()


def test_a_configuration_without_known_hosts_trusts_nobody(
    ssh_server: SshServer, model: Path
) -> None:
    (ssh_server.home / ".ssh" / "config").write_text("UserKnownHostsFile none\n")
    with pytest.raises(HostUntrusted):
        measure(ssh_server, model)


def test_a_key_that_the_server_does_not_know_is_an_explained_error(
    ssh_server: SshServer, model: Path
) -> None:
    ssh_server.trust()
    (ssh_server.home / ".ssh" / "id_ed25519.pub").rename(ssh_server.home / "moved.pub")
    with pytest.raises(ConnectionFailed, match="ssh-copy-id"):
        measure(ssh_server, model)


def test_a_device_without_edgecomp_says_how_to_get_it(
    ssh_server: SshServer, model: Path, tmp_path: Path
) -> None:
    ssh_server.trust()
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(RemoteFailed, match=r"No module named.*pip install edgecomp"):
        measure(ssh_server, model, str(bare))
    with pytest.raises(RemoteFailed, match="--remote-python"):
        measure(ssh_server, model, "no-such-python")


def test_what_the_devices_own_edgecomp_refuses_comes_back(
    ssh_server: SshServer, model: Path
) -> None:
    ssh_server.trust()
    model.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises(RemoteFailed, match=r"On ssh://.*is cut short"):
        measure(ssh_server, model)


def test_a_copy_that_is_cut_goes_on_where_it_stopped(
    ssh_server: SshServer, large: Path, cut_line: Callable[[list[int]], CutLine]
) -> None:
    line = cut_line([SIZE * 2 // 3])
    reported: list[float] = []
    copy = copy_files(
        ssh_server.address(line.port), {"a/large.bin": large}, FOLDER, sys.executable,
        lambda done, total: reported.append(done / total),
    )  # fmt: skip
    asyncio.run(copy)
    assert (ssh_server.home / "there/a/large.bin").read_bytes() == large.read_bytes()
    assert len(line.sent) == 2 and line.sent[1] < SIZE * 2 // 3
    assert reported[-1] == 1.0


def test_what_an_ended_writer_left_is_gone_on_with_and_a_living_ones_is_let_be(
    ssh_server: SshServer, large: Path, cut_line: Callable[[list[int]], CutLine]
) -> None:
    line = cut_line([SIZE * 2 // 3, 0])
    address, files = ssh_server.address(line.port), {"large.bin": large}
    with pytest.raises(ConnectionFailed):
        asyncio.run(copy_files(address, files, FOLDER, sys.executable, lambda *_: None))
    folder = ssh_server.home / "there"
    (left,) = folder.iterdir()
    shorter = left.with_name(f".large.bin.{MACHINE}-{os.getpid()}-00000000.partial")
    shorter.write_bytes(b"begun")
    with writer() as other:
        living = folder / partial_name("large.bin", other)
        living.write_bytes(b"another's")
        asyncio.run(copy_files(address, files, FOLDER, sys.executable, lambda *_: None))
        assert living.read_bytes() == b"another's"
    assert (folder / "large.bin").read_bytes() == large.read_bytes()
    assert {path.name for path in folder.iterdir()} == {"large.bin", living.name}
    assert line.sent[-1] < SIZE * 2 // 3


def test_two_starters_of_the_same_copy_do_not_write_into_each_other(
    ssh_server: SshServer, large: Path
) -> None:
    ssh_server.trust()
    address, files = ssh_server.address(), {"large.bin": large}

    async def both() -> None:
        await asyncio.gather(
            *(copy_files(address, files, FOLDER, sys.executable, lambda *_: None) for _ in "ab")
        )

    asyncio.run(both())
    (whole,) = (ssh_server.home / "there").iterdir()
    assert whole.name == "large.bin" and whole.read_bytes() == large.read_bytes()


def test_what_is_there_whole_is_not_sent_again_and_what_is_changed_is(
    ssh_server: SshServer, large: Path, cut_line: Callable[[list[int]], CutLine]
) -> None:
    line = cut_line([])
    there = ssh_server.home / "there" / "large.bin"
    files = {"large.bin": large}
    for _ in range(2):
        address = ssh_server.address(line.port)
        asyncio.run(copy_files(address, files, FOLDER, sys.executable, lambda *_: None))
    assert line.sent[0] > SIZE > 100 * line.sent[1]
    # The right size, but one byte is another; and a half copy of something else.
    there.write_bytes(there.read_bytes()[:-1] + b"?")
    there.with_name(".large.bin.partial").write_bytes(os.urandom(2**20))
    asyncio.run(copy_files(address, files, FOLDER, sys.executable, lambda *_: None))
    assert there.read_bytes() == large.read_bytes()
    assert [path.name for path in there.parent.iterdir()] == ["large.bin"]


@pytest.mark.parametrize(
    ("error", "said"), [(asyncssh.ConnectionLost("cut"), False), (ValueError("a fault"), True)]
)
def test_of_requests_that_a_lost_connection_fails_no_tracebacks_are_printed(
    ssh_server: SshServer, caplog: pytest.LogCaptureFixture, error: Exception, said: bool
) -> None:
    async def fail() -> None:
        raise error

    async def lose() -> None:
        async with connected(ssh_server.address()):
            request = asyncio.create_task(fail())
            await asyncio.wait([request])
            del request
            gc.collect()

    ssh_server.trust()
    asyncio.run(lose())
    assert ("never retrieved" in caplog.text) == said


def test_a_line_that_is_cut_again_and_again_leaves_no_whole_looking_file(
    ssh_server: SshServer, large: Path, cut_line: Callable[[list[int]], CutLine]
) -> None:
    line = cut_line([2**20] * 10)
    address = ssh_server.address(line.port)
    with pytest.raises(ConnectionFailed, match="goes on where the copy stopped"):
        asyncio.run(copy_files(address, {"large.bin": large}, FOLDER, sys.executable, lambda *_: 0))
    assert not (ssh_server.home / "there/large.bin").exists()


def test_a_command_ends_over_there_when_the_connection_is_lost(
    ssh_server: SshServer, cut_line: Callable[[list[int]], CutLine]
) -> None:
    line = cut_line([])
    script = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        threading.Timer(0.1, line.cut).start()

    async def lose() -> None:
        async with connected(ssh_server.address(line.port)) as connection:
            await run(connection, [sys.executable, "-c", script], hear)

    with pytest.raises(CONNECTION_LOST):
        asyncio.run(lose())
    process = int(told[0])
    for _ in range(100):
        if not psutil.pid_exists(process):
            return
        time.sleep(0.1)
    pytest.fail("it still runs")


def test_a_measurement_whose_connection_is_lost_reports_nothing(
    ssh_server: SshServer, model: Path, cut_line: Callable[[list[int]], CutLine]
) -> None:
    line = cut_line([])

    def listen(event: Event) -> None:
        if isinstance(event, Noted) and event.text.startswith("Measuring on"):
            threading.Timer(1.0, line.cut).start()

    address = ssh_server.address(line.port)
    with pytest.raises(ConnectionFailed, match="Nothing was recorded"):
        measure_over_ssh(model, address, sys.executable, MeasureRequest(minutes=1), listen)
