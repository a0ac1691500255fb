"""Run mutated inputs and count what became of them: `make fuzz`.

Prints accepted, refused and failed of each kind, and exits 1 where one failed: it raised something
else than an error that is explained to the user, its message is no single paragraph, its memory
grew by more than 1 GiB, or no answer came within the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fuzz.kinds import KINDS, write_input

INPUTS_OF_A_WORKER = 400
TESTS = Path(__file__).parents[1]
START_SECONDS = 300


class Failure(NamedTuple):
    kind: str
    seed: int
    text: str


class Worker:
    """One process that runs inputs, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.inputs = 0

    def answer(self, kind: str, seed: int, seconds: float) -> tuple[str, str]:
        """What became of one input; no answer in time is a failure, and so is a death."""
        if self.process is None or self.inputs >= INPUTS_OF_A_WORKER:
            self.start()
        self.inputs += 1
        process = self.process
        assert process and process.stdin
        process.stdin.write(json.dumps([kind, seed]) + "\n")
        process.stdin.flush()
        line = self.line(seconds)
        if line is None:
            code = process.poll()
            self.stop()
            said = "no answer" if code is None else f"the process ended with {code}"
            return "failed", f"{said} within {seconds:g} s"
        verdict, text = json.loads(line)
        return verdict, text

    def start(self) -> None:
        self.stop()
        self.inputs = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        )
        if self.line(START_SECONDS) is None:
            raise RuntimeError("A worker does not start: run `python -m fuzz.worker FOLDER`.")

    def line(self, seconds: float) -> str | None:
        assert self.process and self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return (self.process.stdout.readline() or None) if ready else None

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def inputs(kinds: list[str], first: int, count: int) -> Iterator[tuple[str, int]]:
    """Kinds in their shares, and the seed of each input."""
    row = [kind for kind in kinds for _ in range(KINDS[kind].share)]
    for number in range(first, first + count):
        yield row[number % len(row)], number


def carry_out(
    wanted: Iterator[tuple[str, int]], folder: Path, workers: int, seconds: float
) -> tuple[dict[str, Counter[str]], list[Failure]]:
    """Run all inputs over some workers."""
    counts: dict[str, Counter[str]] = {}
    failures: list[Failure] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        worker = Worker(folder / f"worker-{number}")
        while True:
            with lock:
                kind, seed = next(wanted, ("", 0))
            if not kind:
                worker.stop()
                return
            verdict, text = worker.answer(kind, seed, seconds)
            with lock:
                counts.setdefault(kind, Counter())[verdict] += 1
                done = sum(row.total() for row in counts.values())
                if done % 1000 == 0:
                    print(f"{done:,} inputs, {len(failures)} failed", file=sys.stderr, flush=True)
                if verdict == "failed":
                    failures.append(Failure(kind, seed, text))

    with ThreadPoolExecutor(workers) as pool:
        for ended in [pool.submit(work, number) for number in range(workers)]:
            ended.result()
    return counts, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="an input may take")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    kinds = asked.kind or list(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        counts, failures = carry_out(
            inputs(kinds, asked.seed, asked.inputs), Path(folder), asked.workers, asked.seconds
        )
    print(f"{'kind':18}{'accepted':>10}{'refused':>10}{'failed':>10}")
    total: Counter[str] = Counter()
    for kind in kinds:
        row = counts.get(kind, Counter())
        total += row
        print(f"{kind:18}{row['accepted']:10,}{row['refused']:10,}{row['failed']:10,}")
    print(f"{'all':18}{total['accepted']:10,}{total['refused']:10,}{total['failed']:10,}")
    kept = Path(tempfile.mkdtemp(prefix="edgecomp-fuzz-")) if failures else Path()
    for failure in sorted(failures):
        file = write_input(failure.kind, failure.seed, kept / f"{failure.kind}-{failure.seed}")
        print(f"\n{file}\nrerun: --kind {failure.kind} --seed {failure.seed} --inputs 1")
        print(failure.text)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
