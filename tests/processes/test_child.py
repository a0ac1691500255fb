"""A worker's crash, hang, kill and refusal each become their own error; the caller lives on."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from edgecomp.common.errors import (
    ChildDied,
    ChildHung,
    ChildKilledByMemory,
    RuntimeRefused,
)
from edgecomp.processes.child import Child

WORKER = """
    import ctypes, os, signal, subprocess, sys, threading, time
    from edgecomp.common.errors import RuntimeRefused
    from edgecomp.processes.child import serve

    def echo(progress, value):
        progress(1, 2)
        print("printed by python")
        os.write(1, b"printed by native code\\n")
        return value

    def refuse(progress):
        raise RuntimeRefused("not this one")

    def crash(progress):
        os.write(2, b"about to crash\\n")
        ctypes.string_at(0)

    def killed(progress):
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(progress):
        time.sleep(60)

    def hang_watching_a_clock(progress):
        def watch():
            while True:
                time.sleep(0.02)
        threading.Thread(target=watch, daemon=True).start()
        time.sleep(60)

    def work(progress, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(10_000))
        return "done"

    def work_in_a_child(progress, seconds):
        program = f"import time\\nend = time.monotonic() + {seconds}\\n"
        program += "while time.monotonic() < end: sum(range(10_000))"
        subprocess.run([sys.executable, "-c", program], check=True)
        return "done"

    def bug(progress):
        raise KeyError("a bug")

    serve({name: handler for name, handler in globals().items() if callable(handler)})
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "odd_worker.py").write_text(textwrap.dedent(WORKER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "odd_worker"


def test_an_answer_comes_back_and_prints_go_to_the_log(worker: str) -> None:
    reported: list[tuple[float, float]] = []
    with Child(worker) as child:
        value = {"text": "ä\n", "numbers": [1, 2.5]}
        answer = child.call("echo", lambda done, total: reported.append((done, total)), value=value)
        assert answer == value
        assert reported == [(1, 2)]
        assert "printed by native code" in child.log_text()


def test_a_refusal_keeps_its_class_and_the_worker_lives(worker: str) -> None:
    with Child(worker) as child:
        with pytest.raises(RuntimeRefused, match="not this one"):
            child.call("refuse")
        assert child.call("echo", value=1) == 1


def test_a_native_crash_becomes_an_error_with_the_log(worker: str) -> None:
    with Child(worker) as child, pytest.raises(ChildDied, match="SIGSEGV") as caught:
        child.call("crash")
    assert "about to crash" in str(caught.value)
    assert "edgecomp doctor" in str(caught.value)  # A1


def test_a_kill_is_told_apart_and_blamed_on_memory(worker: str) -> None:
    with Child(worker) as child, pytest.raises(ChildKilledByMemory, match="memory ran out"):
        child.call("killed")


@pytest.mark.parametrize("request_name", ["hang", "hang_watching_a_clock"])
def test_a_hang_is_ended(worker: str, request_name: str) -> None:
    with Child(worker) as child:
        child.call("echo", value=1)  # it has started: what it does from now on is this request
        process = psutil.Process(child.process_id)
        with pytest.raises(ChildHung, match=r"no sign of life.*edgecomp doctor"):
            child.call(request_name, longest_silence_seconds=0.5)
        gone, _ = psutil.wait_procs([process], timeout=10)
        assert gone


@pytest.mark.parametrize("request_name", ["work", "work_in_a_child"])
def test_silent_work_lasts_longer_than_the_silence_that_is_allowed(  # A2
    worker: str, request_name: str
) -> None:
    with Child(worker) as child:
        child.call("echo", value=1)
        assert child.call(request_name, seconds=2.5, longest_silence_seconds=0.4) == "done"


def test_a_bug_in_the_worker_shows_its_traceback(worker: str) -> None:
    with Child(worker) as child, pytest.raises(ChildDied, match="KeyError: 'a bug'"):
        child.call("bug")


def test_a_worker_ends_when_its_caller_is_gone(worker: str, tmp_path: Path) -> None:
    caller = f"""
import os
from edgecomp.processes.child import Child
child = Child({worker!r})
child.call("echo", value=1)
print(child.process_id, flush=True)
os._exit(1)
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", caller], capture_output=True, text=True)
    worker_id = int(done.stdout)
    _, alive = psutil.wait_procs(
        [psutil.Process(worker_id)] if psutil.pid_exists(worker_id) else [], timeout=10
    )
    assert not alive
