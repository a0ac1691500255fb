"""Run tasks of lm-eval on an artifact, and turn what it logs into results item by item.

lm_eval is imported when a task is run, not before. Each task runs with its own shots; what is
written is asked through the chat template, choices are scored on plain text, as with edgecomp's own
readers. Data come from where the task's definition says, mostly the Hugging Face Hub or its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from edgecomp.common.errors import EdgecompError, TaskUnavailable
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.benchmarks import BENCHMARKS, Benchmark, Metric
from edgecomp.evaluate.items import CAPABILITIES, RELIABILITY, Category, ItemResult

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

METRICS: dict[Metric, tuple[str, ...]] = {
    "accuracy": ("acc",),
    "byte-normalised accuracy": ("acc_norm", "acc"),
    "exact match": ("exact_match", "em"),
    "pass@1": ("pass@1", "pass_at_1"),
    "strict constraint accuracy": ("prompt_level_strict_acc",),
    "mass on true answers": ("acc",),
}
"""lm-eval's names of the registry's metrics, best first."""

LENIENT_FILTER = "flexible-extract"
"""Where a task reads its answers in several ways, the one that asks for no exact form."""


class HarnessTask(FrozenModel):
    """A task of lm-eval and what it measures."""

    name: str
    """Under which its results are shown."""

    task: str
    category: Category
    metrics: tuple[str, ...] = ()
    chance: float = 0.0


def harness_task(wanted: str) -> HarnessTask:
    """The task that `wanted` names: a benchmark of the registry, or `TASK:CATEGORY`.

    A task outside the registry needs its category, since a score that belongs to none cannot be
    judged (R13). Raises TaskUnavailable.
    """
    name, _, category = wanted.partition(":")
    by_task = {row.lm_eval_task: row for row in BENCHMARKS.values() if row.lm_eval_task}
    row = BENCHMARKS.get(name) or by_task.get(name)
    if row is not None:
        return of_benchmark(row)
    known = (*CAPABILITIES, *RELIABILITY)
    if category not in known:
        raise TaskUnavailable(
            f"edgecomp does not know what {name!r} measures. If lm-eval has this task, name its "
            f"category as well, such as {name}:reasoning. Categories: {', '.join(known)}. "
            f"Benchmarks known here: {', '.join(BENCHMARKS)}."
        )
    return HarnessTask.model_validate({"name": name, "task": name, "category": category})


def of_benchmark(row: Benchmark) -> HarnessTask:
    """The lm-eval task of a registry row. Raises TaskUnavailable where it has none."""
    if row.lm_eval_task is None:
        raise TaskUnavailable(
            f"{row.name} has no task in lm-eval and no reader for other data here. "
            f"Its data: {row.source}."
        )
    return HarnessTask(
        name=row.name,
        task=row.lm_eval_task,
        category=row.category,
        metrics=METRICS.get(row.metric, ()),
        chance=row.chance_percent / 100,
    )


def run_task(model: AskedModel, wanted: HarnessTask, limit: int | None) -> tuple[ItemResult, ...]:
    """The results of one lm-eval task or group, at most `limit` items of each subtask.

    Raises TaskUnavailable where lm_eval, the task or its data are missing, or where the task runs
    code, which lm-eval does without a sandbox; and what the runtime raises.
    """
    if wanted.category == "code":
        raise TaskUnavailable(
            f"{wanted.name} runs code that the model wrote, and lm-eval runs it without a sandbox. "
            "Evaluate code with humaneval from --data DIR and --allow-code."
        )
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager

        from edgecomp.evaluate.harness import RuntimeModel
    except ImportError as error:
        raise TaskUnavailable(
            f"{wanted.name} runs through lm-eval, which is not installed ({error.name}). "
            "Install it with: pip install 'edgecomp[harness]'."
        ) from error
    manager = _find_tasks(TaskManager)
    if wanted.task not in manager.all_tasks:
        raise TaskUnavailable(
            f"lm-eval {lm_eval.__version__} has no task {wanted.task!r}. "
            "`lm-eval ls tasks` lists what it has."
        )
    try:
        loaded = manager.load([wanted.task])
    except EdgecompError:
        raise
    except Exception as error:  # Every loader of datasets has errors of its own.
        raise TaskUnavailable(_without_data(wanted, error)) from error
    # A model that writes is asked as it is deployed, in turns; examples become turns as well.
    in_turns = model.template.source is not None and any(
        task.OUTPUT_TYPE == "generate_until" for task in loaded["tasks"].values()
    )
    found = lm_eval.evaluate(
        lm=RuntimeModel(*model),
        task_dict=loaded,
        limit=limit,
        bootstrap_iters=0,
        apply_chat_template=in_turns,
        fewshot_as_multiturn=in_turns,
    )
    return results_of_samples(wanted, found["samples"])


@cache
def _find_tasks(manager: Callable[[], TaskManager]) -> TaskManager:
    """lm-eval's index of its tasks, which takes it half a minute to read: made once."""
    return manager()


def _without_data(wanted: HarnessTask, error: Exception) -> str:
    row = BENCHMARKS.get(wanted.name)
    fault = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    where = f" from {row.source} ({row.licence})" if row else ""
    by_file = (
        f", or save {row.file} in a folder and name it with --data" if row and row.file else ""
    )
    return (
        f"The data of {wanted.name} (lm-eval's {wanted.task}) are not at hand: {fault}. Run once "
        f"with network access so that they are fetched{where} into the Hugging Face cache{by_file}."
    )


def results_of_samples(
    wanted: HarnessTask, samples: dict[str, Sequence[dict[str, Any]]]
) -> tuple[ItemResult, ...]:
    """lm-eval's logged samples, by subtask, as results. Raises TaskUnavailable where a sample has
    no score between 0 and 1."""
    results = []
    for subtask, rows in samples.items():
        filters = {str(row.get("filter", "none")) for row in rows}
        chosen = LENIENT_FILTER if LENIENT_FILTER in filters else None
        kept = [row for row in rows if chosen in (None, row.get("filter"))]
        seen: set[int] = set()
        for row in kept:
            if row["doc_id"] in seen:
                continue
            seen.add(row["doc_id"])
            results.append(_result(wanted, subtask, row))
    graded = any(result.score not in (0.0, 1.0) for result in results)
    return tuple(result.model_copy(update={"binary": not graded}) for result in results)


def _result(wanted: HarnessTask, subtask: str, row: dict[str, Any]) -> ItemResult:
    metric = next(
        (name for name in (*wanted.metrics, *row.get("metrics", ())) if name in row), None
    )
    value = row.get(metric) if metric else None
    if not isinstance(value, bool | int | float) or not 0 <= float(value) <= 1:
        raise TaskUnavailable(
            f"{subtask} gives no score between 0 and 1 for each item ({metric or 'no metric'}: "
            f"{value!r}), so base and artifact could not be paired. Choose another task."
        )
    return ItemResult(
        benchmark=wanted.name,
        id=f"{subtask}-{row['doc_id']}",
        category=wanted.category,
        score=float(value),
        chance=wanted.chance,
    )
