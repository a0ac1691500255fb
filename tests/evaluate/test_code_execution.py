"""Generated code can compute, and nothing else; how its tests went is out of its reach."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgecomp.common.errors import CodeNotAllowed
from edgecomp.evaluate import system_calls
from edgecomp.evaluate.code_execution import run_tests
from edgecomp.evaluate.code_sandbox import as_data, from_data

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the sandbox needs Linux"
)

PROMPT = 'import math\n\ndef double(x):\n    """Twice x."""\n'
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"
RIGHT = "def double(x):\n    return 2 * x\n"
WRONG = "def double(x):\n    return 7\n"


def outcome(
    program: str, test: str = TEST, prompt: str = PROMPT, entry_point: str = "double"
) -> str:
    return run_tests(program, prompt=prompt, test=test, entry_point=entry_point)


def test_a_right_program_passes_and_a_wrong_one_fails() -> None:
    assert outcome(RIGHT) == "passed"
    assert outcome("import math, re, collections, hashlib, typing\n" + RIGHT) == "passed"
    assert outcome("def double(x):\n    import os.path, datetime\n    return 2 * x\n") == "passed"
    assert outcome("def double(x):\n    return x * x\n") == "failed"
    assert outcome("def double(x) return 2 * x") == "failed"
    assert outcome("def half(x):\n    return x / 2\n") == "failed"


def test_tests_use_what_the_prompt_defines() -> None:
    prompt = "def twice(x):\n    return 2 * x\n\ndef double(x):\n"
    test = "def check(candidate):\n    for x in range(9):\n        assert double(x) == twice(x)\n"
    assert outcome(prompt + "    return x + x", test, prompt) == "passed"
    # A4: the program's own version of what the tests use does not count.
    assert outcome("def twice(x):\n    return 7\n" + WRONG, test, prompt) == "failed"


def test_exceptions_of_the_function_reach_the_tests() -> None:
    test = (
        "def check(candidate):\n    try:\n        candidate('x')\n"
        "    except ValueError:\n        return\n    assert False\n"
    )
    assert outcome("def double(x):\n    return 2 * int(x)\n", test) == "passed"
    assert outcome("def double(x):\n    raise TypeError\n", test) == "failed"


@pytest.mark.parametrize(
    "value",
    [
        None, True, -3, 1 << 20_000, 0.1, float("inf"), 1 + 2j, "\u00e9\ud800", b"\x00",
        range(1, 9, 2),
        [1, (2, {3}), frozenset({4})], {(1, 2): {"a": [None]}, "int": 5}, set(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_plain_values_cross_as_they_are(value: object) -> None:
    crossed = from_data(as_data(value))
    assert crossed == value
    assert type(crossed) is type(value)


@pytest.mark.parametrize(
    "trick",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit(0)",
        "print('passed')\nimport os; os._exit(0)",
    ],
)
@pytest.mark.parametrize("place", ["", "def double(x):\n    "])
def test_ending_early_is_not_passing(trick: str, place: str) -> None:
    assert outcome(RIGHT + place + trick.replace("\n", "\n    " if place else "\n")) == "failed"


WRITE_EVERYWHERE = """
import os
for fd in range(64):
    for words in (b"passed", b'["result", {"int": "0x4"}]'):
        try: os.write(fd, words)
        except OSError: pass
"""

SEARCH = """
import sys, gc
found = []
frame = sys._getframe()
while frame:
    found += [repr(frame.f_globals), repr(frame.f_locals)]
    frame = frame.f_back
found += [repr(vars(sys.modules["__main__"]))]
found += [repr(o) for o in gc.get_objects() if isinstance(o, (dict, list, tuple, str))]
for path in ("/proc/self/mem", "/proc/self/environ", "/proc/self/cmdline"):
    try: found.append(open(path, "rb").read(1 << 20).decode("latin-1"))
    except Exception: pass
secret = "".join(reversed("drow-cigam"))
def double(x):
    return secret if any(secret in text for text in found) else None
"""

ALWAYS_EQUAL = """
class Equal:
    def __eq__(self, other): return True
    def __hash__(self): return 1
class Number(int):
    def __eq__(self, other): return True
class Text(str):
    def __eq__(self, other): return True
"""


@pytest.mark.parametrize(
    "trick",
    [
        WRONG + WRITE_EVERYWHERE,
        WRONG + WRITE_EVERYWHERE + "os._exit(0)",
        ALWAYS_EQUAL + "def double(x):\n    return Equal()",
        ALWAYS_EQUAL + "def double(x):\n    return Number(7)",
        ALWAYS_EQUAL + "def double(x):\n    return [Text('x')]",
        WRONG + "import builtins; builtins.AssertionError = KeyError",
        WRONG + "check = lambda candidate: None",
        WRONG + "import sys; sys.modules['__main__']._finish = lambda *a: None",
        WRONG + "import sys; sys.modules['__main__'].exec = lambda *a: None",
        WRONG + "import sys; m = sys.modules['__main__']; m._finish(3, 'passed')",
        WRONG + "import sys; m = sys.modules['__main__']; m._finish(1, 'passed')",
        WRONG + "import os; os.fork(); os._exit(0)",
        WRONG + "import sys; sys.settrace(lambda *a: None); sys.excepthook = lambda *a: None",
        "def double(x):\n    raise SystemExit(0)",
        "def double(x):\n    raise KeyboardInterrupt",
        "def double(x):\n    raise AssertionError",
    ],
)
def test_a_wrong_program_cannot_say_that_it_passed(trick: str) -> None:  # A4
    assert outcome(trick) == "failed"


def test_the_tests_cannot_be_read_by_the_program() -> None:  # A4
    test = "def check(candidate):\n    assert candidate(1) == 'magic-word'\n"
    assert outcome('def double(x):\n    return "magic" + "-word"\n', test) == "passed"
    prompt = PROMPT + "    # magic-word\n"
    assert outcome(SEARCH, test, prompt) == "failed"
    # The search does find what is in its own process.
    assert outcome("hidden = ['magic-word']\n" + SEARCH, test, prompt) == "passed"


ACTS = [
    "import socket; socket.socket()",
    "import os; os.fork()",
    "import subprocess; subprocess.run(['true'])",
    "import os; assert os.system('true') == 0",
    "import os; os.kill(os.getppid(), 0)",
    "import os; os.kill(os.getpid(), 0)",
    "import os; os.killpg(0, 0)",
    "import os; os.execv('/bin/true', ['true'])",
    "import threading; t = threading.Thread(target=print); t.start()",
    "open('file', 'w')",
    "open('/proc/self/mem', 'rb')",
    "import os; os.listdir('/')",
    "import os; os.stat('/')",
    "import os; os.mkdir('folder')",
    "import os; os.memfd_create('x')",
    "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
    "import os; os.sched_setaffinity(os.getppid(), {0})",
    "import os; os.setsid()",
    "import resource; resource.setrlimit(resource.RLIMIT_CPU, (5, 5))",
    "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_AS, (1 << 30, 1 << 30))",
    "import fcntl, os; fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
]


@pytest.mark.parametrize("act", ACTS)
def test_what_is_not_computing_fails(act: str) -> None:  # A4
    assert outcome(RIGHT + act) == "failed"


@pytest.mark.parametrize(
    "call",
    [
        "prctl(1, 0, 0, 0, 0)", "ptrace(0, 0, 0, 0)", "prlimit(os.getppid(), 9, None, None)",
        "syscall(250, 0, -3, 0)", "syscall(425, 8, parameters)", "personality(0xFFFFFFFF)",
    ],
)  # fmt: skip
def test_system_calls_that_are_not_listed_are_refused(call: str) -> None:  # A4
    if "syscall" in call and platform.machine() != "x86_64":
        pytest.skip("the numbers of keyctl and io_uring_setup are those of x86-64")
    act = (
        "import ctypes, os\nparameters = ctypes.create_string_buffer(120)\n"
        f"libc = ctypes.CDLL(None, use_errno=True)\nanswer = libc.{call}\n"
        "refused = answer == -1 and ctypes.get_errno() == 38\n"
        "def double(x):\n    return 2 * x if refused else None\n"
    )
    assert outcome(act) == "passed"


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
    assert outcome("while True: pass") == "out of time"
    monkeypatch.setattr("edgecomp.evaluate.code_execution.WALL_SECONDS", 1.0)
    assert outcome("import time\ndef double(x):\n    time.sleep(60)") == "out of time"


FLOOD = """
from pathlib import Path
import resource
from edgecomp.evaluate import code_execution
code_execution.PROCESSOR_SECONDS = 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
program = Path({program!r}).read_text()
print(code_execution.run_tests(program, prompt={prompt!r}, test={test!r}, entry_point="double"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("stream", ["sys.stderr", "sys.stdout", "sys.__stderr__"])
def test_a_program_that_prints_for_ever_fills_no_memory(stream: str, tmp_path: Path) -> None:  # A4
    program = tmp_path / "program.py"
    program.write_text(f"import sys\nwhile True:\n    {stream}.write('x' * 1000000)\n")
    code = FLOOD.format(program=str(program), prompt=PROMPT, test=TEST)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, grown_kib = done.stdout.split("\n")[:2]
    assert said == "out of time"
    assert int(grown_kib) < 16_000


def test_a_result_without_end_fails() -> None:  # A4
    assert outcome("def double(x):\n    return 'x' * (1 << 25)\n") == "failed"
    assert outcome("import os\nwhile True:\n    for fd in range(9):\n        try: os.write(fd, b'x'"
                   " * 9999)\n        except OSError: pass\n") == "failed"  # fmt: skip


def test_a_program_that_sleeps_ends_with_the_evaluator(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time\ntime.sleep(600)\n")
    code = FLOOD.format(program=str(program), prompt=PROMPT, test=TEST)
    evaluator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    started = psutil.Process(evaluator.pid)
    while len(processes := started.children(recursive=True)) < 2:
        assert evaluator.poll() is None
        time.sleep(0.01)
    evaluator.kill()
    evaluator.wait()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_a_machine_without_the_sandbox_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(CodeNotAllowed, match="riscv64"):
        outcome(RIGHT)


def test_a_machine_without_libseccomp_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    system_calls.filters.cache_clear()
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(CodeNotAllowed, match="libseccomp2"):
        outcome(RIGHT)


def test_a_filter_that_the_kernel_refuses_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecomp.evaluate.code_execution.filters", lambda: (b"\xff" * 16,) * 2)
    with pytest.raises(CodeNotAllowed, match="the kernel refused the sandbox"):
        outcome(RIGHT)
