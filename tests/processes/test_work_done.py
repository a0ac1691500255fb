"""A program that works is waited for, one that is stuck is not (A2, A13)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from edgecomp.processes.work_done import wait_while_working, work_done

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen([sys.executable, "-c", program], text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


def test_a_program_that_computes_or_writes_is_waited_for_however_long(
    start: Start, tmp_path: object
) -> None:
    begin = "import time; end = time.monotonic() + 2\n"
    computing = start(begin + "while time.monotonic() < end: sum(range(1000))")
    assert wait_while_working(computing, 0.3)
    file = f"open({str(tmp_path)!r} + '/written', 'wb', buffering=0)"
    loop = "while time.monotonic() < end:\n f.write(bytes(10**6)); os.fsync(f); time.sleep(0.05)"
    writing = start(f"import os\n{begin}f = {file}\n{loop}")
    assert wait_while_working(writing, 0.3)
    assert computing.returncode == writing.returncode == 0


def test_a_program_that_does_nothing_is_given_up(start: Start) -> None:
    assert not wait_while_working(start("import time; time.sleep(60)"), 0.5)


def test_of_a_process_that_is_gone_nothing_is_counted(start: Start) -> None:
    process = start("pass")
    process.wait()
    assert work_done(process.pid).since(work_done(process.pid)) == 0
