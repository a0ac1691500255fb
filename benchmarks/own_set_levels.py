"""How often models answer the own set, by category and difficulty.

    python benchmarks/own_set_levels.py ITEMS FOLDER MODEL...

ITEMS of each category and difficulty that are answered by a choice, in llama.cpp. MODEL is a GGUF
file or `demo`. FOLDER keeps the answers of each model under its file's name: a later run asks only
what is new.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.evaluate import evaluate
from edgecomp.evaluate.items import Category, Difficulty, Item, ItemResult
from edgecomp.evaluate.own_set import own_items
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.reading import demo_model_path
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime

Cell = tuple[Category, Difficulty | None]


def main() -> None:
    """Print a row for each category and difficulty, with a column for each model."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    cells = questions(count)
    items = [item for chosen in cells.values() for item in chosen]
    names = sys.argv[3:]
    columns = [dict(zip(items, answered(name, items, folder), strict=True)) for name in names]
    print(f"| category | difficulty | items | guessing | {' | '.join(names)} |")
    print(f"| --- | --- | ---: | ---: |{' ---: |' * len(names)}")
    for (category, difficulty), chosen in cells.items():
        guessing = sum(columns[0][item].chance for item in chosen) / len(chosen)
        shown = [sum(column[item].score for item in chosen) / len(chosen) for column in columns]
        figures = " | ".join(f"{share:.0%}" for share in (guessing, *shown))
        print(f"| {category} | {difficulty} | {len(chosen)} | {figures} |")


def questions(count: int) -> dict[Cell, list[Item]]:
    """The first `count` items of each category and difficulty, easy to hard."""
    choices = [item for item in own_items() if item.kind == "choice"]
    categories = dict.fromkeys(item.category for item in choices)
    return {
        (category, level): [
            item for item in choices if (item.category, item.difficulty) == (category, level)
        ][:count]
        for category in categories
        for level in get_args(Difficulty)
    }


def answered(name: str, items: Sequence[Item], folder: Path) -> tuple[ItemResult, ...]:
    """The judged answers of the model called `name`."""
    path = demo_model_path() if name == "demo" else Path(name)
    settings = RunSettings(context=8192, sequences=32, outputs=64, threads=2)
    model = AskedModel(runtime, path, settings, read_chat_template(path))
    return evaluate(model, items, answers_path=folder / f"{path.stem}.jsonl")


if __name__ == "__main__":
    main()
