"""Whether a graphics card computes what the processor does, how fast, and in how much memory.

    benchmarks/gpu/check.sh            # on a card, at most 8 minutes
    benchmarks/gpu/check.sh --tiny     # small blocks, for a trial where there is no card

Prints one table and exits 1 where a row fails. Everything runs in processes of its own (work.py) on
random models that are made here: nothing is fetched. What the time does not allow is told so.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

WORK = Path(__file__).with_name("work.py")
SECONDS = 470.0
"""All of it; some is left to end in."""

TOLERANCES = {
    "GPTQ": 0.05,
    "AWQ and GPTQ": 0.05,
    "importance": 0.001,
    "sensitivities": 0.05,
    "distillation": 0.05,
    "evaluation": 0.005,
}
"""The largest relative difference between card and processor. A solver chooses codes, of which a
sum in another order turns a few, so that what it does to the model is compared; a card trains in
bfloat16; sums of products alone differ by rounding."""

SMALLEST = 0.01
"""Of the largest figure of a part; smaller ones are compared relative to that."""

MEMORY_SHARE, BESIDE_BYTES = 1.1, 250_000_000
"""Of what the plan says, at most, and what a process's allocator may hold beside."""


class Row(NamedTuple):
    """One line of the table."""

    what: str
    card: str
    processor: str
    allowed: str
    outcome: str


class Clock:
    """What is left of the time."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


class Child:
    """One part of work.py, begun."""

    def __init__(self, part: str, folder: Path, *more: str, card: bool) -> None:
        self.part = " ".join((part, *more))
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "EDGECOMP_CACHE": str(folder / "cache")}
        if not card:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        folder.mkdir(parents=True)
        self.process = subprocess.Popen(
            [sys.executable, str(WORK), part, str(folder / "work"), *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def answer(self, clock: Clock) -> dict[str, Any]:
        """What it found; `fault` where it ended badly or the time was over."""
        try:
            out, err = self.process.communicate(timeout=max(clock.left, 1.0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return {"fault": "no time was left"}
        if self.process.returncode:
            print(f"--- {self.part} ---\n{err}", file=sys.stderr)
            last = (err.strip().splitlines() or [f"exit {self.process.returncode}"])[-1]
            return {"fault": last[:60]}
        found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return found


def difference(card: dict[str, float], processor: dict[str, float]) -> float:
    """The largest relative difference of figures of the same names; infinite where one is missing
    or no number."""
    if card.keys() != processor.keys():
        return math.inf
    if not all(map(math.isfinite, (*card.values(), *processor.values()))):
        return math.inf
    floor = SMALLEST * max(abs(value) for value in processor.values())
    return max(abs(card[n] - v) / max(abs(v), floor) for n, v in processor.items())


def equality(card: dict[str, Any], processor: dict[str, Any], label: str) -> list[Row]:
    """A row for each part that must be equal."""
    fault = card.get("fault") or processor.get("fault")
    if fault:
        return [Row(f"{label}: all parts", "", "", "", f"FAILS: {fault}")]
    rows = []
    for name, tolerance in TOLERANCES.items():
        apart = difference(card[name], processor[name])
        rows.append(
            Row(
                f"{label}: {name}",
                f"{card['seconds'][name]:.1f} s",
                f"{processor['seconds'][name]:.1f} s",
                f"{100 * tolerance:g} %",
                f"{'ok' if apart <= tolerance else 'FAILS'}: {100 * apart:.3g} % apart",
            )
        )
    return rows


def speeds(folder: Path, shapes: list[str], clock: Clock) -> list[Row]:
    """Seconds a block at real shapes, and the peak of memory against the plan."""
    rows = []
    for shape in shapes:
        found = Child("speed", folder / f"speed-{shape}", shape, card=True).answer(clock)
        if "fault" in found:
            rows.append(Row(f"a block of {shape}", "", "", "", f"FAILS: {found['fault']}"))
            continue
        figure = f"{found['seconds_a_block']:.2f} s"
        on_card = found["device"] != "cpu"
        rows.append(
            Row(f"a block of {shape}, GPTQ", figure if on_card else "",
                "" if on_card else figure, "", "measured")
        )  # fmt: skip
        most, planned = max(found["card_bytes"], found["grown_bytes"]), found["planned_bytes"]
        rows.append(
            Row(
                f"a block of {shape}, peak memory",
                f"{found['card_bytes'] / 1e9:.2f} GB" if on_card else "",
                f"{found['grown_bytes'] / 1e9:.2f} GB",
                f"{planned / 1e9:.2f} GB",
                "ok"
                if most <= MEMORY_SHARE * planned + BESIDE_BYTES
                else "FAILS: more than planned",
            )
        )
    return rows


def short_of_memory(folder: Path, clock: Clock) -> Row:
    """Memory that runs out on the card."""
    found = Child("tight", folder / "tight", card=True).answer(clock)
    what = "a card without memory"
    if "fault" in found:
        return Row(what, "", "", "", f"FAILS: {found['fault']}")
    if "skipped" in found:
        return Row(what, "", "", "", f"not tried: {found['skipped']}")
    answered = found["used"] == [found["device"], "cpu"] and found["whole"]
    return Row(what, "", "", "", "ok: the processor went on" if answered else f"FAILS: {found}")


def show(rows: list[Row]) -> None:
    print("| what | card | processor | allowed | outcome |")
    print("| --- | ---: | ---: | ---: | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small blocks, for a trial")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    clock = Clock(arguments.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processor = Child("values", folder / "processor", card=False).answer(clock)
        card = Child("values", folder / "card", card=True).answer(clock)
        print(f"{card.get('title', 'no device')} against {processor.get('title', 'nothing')}")
        rows = equality(card, processor, "one process")
        both = [Child("values", folder / f"both-{n}", card=True) for n in range(2)]
        for number, child in enumerate(both, start=1):
            rows += equality(child.answer(clock), processor, f"process {number} of 2")
        rows.append(short_of_memory(folder, clock))
        rows += speeds(folder, ["tiny"] if arguments.tiny else ["1.5B", "7B", "14B"], clock)
    show(rows)
    failed = sum("FAILS" in row.outcome for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} rows hold; {clock.left:.0f} s were left")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
