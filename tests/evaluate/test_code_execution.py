"""Generated code can compute, and nothing else."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from edgecomp.errors import CodeNotAllowed
from edgecomp.evaluate.code_execution import run_tests

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the sandbox needs Linux"
)

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"
RIGHT = "def double(x):\n    return 2 * x\n"


def outcome(program: str) -> str:
    return run_tests(program, TEST, "double")


def test_a_right_program_passes_and_a_wrong_one_fails() -> None:
    assert outcome(RIGHT) == "passed"
    assert outcome("import math, re, collections, hashlib, typing\n" + RIGHT) == "passed"
    assert outcome("def double(x):\n    return x * x\n") == "failed"
    assert outcome("def double(x) return 2 * x") == "failed"


@pytest.mark.parametrize(
    "trick",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit(0)",
        "print('passed')\nimport os; os._exit(0)",
    ],
)
def test_ending_early_is_not_passing(trick: str) -> None:
    assert outcome(RIGHT + trick) == "failed"


@pytest.mark.parametrize(
    "act",
    [
        "import socket; socket.socket()",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; assert os.system('true') == 0",
        "import os; os.kill(os.getppid(), 0)",
        "import os; os.execv('/bin/true', ['true'])",
        "import threading; t = threading.Thread(target=print); t.start()",
        "open('file', 'w')",
        "import os; os.mkdir('folder')",
        "import ctypes; assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0",
    ],
)
def test_what_is_not_computing_fails(act: str) -> None:
    assert outcome(RIGHT + act) == "failed"


@pytest.mark.parametrize("act", ["os.unlink(p)", "os.rename(p, p + 'x')", "os.chmod(p, 0o777)",
                                 "os.truncate(p, 0)", "open(p, 'r+')", "os.utime(p)"])  # fmt: skip
def test_a_file_of_the_user_stays_as_it_is(act: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    before = victim.stat()
    assert outcome(f"{RIGHT}import os\np = {str(victim)!r}\n{act}\n") == "failed"
    after = victim.stat()
    assert victim.read_text() == "precious"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_memory_and_time_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome("def double(x):\n    return [0] * 10**9") == "failed"
    monkeypatch.setattr("edgecomp.evaluate.code_execution.PROCESSOR_SECONDS", 1)
    assert outcome("def double(x):\n    while True: pass") == "out of time"
    monkeypatch.setattr("edgecomp.evaluate.code_execution.WALL_SECONDS", 1.0)
    assert outcome("import time\ndef double(x):\n    time.sleep(60)") == "out of time"


def test_a_machine_without_the_sandbox_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(CodeNotAllowed, match="riscv64"):
        outcome(RIGHT)
