"""Run a program that a model wrote, in a process that can compute and nothing else.

The process is Python in isolated mode in an empty folder, with limits on memory, processor time,
open files and file size, and a seccomp filter (`seccomp(2)`): no network, no writing or removing of
files, no new processes or programs, no signals to others. It says that the tests passed by a secret
that it is given, so a program that merely ends early does not pass. Linux on x86-64 and arm64 only;
elsewhere code is refused, not run without the filter.
"""

from __future__ import annotations

import json
import platform
import secrets
import subprocess
import sys
import tempfile
from typing import Literal

from edgecomp.errors import CodeNotAllowed

MEMORY_BYTES = 1 << 30
PROCESSOR_SECONDS = 10
WALL_SECONDS = 20.0

Outcome = Literal["passed", "failed", "out of time"]


def run_tests(program: str, test: str, entry_point: str) -> Outcome:
    """Run `program`, then `test`, which defines `check(candidate)`, on its `entry_point`.

    Raises CodeNotAllowed where this machine offers no sandbox.
    """
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in ("x86_64", "aarch64"):
        raise CodeNotAllowed(
            f"Generated code is not run on {sys.platform} {machine}: the sandbox needs Linux on "
            "x86-64 or arm64. Leave the code benchmarks out, or evaluate in a Linux container."
        )
    secret = secrets.token_hex(16)
    request = {
        "program": f"{program}\n\n{test}\n\ncheck({entry_point})\n",
        "secret": secret,
        "memory_bytes": MEMORY_BYTES,
        "processor_seconds": PROCESSOR_SECONDS,
        "machine": machine,
    }
    with tempfile.TemporaryDirectory(prefix="edgecomp-code-") as folder:
        try:
            finished = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _SANDBOX],
                input=json.dumps(request),
                cwd=folder,
                env={},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=WALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "out of time"
    if finished.returncode == _NO_SANDBOX:
        raise CodeNotAllowed(
            "Generated code is not run: the kernel refused the sandbox "
            f"({finished.stderr.strip()}). Leave the code benchmarks out, or evaluate on another "
            "machine."
        )
    if finished.stdout.endswith(secret):
        return "passed"
    # SIGXCPU or SIGKILL: the processor time limit.
    return "out of time" if finished.returncode in (-24, -9) else "failed"


_NO_SANDBOX = 99

_SANDBOX = r"""
import ctypes, errno, json, os, resource, struct, sys

ALLOW, REFUSE, ARGUMENT_2, ARGUMENT_1 = 0x7FFF0000, 0x00050000 | errno.EPERM, 32, 24
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# System calls denied, with their numbers on x86-64 and arm64 (None: not there).
DENIED = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "socketpair": (53, 199), "clone": (56, 220), "fork": (57, None), "vfork": (58, None),
    "execve": (59, 221), "execveat": (322, 281), "clone3": (435, 435), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "truncate": (76, 45), "ftruncate": (77, 46),
    "fallocate": (285, 47), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "creat": (85, None),
    "link": (86, None), "linkat": (265, 37), "unlink": (87, None), "unlinkat": (263, 35),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "copy_file_range": (326, 285),
    "openat2": (437, 437), "open_by_handle_at": (304, 265), "mq_open": (240, 180),
    "shmget": (29, 194), "chroot": (161, 51), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
    "seccomp": (317, 277), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}
# Opening is refused where its flags ask for writing: (system call, place of the flags).
OPENING = {"x86_64": [(2, ARGUMENT_1), (257, ARGUMENT_2)], "aarch64": [(56, ARGUMENT_2)]}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def step(code, value, jump_true=0, jump_false=0):
    return struct.pack("HBBI", code, jump_true, jump_false, value)


def lock(machine):
    LOAD, EQUAL, MASK, END = 0x20, 0x15, 0x45, 0x06
    rules = [step(LOAD, 4), step(EQUAL, AUDIT[machine], 1), step(END, 0x80000000), step(LOAD, 0)]
    column = ("x86_64", "aarch64").index(machine)
    for numbers in DENIED.values():
        if numbers[column] is not None:
            rules += [step(EQUAL, numbers[column], 0, 1), step(END, REFUSE)]
    if machine == "x86_64":  # the x32 interface would bypass the numbers above
        rules += [step(0x35, 0x40000000, 0, 1), step(END, REFUSE)]
    for number, flags in OPENING[machine]:
        rules += [
            step(EQUAL, number, 0, 4),
            step(LOAD, flags), step(MASK, WRITING, 0, 1), step(END, REFUSE), step(END, ALLOW),
        ]
    rules.append(step(END, ALLOW))
    program = ctypes.create_string_buffer(b"".join(rules))
    header = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(header), 0, 0):
        print(os.strerror(ctypes.get_errno()), file=sys.stderr)
        os._exit(99)


request = json.loads(sys.stdin.read())
channel = os.dup(1)
os.dup2(os.open(os.devnull, os.O_RDWR), 1)
for name, limit in (
    (resource.RLIMIT_AS, request["memory_bytes"]),
    (resource.RLIMIT_CPU, request["processor_seconds"]),
    (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 32),
):
    resource.setrlimit(name, (limit, limit))
# What tests import is loaded now or read later; nothing needs to be written.
lock(request["machine"])
names = {"__name__": "candidate"}
try:
    exec(request["program"], names)
except BaseException:
    os._exit(1)
os.write(channel, request["secret"].encode())
os._exit(0)
"""
