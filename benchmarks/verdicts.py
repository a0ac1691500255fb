"""How often a verdict on capabilities is wrong, and how many questions it takes.

    python benchmarks/verdicts.py table BASE FILE...   adds what both answer to some own questions
    python benchmarks/verdicts.py simulate [DRAWS]     asks sets that are drawn from the tables

A table keeps of each question only which of the two was right, so that a hundred bytes hold a
capability. A draw is a set of questions as large as an own set, with replacement, asked by rounds
as `fit` does; what is true is its own drop. Beside the sets as they come, each is moved to the edge
of what is tolerated: answers are changed at random until the drop is just within the tolerance, or
just over it, which is where a rule errs most. `fixed` is what a design without looks would have to
ask for the same two errors.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.events import ignore
from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.comparison import SMALLEST_SET
from edgecomp.evaluate.decisions import FAMILY_ERROR, Decision, Drops, decide
from edgecomp.evaluate.items import bucket
from edgecomp.evaluate.own_set import own_items
from edgecomp.jobs.asking import FIRST_ROUND, GROWTH, LARGEST_ROUND
from edgecomp.jobs.evaluation_stages import ModelUnderTest
from edgecomp.models.chat_template import read_chat_template
from edgecomp.recipes.tolerances import Tolerances
from edgecomp.runtimes.protocol import find_runtime

TABLES = Path(__file__).with_name("answer_tables.json")
ASKED, SET_ITEMS = 120, 440
"""Questions of each category and kind in a table; of each category in a drawn set."""

MARKS = {"=": 0.0, "-": 1.0, "+": -1.0}
"""Both alike, lost by the artifact, won by it."""

Table = dict[str, NDArray[np.float64]]


def ask(path: Path) -> dict[str, list[float]]:
    """The scores of own questions, by category."""
    from edgecomp.common.digests import path_digest

    model = ModelUnderTest(
        "artifact", path, path_digest(path), find_runtime("llama.cpp"), read_chat_template(path),
        physical_cores(), ignore, path.name,
    )  # fmt: skip
    items = own_items(limit=ASKED)
    found: dict[str, list[float]] = {}
    for item, result in zip(items, model.ask(items), strict=True):
        found.setdefault(item.category, []).append(result.score)
    return found


def add_table(base: Path, files: list[Path]) -> None:
    tables = json.loads(TABLES.read_text()) if TABLES.exists() else {}
    before = ask(base)
    for file in files:
        after = ask(file)
        tables[f"{base.stem} / {file.stem}"] = {
            name: "".join(_mark(b - a) for b, a in zip(scores, after[name], strict=True))
            for name, scores in before.items()
        }
        TABLES.write_text(json.dumps(tables, indent=1) + "\n")
        table = tables[f"{base.stem} / {file.stem}"]
        print(file.name, {name: row.count("-") - row.count("+") for name, row in table.items()})


def _mark(drop: float) -> str:
    return "=" if abs(drop) < 0.5 else "-" if drop > 0 else "+"


def read_tables() -> dict[str, Table]:
    return {
        name: {category: np.asarray([MARKS[m] for m in marks]) for category, marks in row.items()}
        for name, row in json.loads(TABLES.read_text()).items()
    }


def drawn(table: Table, edge: int | None, seed: int) -> Table:
    """A set of each capability. `edge`: its drop is moved to what is tolerated (0) or just over it
    (1); None: it stays as it was drawn."""
    random = np.random.default_rng(seed)
    sets = {name: random.choice(drops, SET_ITEMS) for name, drops in table.items()}
    if edge is None:
        return sets
    for name, drops in sets.items():
        wanted = int(np.floor(tolerance(name) * len(drops) + 1e-9)) + edge
        while (total := int(drops.sum())) != wanted:
            step = 1 if total < wanted else -1
            drops[random.choice(np.flatnonzero(drops != step))] += step
        random.shuffle(drops)
    return sets


def tolerance(category: str) -> float:
    return Tolerances().points(bucket(category)) / 100  # type: ignore[arg-type]


def truth(table: Table) -> dict[str, Decision]:
    return {
        name: "lost" if drops.mean() > tolerance(name) + 1e-9 else "kept"
        for name, drops in table.items()
    }


def by_rounds(table: Table) -> tuple[dict[str, Decision], int]:
    """The decisions, and how many questions were asked, until all are decided or asked."""
    asked = dict.fromkeys(table, 0)
    while True:
        known = {
            name: Drops(tuple(drops[: asked[name]]), max(len(drops), SMALLEST_SET), tolerance(name))
            for name, drops in table.items()
        }
        found = decide(known)
        going_on = [
            name
            for name, drops in table.items()
            if found[name] == "not decided" and asked[name] < len(drops)
        ]
        if not going_on:
            return found, sum(asked.values())
        for name in going_on:
            size = min(max(FIRST_ROUND, round(GROWTH * asked[name])), LARGEST_ROUND)
            asked[name] = min(asked[name] + size, len(table[name]))


def simulate(draws: int) -> None:
    print("| base / artifact | lost | false alarms % | misses % | decided % | asked | fixed |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, table in read_tables().items():
        for said, edge in (("", None), (", just within", 0), (", just over", 1)):
            print(f"| {name}{said} | {_row(table, edge, draws)} |", flush=True)


def _row(table: Table, edge: int | None, draws: int) -> str:
    errors: Counter[str] = Counter()
    asked, decided, lost, fixed = 0, 0, 0, 0.0
    for seed in range(draws):
        sets = drawn(table, edge, seed)
        right = truth(sets)
        found, count = by_rounds(sets)
        asked += count
        fixed += fixed_number(sets) / draws
        lost += sum(row == "lost" for row in right.values())
        decided += sum(row != "not decided" for row in found.values())
        errors["alarm"] += any(found[n] == "lost" and right[n] == "kept" for n in sets)
        errors["miss"] += any(found[n] == "kept" and right[n] == "lost" for n in sets)
    of_each = draws * len(table)
    return " | ".join(
        (
            f"{lost / draws:.1f} of {len(table)}",
            f"{100 * errors['alarm'] / draws:.1f}",
            f"{100 * errors['miss'] / draws:.1f}",
            f"{100 * decided / of_each:.1f}",
            f"{asked / draws:.0f}",
            f"{fixed:.0f}",
        )
    )


def fixed_number(table: Table) -> int:
    """Questions of a design that asks equally many of every capability once, each drawn from more
    than there are: as many as hold both error rates where one of them loses nothing, and the other
    just over what is tolerated, at the share of answers that change here.

    n = ((z_a + z_b) s / tolerance)^2 for paired differences of standard deviation s; a is the
    family's error divided among the capabilities, b the error of a single one.
    """
    inverse = NormalDist().inv_cdf
    z = inverse(1 - FAMILY_ERROR / len(table)) + inverse(1 - FAMILY_ERROR)
    return sum(
        int(np.ceil(z**2 * max(float(drops.var()), 1 / len(drops)) / tolerance(name) ** 2))
        for name, drops in table.items()
    )


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "table":
        add_table(Path(rest[0]), [Path(name) for name in rest[1:]])
    else:
        simulate(int(rest[0]) if rest else 2000)
