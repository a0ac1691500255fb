"""Names under which files grow on a device: each writer has its own, and sees which are nobody's.

Two starters that copy the same file would else write into one another's. What a writer of this
machine left is known by its process, which has ended; what other machines write is left alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

MACHINE = hashlib.sha256(f"{platform.node()} {uuid.getnode()}".encode()).hexdigest()[:8]
_living: set[str] = set()
"""This process's own writers."""


@contextmanager
def writer() -> Iterator[str]:
    """A writer's name, which no other has; it lives as long as the block."""
    name = f"{MACHINE}-{os.getpid()}-{secrets.token_hex(4)}"
    _living.add(name)
    try:
        yield name
    finally:
        _living.discard(name)


def partial_name(name: str, writer: str) -> str:
    """What the file `name` is called while `writer` copies it."""
    return f".{name}.{writer}.partial"


def is_leftover(partial: str, name: str) -> bool:
    """Whether `partial` is a copy of `name` that a writer of this machine began, or an older
    edgecomp, and that nobody goes on with."""
    if partial == f".{name}.partial":
        return True
    found = re.fullmatch(rf"\.{re.escape(name)}\.({MACHINE}-(\d+)-[0-9a-f]{{8}})\.partial", partial)
    if found is None or found[1] in _living:
        return False
    process = int(found[2])
    return process == os.getpid() or not psutil.pid_exists(process)
