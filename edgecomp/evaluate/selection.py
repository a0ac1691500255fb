"""Which questions an evaluation asks, and which it leaves out for what reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.benchmarks import BENCHMARKS, Suite, suite
from edgecomp.evaluate.datasets import READERS, read_benchmark
from edgecomp.evaluate.grade import code_not_allowed
from edgecomp.evaluate.harness_tasks import HarnessTask, harness_task, of_benchmark
from edgecomp.evaluate.items import CodeCheck, GenerationItem, Item
from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.question_bank import fill_sets
from edgecomp.recipes.recipe import QUESTION_SECONDS

SUITE_ITEMS: dict[Suite, int | None] = {"quick": 60, "standard": 200, "full": None}
"""Items of each benchmark where no limit is given and nothing is to be decided."""

SUITE_SECONDS: dict[Suite, float | None] = {
    "quick": QUESTION_SECONDS,
    "standard": 3 * QUESTION_SECONDS,
    "full": None,
}
"""Time for the questions by which an artifact is decided beside its base."""


FILLED_UP = (
    "Where the data folder's questions of a category are too few to decide, or tell nothing of the "
    "base, those that ship with edgecomp are asked."
)


class Skipped(FrozenModel):
    """A benchmark of a suite that is not run."""

    name: str
    reason: str


class Selection(FrozenModel):
    """Items that edgecomp asks itself, tasks that lm-eval asks, and what is left out."""

    items: tuple[Item, ...]
    harness: tuple[HarnessTask, ...]
    limit: int | None
    """Items of each benchmark, at most."""

    skipped: tuple[Skipped, ...] = ()
    notices: tuple[str, ...] = ()


def select_tasks(
    tasks: Sequence[str], data: Path | None, limit: int | None, *, allow_code: bool
) -> Selection:
    """Exactly the named benchmarks: those with a reader from `data`, any other through lm-eval.

    Raises DataMissing, DataMalformed, TaskUnavailable, or CodeNotAllowed.
    """
    items: list[Item] = []
    harness = []
    for name in tasks:
        if name in READERS and (data is not None or BENCHMARKS[name].lm_eval_task is None):
            items += read_benchmark(BENCHMARKS[name], data or Path(), limit=limit)
        else:
            harness.append(harness_task(name))
    code = next((item for item in items if _runs_code(item)), None)
    if code is not None and not allow_code:
        assert isinstance(code, GenerationItem)
        raise code_not_allowed(code)
    return Selection(items=tuple(items), harness=tuple(harness), limit=limit)


def select_suite(
    name: Suite,
    data: Path | None,
    limit: int | None,
    *,
    allow_code: bool,
    to_decide: bool = False,
) -> Selection:
    """What of a suite can be asked here; without `data`, the set that ships stands for it.

    `to_decide`: whole sets, filled up with our own questions where they are small, of which no more
    than needed will be asked. Raises DataMalformed.
    """
    given, limit = limit, limit or SUITE_ITEMS[name]
    asked = given if to_decide else limit
    if data is None:
        notice = (
            f"The questions that ship with edgecomp stand for the suite {name}. They compare base "
            "and artifact, and are no benchmark; give --data DIR for the public ones."
        )
        return Selection(items=own_items(limit=asked), harness=(), limit=limit, notices=(notice,))
    items: list[Item] = []
    harness, skipped = [], []
    notices: tuple[str, ...] = ()
    for row in suite(name):
        if row.name in READERS and row.file and (data / row.file).is_file():
            if row.metric == "pass@1" and not allow_code:
                reason = "it runs code that the model wrote; --allow-code allows that, sandboxed"
                skipped.append(Skipped(name=row.name, reason=reason))
            else:
                items += read_benchmark(row, data, limit=asked)
        elif row.name in READERS and row.suite == "quick":
            reason = f"{data / str(row.file)} is not there (from {row.source})"
            skipped.append(Skipped(name=row.name, reason=reason))
        elif row.lm_eval_task is None:
            reason = f"it has no reader here and no task in lm-eval ({row.source})"
            skipped.append(Skipped(name=row.name, reason=reason))
        else:
            harness.append(of_benchmark(row))
    questions = tuple(items)
    if to_decide and items:
        questions, notices = fill_sets(questions, asked), (FILLED_UP,)
    return Selection(
        items=questions,
        harness=tuple(harness),
        limit=limit,
        skipped=tuple(skipped),
        notices=notices,
    )


def _runs_code(item: Item) -> bool:
    return isinstance(item, GenerationItem) and isinstance(item.check, CodeCheck)
