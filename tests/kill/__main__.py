"""Kill `edgecomp fit` again and again, and let it end: `make kill-test`.

Kills come in series over one cache, so that a series costs little more than one run: each falls
later in the job than the one before, and the run after the last is let through. Prints in which
stage the kills fell and what a rerun made otherwise, and exits 1 where that is anything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from tiny_models import trained_byte_level, write_model, written_tokenizer
from tokenizers import pre_tokenizers

from kill.series import BUNDLING, Job, Series, Timeline, carry_out_series, reference

KILLS_OF_A_SERIES = 20
SENTENCE = "The ferry leaves the small harbour at noon, and {} people are on board. "


def main() -> int:
    """Carry out as many series as the kills take."""
    parser = argparse.ArgumentParser(description=__doc__, prog="kill")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecomp-kill-") as name:
        folder = Path(name)
        os.environ["EDGECOMP_CONFIG"] = str(folder / "config")
        job = Job(tiny_source(folder / "model"), small_data(folder / "data"))
        timeline = reference(job, folder / "reference")
        print(f"{len(timeline.titles)} stages, {timeline.seconds:.0f} s without a kill", flush=True)
        series = all_series(job, timeline, folder, wanted.kills, wanted.seed)
    return summary(timeline, series)


def all_series(job: Job, timeline: Timeline, folder: Path, kills: int, seed: int) -> list[Series]:
    """Series after series, until there were so many kills."""
    series: list[Series] = []
    while (left := kills - sum(len(row.kills) for row in series)) > 0:
        number = len(series)
        random = Random(f"{seed}-{number}")
        place = folder / f"series-{number}"
        row = carry_out_series(job, timeline, place, min(left, KILLS_OF_A_SERIES), random)
        series.append(row)
        said = "; ".join(row.faults) or "the same bytes"
        print(f"series {number}: {len(row.kills)} kills, then {said}", flush=True)
    return series


def summary(timeline: Timeline, series: list[Series]) -> int:
    """Print the counts; 1 where a series did not end as it should."""
    counts = Counter(kill.stage for row in series for kill in row.kills)
    for title in (*timeline.titles, BUNDLING):
        print(f"{counts[title]:5}  {title}")
    good = sum(len(row.kills) for row in series if not row.faults)
    total = sum(counts.values())
    print(f"{total} kills, {good} of them followed by the same bytes; {len(series)} series")
    return int(good < total)


def tiny_source(folder: Path) -> Path:
    """A tiny Llama with random weights, and a tokenizer trained here."""
    folder.mkdir()
    write_model("llama", folder, "float32")
    tokenizer = trained_byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    written_tokenizer(tokenizer, folder)
    return folder


def small_data(folder: Path) -> Path:
    """The least that an artifact can be judged with: one question, and a text of a few windows."""
    folder.mkdir()
    question = {"question": "Two?", "choices": ["1", "2"], "answer": 1, "subject": "numbers"}
    (folder / "mmlu.jsonl").write_text(json.dumps(question) + "\n")
    text = "".join(SENTENCE.format(number) for number in range(130))
    (folder / "wikitext2_test.txt").write_text(text)
    return folder


if __name__ == "__main__":
    sys.exit(main())
