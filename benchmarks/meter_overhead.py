"""Decode speed by edgecomp's meter beside a bare llama-cpp-python loop, side by side in one run.

The bare loop uses the library's own high-level class with the same settings; the two take turns,
each in a process of its own, so that the machine's drift falls on both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from edgecomp.common.machine_limits import physical_cores
from edgecomp.models.reading import demo_model_path
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.runtimes.protocol import Timing

DEPTH, TOKENS, ROUNDS, CONTEXT = 512, 128, 5, 2048
BARE = """
import sys, time
import llama_cpp
path, threads, depth, tokens, context = sys.argv[1], *map(int, sys.argv[2:])
model = llama_cpp.Llama(
    path, n_ctx=context, n_threads=threads, n_threads_batch=threads, n_batch=512, n_ubatch=512,
    flash_attn=True, use_mmap=False, verbose=False,
)
ids = model.tokenize(b"The river was low that summer, and the boats lay on the sand. " * 40)
prompt = (ids * 4)[:depth]
for _ in range(2):
    model.reset()
    model.eval(prompt)
    token = model.sample(temp=0.0)
    began = time.perf_counter()
    for _ in range(tokens):
        model.eval([token])
        token = model.sample(temp=0.0)
    seconds = time.perf_counter() - began
print(tokens / seconds)
model.close()
"""
TEXT = "The river was low that summer, and the boats lay on the sand. " * 40


def main() -> None:
    """Print both speeds and their ratio."""
    path, threads = demo_model_path(), physical_cores()
    settings = RunSettings(context=CONTEXT, threads=threads)
    ours, bare = [], []
    for _ in range(ROUNDS):
        raw = runtime.measure(
            path, settings, TEXT, Timing(depths=(DEPTH,), decode_tokens=TOKENS, repeats=1)
        )
        ours.append(TOKENS / sum(raw.depths[0].runs[0].token_seconds))
        numbers = [str(number) for number in (threads, DEPTH, TOKENS, CONTEXT)]
        command = [sys.executable, "-c", BARE, str(path), *numbers]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        bare.append(float(done.stdout.split()[-1]))
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    print(f"decode at depth {DEPTH}, {TOKENS} tokens, {threads} threads, {ROUNDS} rounds")
    for name, values in (("edgecomp's meter", ours), ("bare loop", bare)):
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:18} {statistics.median(values):7.1f} tok/s ({spread})")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{'ratio by round':18} {statistics.median(ratios):7.3f} ({spread})")


if __name__ == "__main__":
    main()
