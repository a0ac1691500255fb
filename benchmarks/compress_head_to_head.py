"""Who loses least in the same bytes: edgecomp, llama.cpp's quantizer, AutoRound.

Each size is filled by `edgecomp compress --format mix --max-size SIZE`; llama.cpp's best is sought
as budget_mixtures.py seeks it; AutoRound makes each of its GGUF formats once, and the best that
fits counts. All three read the same calibration tokens, and each file is held against the float
model in llama.cpp on text of another source. What a file took to make is of a process of its own;
seconds are left out where stages were kept from an earlier file.

    EDGECOMP_DATA=... python benchmarks/compress_head_to_head.py ROWS.jsonl MODEL SIZE...

AUTOROUND_PYTHON names the interpreter of an environment with auto-round; without it there are no
rows of it. AUTOROUND_ITERATIONS (0) and AUTOROUND_FORMATS choose what it makes. A row that stands
in ROWS.jsonl is not made again.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from budget_mixtures import WINDOWS, recipe_of, their_recipes

from edgecomp.common.digests import file_digest
from edgecomp.common.events import Event, StageFinished, ignore
from edgecomp.common.quantity import parse_size
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.jobs.evaluation_stages import ModelUnderTest, divergence
from edgecomp.making.calibration_rows import calibrated_tokens
from edgecomp.making.float_model import float_checkpoint, float_export
from edgecomp.making.gguf import make_artifact
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.recipe import Recipe
from edgecomp.runtimes.protocol import find_runtime

OURS, LLAMA_CPP, AUTOROUND = "edgecomp", "llama.cpp", "AutoRound"
AUTOROUND_FORMATS = "q2_k_s q3_k_s q3_k_m q4_0 q4_k_s q4_k_m q5_k_s"
ONE = "--one"

Row = dict[str, Any]


def data_folder() -> Path | None:
    given = os.environ.get("EDGECOMP_DATA")
    return Path(given) if given else None


def test_text() -> str:
    data = data_folder()
    return (data / "wikitext2_test.txt").read_text("utf-8") if data else divergence_text()


def run_of(recipe: Recipe, heard: list[Event] | None = None) -> Run:
    listen = ignore if heard is None else heard.append
    return Run(read_model(recipe.model, weights=True), recipe, data_folder(), listen)


def one(recipe: Recipe) -> Row:
    """Make and judge one artifact in this process: what it is, what it lost, what it took."""
    heard: list[Event] = []
    begun = time.monotonic()
    run = run_of(recipe, heard)
    artifact = make_artifact(run)
    seconds = time.monotonic() - begun
    kept = any(event.cached for event in heard if isinstance(event, StageFinished))
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak_bytes = 1024 * max(resource.getrusage(who).ru_maxrss for who in processes)
    return {
        "size_bytes": artifact.size_bytes,
        "seconds": None if kept else seconds,
        "peak_bytes": None if kept else peak_bytes,
        **judged(run, artifact.base, artifact.file),
    }


def judged(run: Run, base: StoredFile, file: StoredFile) -> Row:
    """How far a file's predictions are from the float model's, in llama.cpp."""
    exact, artifact = (
        ModelUnderTest(
            who, stored.path, stored.sha256, find_runtime("llama.cpp"), run.template, run.threads,
            ignore, run.model.name,
        )
        for who, stored in (("base", base), ("artifact", file))
    )  # fmt: skip
    found = divergence(exact, artifact, test_text(), WINDOWS)
    interval = found.kl_mean_interval
    return {
        "kl_mean": found.kl_mean,
        "kl_interval": [interval.low, interval.high] if interval else None,
        "kl_median": found.kl_median,
        "kl_p99": found.kl_p99,
        "kl_p999": found.kl_p999,
        "same_first_percent": found.agreement_percent,
    }


def autoround(model: str, format_name: str, iterations: int) -> Row:
    """AutoRound's file of a model, from the float checkpoint and the calibration that ours read."""
    run = run_of(recipe_of(model, 1 << 62, "awq+gptq"))
    base = float_export(run)
    tokens = calibrated_tokens(run, base).tokens.path
    with tempfile.TemporaryDirectory() as folder:
        program = Path(__file__).with_name("reference_autoround.py")
        command = [
            os.environ["AUTOROUND_PYTHON"], str(program), str(float_checkpoint(run)), str(tokens),
            folder, f"gguf:{format_name}", str(iterations),
        ]  # fmt: skip
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        made = json.loads(answer.splitlines()[-1])
        file = Path(made["file"])
        stored = StoredFile(path=file, sha256=file_digest(file))
        return {
            "size_bytes": file.stat().st_size,
            "seconds": made["seconds"],
            "peak_bytes": made["peak_bytes"],
            **judged(run, base, stored),
        }


class Rows:
    """The rows of a file, to which new ones are added as they are made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self.all: list[Row] = [json.loads(line) for line in lines]

    def add(self, key: Row, make: Callable[[], Row]) -> Row:
        """The row that has all of `key`, made where there is none yet."""
        for row in self.all:
            if key.items() <= row.items():
                return row
        row = {**key, **make()}
        self.all.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"  {row['tool']} {row['settings']}: {row['kl_mean']:.4f}", file=sys.stderr)
        return row


def in_a_process(recipe: Recipe) -> Row:
    """`one` in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, ONE, recipe.model_dump_json()]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    row: Row = json.loads(answer.splitlines()[-1])
    return row


def rows_of_size(rows: Rows, model: str, size: int) -> tuple[Row, Row]:
    """Ours, and the best of llama.cpp's."""
    recipe, spec = recipe_of(model, size, "awq+gptq"), read_model(model)
    key = {"model": spec.name, "tool": OURS, "settings": f"--max-size {size}"}
    ours = rows.add(key, partial(in_a_process, recipe))
    theirs = []
    for other in their_recipes(recipe, spec, size):
        switches = " ".join(f"{name}={kind}" for name, kind in other.tensor_types.items())
        key = {"model": spec.name, "tool": LLAMA_CPP, "settings": f"{other.format} {switches}"}
        theirs.append(rows.add(key, partial(in_a_process, other)))
    return ours, min(theirs, key=lambda row: row["kl_mean"])


def rows_of_autoround(rows: Rows, model: str) -> list[Row]:
    if "AUTOROUND_PYTHON" not in os.environ:
        return []
    iterations = int(os.environ.get("AUTOROUND_ITERATIONS", "0"))
    found = []
    for name in os.environ.get("AUTOROUND_FORMATS", AUTOROUND_FORMATS).split():
        settings = f"{name}, {iterations} iterations"
        key = {"model": read_model(model).name, "tool": AUTOROUND, "settings": settings}
        found.append(rows.add(key, partial(autoround, model, name, iterations)))
    return found


def shown(row: Row | None) -> str:
    if row is None:
        return "none fits | | |"
    low, high = row["kl_interval"] or (row["kl_mean"],) * 2
    return (
        f"{row['settings']} | {row['size_bytes']:,} "
        f"| {row['kl_mean']:.4f} ({low:.4f} to {high:.4f}) |"
    )


def main(file: Path, model: str, sizes: list[str]) -> None:
    rows = Rows(file)
    rounded = rows_of_autoround(rows, model)
    print(f"{read_model(model).name}; nats from the float file (95 %), {WINDOWS.windows} windows")
    print(
        "| size | ours, bytes | nats | llama.cpp's best | bytes | nats | ratio "
        "| AutoRound's best | bytes | nats | ratio |"
    )
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    for text in sizes:
        ours, best = rows_of_size(rows, model, parse_size(text))
        fitting = [row for row in rounded if row["size_bytes"] <= parse_size(text)]
        other = min(fitting, key=lambda row: row["kl_mean"], default=None)
        ratio = f"{ours['kl_mean'] / other['kl_mean']:.2f}" if other else ""
        print(
            f"| {text} | {shown(ours).split('|', 1)[1]} {shown(best)} "
            f"{ours['kl_mean'] / best['kl_mean']:.2f} | {shown(other)} {ratio} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1] == ONE:
        print(json.dumps(one(Recipe.model_validate_json(sys.argv[2]))))
    else:
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
