"""What was freed must leave the process, or it lies beside the next layer's Hessian."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch
from edgecomp.compress.freed_memory import return_freed_memory
from edgecomp.runtimes.process_memory import process_memory

first = process_memory().resident_bytes
tensors = [torch.ones(2**20) for _ in range(64)]
del tensors
kept = process_memory().resident_bytes
return_freed_memory()
print(kept - first, process_memory().resident_bytes - first)
"""
# Otherwise it is where the tensors happen to lie that decides whether glibc keeps what is freed.
KEEPS = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps and returns memory so")
def test_what_was_freed_goes_back_to_the_system() -> None:
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | KEEPS
    )
    kept, left = map(int, run.stdout.split())
    assert kept > 250 * 10**6, "glibc returned it by itself: nothing was tested"
    assert left < 20 * 10**6
