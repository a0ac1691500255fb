"""The processes of a training on several devices: this one is rank 0 and starts the others.

Each finds in its environment what `torchrun` would put there, by which accelerate joins them. That
rank 0 is the worker itself keeps its errors and its progress where its caller reads them.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from accelerate.utils import check_cuda_p2p_ib_support, patch_environment


@contextmanager
def joined(count: int, work: Callable[..., object], *arguments: Any) -> Iterator[None]:
    """Run `work(*arguments)` as the ranks 1 to `count` - 1 while the body runs as rank 0.

    The others are ended with the body, and end themselves where this process is killed. Where one
    of them dies, this process ends too: it would wait for that rank for ever.
    """
    if count == 1:
        yield
        return
    with patch_environment(**_environment(0, count, _free_port())):
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_run, args=(rank, work, arguments), daemon=True)
            for rank in range(1, count)
        ]
        for process in others:
            process.start()
        over = threading.Event()
        threading.Thread(target=_end_with, args=(others, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            for process in others:
                process.kill()
                process.join()


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    values = {
        "rank": str(rank),
        "local_rank": str(rank),
        "world_size": str(count),
        "local_world_size": str(count),
        "master_addr": "127.0.0.1",
        "master_port": str(port),
    }
    if not check_cuda_p2p_ib_support():
        # Some consumer cards cannot reach one another's memory, and NCCL tries to.
        values |= {"nccl_p2p_disable": "1", "nccl_ib_disable": "1"}
    return values


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(rank: int, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """The main function of another rank; all else in its environment is rank 0's."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    work(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _end_with(others: list[Any], over: threading.Event) -> None:
    """End this process where one of the others fails while the work is not over."""
    running = {process.sentinel: process for process in others}
    while running:
        for sentinel in wait(list(running)):
            process = running.pop(sentinel)
            process.join()
            if process.exitcode and not over.is_set():
                os._exit(1)
