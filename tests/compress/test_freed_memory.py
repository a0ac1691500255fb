"""What was freed must leave the process, or it lies beside the next layer's Hessian."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from edgecomp.compress.freed_memory import return_freed_memory
from edgecomp.measure.process_memory import process_memory

kept = []
for _ in range(64):
    freed = torch.ones(2**20)  # 4 MB, which glibc keeps once it has seen it freed
    kept.append(torch.ones(2**10))  # so that the top of the heap cannot just be cut off
    del freed
blocks = [(torch.ones(2**20), torch.ones(2**10)) for _ in range(64)]
kept += [small for _, small in blocks]
del blocks
before = process_memory().resident_bytes
return_freed_memory()
print(before - process_memory().resident_bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps and returns memory so")
def test_what_was_freed_goes_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 200 * 10**6
