"""The system calls that a sandboxed process may make: seccomp filters (`seccomp(2)`).

Each filter lists what is allowed; whatever is not in its list is answered with ENOSYS, those calls
included that a later kernel brings. libseccomp writes the programs, for x86-64 and arm64 alike.
"""

from __future__ import annotations

import errno
import os
import tempfile
from functools import cache

from edgecomp.common.errors import CodeNotAllowed

COMPUTING = """
    read readv write writev close lseek fstat
    brk mmap munmap mremap mprotect madvise
    futex rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack sched_yield
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage
    getrandom getpid gettid getuid geteuid getgid getegid uname sysinfo
    poll ppoll select pselect6 exit exit_group
"""
"""Reckoning, and talking through what is already open."""

READING = """
    open openat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
    getdents64 getcwd pread64 fcntl prctl wait4
"""
"""Besides: reading files, waiting for the child, and adding a stricter filter."""

WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FILE_CONTROL = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC


@cache
def filters() -> tuple[bytes, bytes]:
    """Programs of the Berkeley packet filter: one that allows reading and computing, and one that
    allows computing alone.

    Raises CodeNotAllowed where libseccomp is missing or refuses.
    """
    try:
        return _filter(COMPUTING + READING), _filter(COMPUTING)
    except (ImportError, RuntimeError, OSError) as error:
        raise CodeNotAllowed(
            f"Generated code is not run: its sandbox needs libseccomp ({error}). Install it "
            "(Debian, Ubuntu: libseccomp2; Fedora, Alpine: libseccomp), or leave the code "
            "benchmarks out."
        ) from error


def _filter(allowed: str) -> bytes:
    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    for name in allowed.split():
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        if number == -1:  # this libseccomp does not know the call
            continue
        for arguments in _conditions(name):
            rules.add_rule(pyseccomp.ALLOW, number, *arguments)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _conditions(name: str) -> list[list[object]]:
    """The conditions on the arguments of the call `name`; any of them suffices."""
    from pyseccomp import EQ, MASKED_EQ, Arg

    if name in ("open", "openat"):
        place = 1 if name == "open" else 2
        return [[Arg(place, MASKED_EQ, WRITING_FLAGS, 0)]]
    if name == "fcntl":
        return [[Arg(1, EQ, command)] for command in FILE_CONTROL]
    return [[]]
