"""The sandbox of generated code, run as a program of its own with the standard library alone.

Two processes. The one that `code_execution` starts runs the tests and says how they went. It forks
a second one, which runs the generated program and only answers calls: arguments go in and results
come out as plain values, through two pipes. The tests are read only after the fork, so the program
shares no interpreter, no memory and no file with them: it can neither read them nor say that they
passed.

Both are locked by seccomp filters before anything of the program or the tests runs. The second
process loads what the program imports of the standard library, under the filter that allows
reading; then it can no longer open a file.
"""

from __future__ import annotations

import ast
import base64
import builtins
import ctypes
import json
import linecache  # noqa: F401  (Python loads it to warn of a program's escapes)
import os
import resource
import struct
import sys
from importlib import import_module
from typing import IO, Any, NoReturn

ANSWER_BYTES = 1 << 24
"""The longest result of a call that is read."""

NO_NEW_PRIVILEGES, SET_FILTER, PARENT_DEATH_SIGNAL, KILL = 38, 22, 1, 9  # prctl(2), signal(7)
OUT_OF_TIME = (24, KILL)
"""SIGXCPU and SIGKILL: how the limit on processor time ends a process."""

Request = dict[str, Any]


def main() -> NoReturn:
    """Read a line with the program and its limits, then the tests; say how they went.

    Standard input gives both as JSON, standard output takes the report.
    """
    program: Request = json.loads(_first_line())
    tests_in, report = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    _control(PARENT_DEATH_SIGNAL, KILL, report)
    calls_out, calls_in = os.pipe()
    answers_out, answers_in = os.pipe()
    child = os.fork()
    if child == 0:
        for other in (tests_in, calls_in, answers_out):
            os.close(other)
        answer_calls(program, os.fdopen(calls_out, "rb"), answers_in, report)
    for other in (calls_out, answers_in):
        os.close(other)
    tests: Request = json.loads(os.fdopen(tests_in, "rb").read())
    _limit(program)
    _lock(program["reading"], report)
    candidate = Candidate(child, calls_in, os.fdopen(answers_out, "rb"), report)
    try:
        # The prompt ends with the head of a function, and brings what the tests use besides it.
        names: dict[str, Any] = {"__name__": "tests"}
        exec(f"{tests['prompt']}\n    pass\n", names)
        names[program["entry_point"]] = candidate
        exec(tests["test"], names)
        names["check"](candidate)
    except BaseException:
        _finish(report, "failed")
    _finish(report, "passed")


def _first_line() -> bytes:
    """The first line of standard input; nothing after it is read."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


class Candidate:
    """The generated function, called in the other process."""

    def __init__(self, child: int, calls: int, answers: IO[bytes], report: int) -> None:
        self.child, self.calls, self.answers, self.report = child, calls, answers, report

    def __call__(self, *arguments: object, **named: object) -> object:
        """The result; raises the exception that the function raised."""
        call = json.dumps(as_data((arguments, named))).encode() + b"\n"
        try:
            while call:
                call = call[os.write(self.calls, call) :]
        except BrokenPipeError:
            self.end()
        line = self.answers.readline(ANSWER_BYTES)
        if not line.endswith(b"\n"):
            self.end()
        kind, answer = json.loads(line)
        if kind == "result":
            return from_data(answer)
        error = getattr(builtins, str(answer), None)
        if isinstance(error, type) and issubclass(error, Exception):
            raise error
        raise RuntimeError(answer)

    def end(self) -> NoReturn:
        """The program has ended, or does not answer as a function does: it has not passed."""
        ended, status = os.waitpid(self.child, os.WNOHANG)
        if not ended and not self.answers.read(1):
            ended, status = os.waitpid(self.child, 0)
        killed = bool(ended) and os.WIFSIGNALED(status) and os.WTERMSIG(status) in OUT_OF_TIME
        _finish(self.report, "out of time" if killed else "failed")


def answer_calls(program: Request, calls: IO[bytes], answers: int, report: int) -> NoReturn:
    """Run the program, then answer calls of its function until there are no more."""
    try:
        _control(PARENT_DEATH_SIGNAL, KILL, report)
        _limit(program)
        _lock(program["reading"], report)
        _import_standard_modules(program["source"])
        _lock(program["computing"], report)
        os.close(report)
        names: dict[str, Any] = {"__name__": "candidate"}
        exec(program["source"], names)
        function = names[program["entry_point"]]
        for line in calls:
            arguments, named = from_data(json.loads(line))
            try:
                answer = ["result", as_data(function(*arguments, **named))]
            except Exception as error:
                answer = ["error", type(error).__name__]
            left = json.dumps(answer).encode() + b"\n"
            while left:
                left = left[os.write(answers, left) :]
    finally:
        os._exit(1)


def as_data(value: object) -> object:
    """`value` as JSON can hold it; of a kind of container, the plain container.

    Raises TypeError for what is no plain value.
    """
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return {"int": hex(value)}  # of any length, whatever Python's limit on digits
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    for binary in (bytes, bytearray):
        if isinstance(value, binary):
            return {binary.__name__: value.hex()}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {"dict": [[as_data(key), as_data(item)] for key, item in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [as_data(item) for item in value]}
    raise TypeError(f"{type(value).__name__} is no plain value")


def from_data(data: Any) -> Any:
    """The value that `as_data` wrote."""
    if not isinstance(data, dict):
        return data
    [(kind, content)] = data.items()
    if kind == "int":
        return int(content, 16)
    if kind in ("complex", "range"):
        return {"complex": complex, "range": range}[kind](*content)
    if kind in ("bytes", "bytearray"):
        return {"bytes": bytes, "bytearray": bytearray}[kind](bytes.fromhex(content))
    if kind == "dict":
        return {from_data(key): from_data(item) for key, item in content}
    kinds = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    return kinds[kind](from_data(item) for item in content)


def _import_standard_modules(source: str) -> None:
    """Load what `source` imports of the standard library, and what that imports when called."""
    wanted = {"_strptime"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted.add(node.module)
            wanted.update(f"{node.module}.{alias.name}" for alias in node.names)
    for name in sorted(wanted):
        if name.split(".")[0] in sys.stdlib_module_names:
            try:
                import_module(name)
            except Exception:
                continue  # where the program imports it, it fails as anywhere


def _limit(program: Request) -> None:
    for name, limit in (
        (resource.RLIMIT_AS, program["memory_bytes"]),
        (resource.RLIMIT_CPU, program["processor_seconds"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(name, (limit, limit))


def _lock(filter_base64: str, report: int) -> None:
    """Put the filter over this process, on top of those it has."""
    program = base64.b64decode(filter_base64)
    kept = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    _control(NO_NEW_PRIVILEGES, 1, report)
    _control(SET_FILTER, 2, report, header)


def _control(option: int, value: int, report: int, pointer: bytes | None = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_char_p(pointer), 0, 0):
        _finish(report, f"refused: {os.strerror(ctypes.get_errno())}")


def _finish(report: int, outcome: str) -> NoReturn:
    os.write(report, outcome.encode())
    os._exit(0)


if __name__ == "__main__":
    main()
