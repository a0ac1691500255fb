"""Speeds predicted from profiles beside LocalScore's, which no constant was fitted to.

    python benchmarks/localscore.py [--data FOLDER]

LocalScore's figures are means of nine mixes of prompts and answers, over whoever sent some in, and
come from llamafile: a token is sampled too, which llama.cpp's own benchmark leaves out. Predicted
without flash attention, as the mean over the same mixes. A prompt of few tokens takes no less time
than one token decoded. Rows that the collection doubts are left out.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from published_speeds import BACKENDS, Row, device_named, seconds, shape_named

from edgecomp.formats.presets import PRESETS

MIXES = ((1024, 16), (4096, 256), (2048, 256), (2048, 768), (1024, 1024), (1280, 3072),
         (384, 1152), (64, 1024), (16, 1536))  # fmt: skip
"""Tokens read and tokens written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("EDGECOMP_DATA"))
    data = parser.parse_args().data
    if data is None:
        sys.exit("Name the folder of published_speeds.csv by --data or EDGECOMP_DATA.")
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with Path(data, "published_speeds.csv").open(newline="", encoding="utf-8") as file:
        for raw in csv.DictReader(file):
            shape, backend = shape_named(raw["model"]), BACKENDS.get(raw["backend"])
            if shape and backend and usable(raw):
                ratio = predicted(raw, shape, backend) / float(raw["tokens_per_second"]) - 1
                errors[raw["test"][:2], backend, shape].append(ratio)
    print("speed    backend  model          devices  median  size of it  worst")
    for (test, backend, shape), ratios in sorted(errors.items()):
        label = {"tg": "decode", "pp": "prefill"}[test]
        sizes = statistics.median(map(abs, ratios))
        print(
            f"{label:8} {backend:8} {shape:14} {len(ratios):7} {statistics.median(ratios):+7.0%}"
            f" {sizes:11.0%} {max(ratios, key=abs):+6.0%}"
        )


def usable(raw: dict[str, str]) -> bool:
    """Whether it is a row of LocalScore that we can predict."""
    device = device_named(raw["device"])
    return (
        raw["test"] in ("tg-localscore", "pp-localscore")
        and not any(doubt in raw["runtime"] for doubt in ("far below", "anomalous", "may not fit"))
        and raw["quantization"] in PRESETS
        and device is not None
        and (raw["backend"] == "CPU" or bool(device.gpus))
    )


def predicted(raw: dict[str, str], shape: str, backend: str) -> float:
    """The mean over the mixes, as LocalScore takes it."""

    def took(test: str, tokens: int, depth: int) -> float:
        place = (raw["device"], backend, shape, raw["quantization"])
        return seconds(Row(*place, test, tokens, depth, False, 512, 1.0))

    if raw["test"].startswith("tg"):
        return statistics.mean(1 / took("tg", written, read) for read, written in MIXES)
    return statistics.mean(1 / max(took("pp", n, 0), took("tg", 1, 0) / n) for n, _ in MIXES)


if __name__ == "__main__":
    main()
