"""What an artifact is asked, and the text its predictions are compared on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgecomp.common.errors import DataMissing
from edgecomp.common.jsonl_rows import read_text
from edgecomp.evaluate.datasets import available, read_benchmark
from edgecomp.evaluate.items import Item
from edgecomp.evaluate.own_set import own_items
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.evaluate.question_bank import fill_sets
from edgecomp.recipes.recipe import EvaluationSettings

TEXT_FILE = "wikitext2_test.txt"


CHARACTERS_PER_TOKEN = 16
"""Characters kept for each token wanted: more than any tokenizer takes together on average."""


class Questions(NamedTuple):
    """What an artifact is judged by: questions, and a text whose predictions are compared."""

    items: tuple[Item, ...]
    text: str


def read_questions(data: Path | None, wanted: EvaluationSettings) -> Questions:
    """The questions and the text of the data folder, or those that ship. Raises DataMissing,
    DataMalformed or FileUnreadable."""
    return Questions(evaluation_items(data, wanted.items), evaluation_text(data, wanted))


def evaluation_text(data: Path | None, wanted: EvaluationSettings | None = None) -> str:
    """The text whose predictions are compared: the data folder's, or the one that ships.

    Raises DataMissing where it cannot fill one of the wanted windows, DataMalformed where it is no
    UTF-8.
    """
    path = data / TEXT_FILE if data else None
    if path is None or not path.is_file():
        return divergence_text()
    text = read_text(path)
    needed = CHARACTERS_PER_TOKEN * (wanted or EvaluationSettings()).window_tokens
    if len(text.strip()) < needed:
        raise DataMissing(
            f"{path} holds {len(text.strip()):,} characters, and predictions are compared on "
            f"{needed:,} or more. Give the whole text, or remove the file: what ships is used then."
        )
    return text


def evaluation_items(data: Path | None, limit: int | None) -> tuple[Item, ...]:
    """The questions: those of the data folder's benchmarks, and the set that ships where they are
    too few.

    Raises DataMissing where the folder holds none, and DataMalformed.
    """
    if data is None:
        return own_items(limit=limit)
    rows = [row for row in available(data) if row.metric != "pass@1"]
    items = tuple(item for row in rows for item in read_benchmark(row, data, limit=limit))
    if not items:
        raise DataMissing(
            f"--data {data} holds no questions: none of the files that a benchmark is read from, "
            "such as mmlu.jsonl or gsm8k.jsonl, is there with a row in it. Without --data, the "
            "small sets that ship with edgecomp are used."
        )
    return fill_sets(items, limit)
