"""Speeds predicted from profiles alone beside published ones, by device and backend.

    python benchmarks/published_speeds.py [--data FOLDER] [--fit]

Reads `published_speeds.csv` in the folder of evaluation data (EDGECOMP_DATA), whose rows are facts
with their sources. Rows are chosen by rule:

- the runtime's name begins with "llama.cpp", and none of its flags says that the run is not the
  chip's own: a power limit or a quiet firmware, a mean or a maximum over settings, a server, a card
  on a Raspberry Pi, another tool around it, a figure that is rounded or that its source doubts;
- the test is ppN from an empty context or tgN, its depth told;
- everything lies on one card, or nothing does, with as many threads as the processor has cores;
- the quantization is a preset of ours, and the model one of `published_shapes`;
- the device has a profile, or a line in `chips`. A card is predicted as its profile says, whatever
  backend the row names (CUDA's figures for a GeForce on Vulkan), but for OpenCL where it is a
  makeshift.

What is left out is counted. With --fit, the constants of `planning/device_speed.py` are fitted anew
to these rows: least absolute relative errors, each device weighed by the root of its rows, and each
device also predicted from constants that were fitted without it.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from chips import chips
from published_shapes import PUBLISHED, SLIDING, shape_named
from shapes import write_headers

from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile, profile_paths
from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights
from edgecomp.formats.presets import PRESETS
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.device_speed import COSTS, cost_class
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import Load, seconds_per_token

NOT_THE_CHIPS_OWN = re.compile(
    r"suspicious|Raspberry Pi|approximate|rounded|maximum|mean over several|llmfit|turbo off"
    r"|W limit|wall power|server|MoltenVK|BLAS|SYCL build|ngl 0|whole numbers|experts"
)
BACKENDS = {"CUDA": "cuda", "Metal": "metal", "Vulkan": "vulkan", "ROCm": "rocm", "SYCL": "sycl",
            "OpenCL": "opencl", "CPU": "cpu"}  # fmt: skip
ON_ONE_CARD = {"all", "99", "999", "999999"}
SAME_TYPE = {"4-bit (Q4_0 family)": "Q4_0", "MXFP4": "MXFP4_MOE"}

FITTED = (
    (("cuda",), "tg", ("stream", "unpack", "layer_seconds", "cache_unfused")),
    (
        ("cuda",),
        "pp",
        ("scalar", "matrix", "k_scalar", "half", "attention", "attention_unfused", "passes"),
    ),
    (("metal",), "tg", ("stream", "layer_seconds", "cache_unfused")),
    (("metal",), "pp", ("scalar", "half", "attention_unfused", "passes")),
    (("amd", "amd-integrated"), "tg", ("stream", "layer_seconds")),
    (("amd",), "pp", ("scalar", "unpacked")),
    (("amd-integrated",), "pp", ("unpacked",)),
    (("intel",), "tg", ("unpack", "layer_seconds")),
    (("intel",), "pp", ("scalar",)),
    (("intel-integrated",), "tg", ("unpack",)),
    (("intel-integrated",), "pp", ("scalar",)),
    (("cpu", "cpu-vnni", "cpu-arm"), "tg", ("stream", "unpack", "layer_seconds")),
    (("cpu",), "pp", ("scalar",)),
    (("cpu-vnni",), "pp", ("scalar",)),
    (("cpu-arm",), "pp", ("scalar",)),
    (("cuda",), "tg", ("expert_layer_seconds",)),
    (("cuda",), "pp", ("expert_products",)),
    (("metal",), "tg", ("expert_layer_seconds",)),
    (("metal",), "pp", ("expert_products",)),
    (("amd",), "tg", ("expert_layer_seconds",)),
    (("amd",), "pp", ("expert_products",)),
)
"""Classes of processors, and what of their costs the rows tell. The rest is set."""

OWN_BACKENDS = {"cuda": {"cuda"}, "metal": {"metal"}, "amd": {"rocm", "vulkan"},
                "amd-integrated": {"rocm", "vulkan"}, "intel": {"vulkan", "sycl"},
                "intel-integrated": {"vulkan", "sycl"}}  # fmt: skip
"""The backends whose rows a class is fitted to; other rows are only predicted."""

FOLDER = tempfile.TemporaryDirectory()


class Row(NamedTuple):
    """One published figure: of a prompt of `tokens`, or of as many written after `depth` others."""

    device: str
    backend: str
    shape: str
    format: str
    test: str
    tokens: int
    depth: int
    flash_attention: bool
    micro_batch: int
    tokens_per_second: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("EDGECOMP_DATA"))
    parser.add_argument("--fit", action="store_true", help="fit the constants anew, and print them")
    options = parser.parse_args()
    if options.data is None:
        sys.exit("Name the folder of published_speeds.csv by --data or EDGECOMP_DATA.")
    rows, left_out = read_rows(Path(options.data) / "published_speeds.csv")
    print_errors("All rows that the rules choose", {row: error(row) for row in rows})
    left = "; ".join(f"{count} {reason}" for reason, count in left_out.most_common())
    print(f"Left out: {left}.")
    if options.fit:
        fit_all(rows)


def read_rows(path: Path) -> tuple[list[Row], Counter[str]]:
    """The rows that the rules choose, and how many others there are for each reason."""
    rows, left_out = [], Counter[str]()
    with path.open(newline="", encoding="utf-8") as file:
        for raw in csv.DictReader(file):
            found = chosen(raw)
            if isinstance(found, Row):
                rows.append(found)
            else:
                left_out[found] += 1
    return rows, left_out


def chosen(raw: dict[str, str]) -> Row | str:
    """The row, or why it is left out."""
    test = re.fullmatch(r"(pp|tg)(\d+)", raw["test"])
    backend, name = BACKENDS.get(raw["backend"]), raw["device"]
    kind = SAME_TYPE.get(raw["quantization"], raw["quantization"])
    shape, device = shape_named(raw["model"]), device_named(name)
    reasons = {
        "not llama.cpp": not raw["runtime"].startswith("llama.cpp"),
        "flagged": bool(NOT_THE_CHIPS_OWN.search(raw["runtime"])),
        "without depth or length": not (raw["depth"] and test),
        "prompts in a filled context": raw["test"].startswith("pp") and raw["depth"] != "0",
        "backend not told or not ours": backend is None,
        "split or placement not told": raw["gpu_layers"]
        not in ({"0"} if backend == "cpu" else ON_ONE_CARD),
        "OpenCL where a card has a better backend": backend == "opencl"
        and bool(device and device.gpus and device.gpus[0].backend != "opencl"),
        "models without a shape here": shape is None,
        "formats not ours": kind not in PRESETS,
        "chips without a profile": device is None
        or (backend != "cpu" and not device.gpus)
        or (backend == "cpu" and bool(device.gpus) and name in chips()),
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    assert test and backend and shape and device
    if backend == "cpu" and raw["threads"] and int(raw["threads"]) != device.cpu.cores:
        return "other threads than cores"
    batch = re.search(r"ub=(\d+)", raw["runtime"])
    return Row(
        device=name, backend=backend, shape=shape, format=kind, test=test[1], tokens=int(test[2]),
        depth=int(raw["depth"]), flash_attention="fa=1" in raw["runtime"],
        micro_batch=int(batch[1]) if batch else 512,
        tokens_per_second=float(raw["tokens_per_second"]),
    )  # fmt: skip


@cache
def device_named(name: str) -> DeviceProfile | None:
    """The device's profile, or what the vendor's figures of its chip tell."""
    profile = profile_named(name)
    return find_device(profile) if profile else chips().get(name)


@cache
def profile_named(name: str) -> str | None:
    """The profile of a chip, which may also say how much memory it has."""
    slug = name.lower().replace(" ", "-")
    return next(
        (p for p in profile_paths() if re.sub(r"-\d+gb$", "", p) == slug or p == slug), None
    )


@cache
def shaped(shape: str) -> ModelSpec:
    folder = Path(FOLDER.name, shape)
    folder.mkdir()
    write_headers(folder, PUBLISHED[shape][1])
    return read_model(folder).model_copy(update=SLIDING.get(shape))


@cache
def weights_of(shape: str, name: str) -> LayeredWeights:
    return layered_weights(shaped(shape), tensor_types_of(shaped(shape), name))


def seconds(row: Row) -> float:
    """Predicted time a token."""
    device, model = device_named(row.device), shaped(row.shape)
    assert device
    placement = Placement()
    if row.backend != "cpu":
        placement = Placement(gpus=(device.gpus[0].name,), gpu_layers=model.layers + 1)
    prompt = row.test == "pp"
    load = Load(
        depth=row.depth + (0 if prompt else row.tokens // 2),
        prompt_tokens=row.tokens if prompt else 1,
        micro_batch=row.micro_batch,
        flash_attention=row.flash_attention,
    )
    times = seconds_per_token(model, weights_of(row.shape, row.format), device, placement, load)
    return times[prompt]


def error(row: Row, predicted_seconds: float | None = None) -> float:
    """How much faster the prediction is than what was published, as a ratio."""
    return 1 / ((predicted_seconds or seconds(row)) * row.tokens_per_second) - 1


def print_errors(title: str, errors: dict[Row, float]) -> None:
    """A table by device and backend, and the overall figures."""
    print(title)
    by_device: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
        lambda: {"tg": [], "pp": []}
    )
    for row, ratio in errors.items():
        by_device[row.device, row.backend][row.test].append(ratio)
    width = max(len(name) for name, _ in by_device)
    print(f" {'device':{width}}  backend  decode: median  worst   n  prefill: median  worst   n")
    for (name, backend), of in sorted(by_device.items()):
        mark = " " if profile_named(name) else "*"
        print(
            f"{mark}{name:{width}}  {backend:7} {_figures(of['tg'], 15)}  {_figures(of['pp'], 15)}"
        )
    for test, label in (("tg", "decode"), ("pp", "prefill")):
        for kind, names in (("profiles", True), ("chips without one (*)", False)):
            kept = {key for key in by_device if (profile_named(key[0]) is not None) == names}
            print(_overall(f"{label}, {kind}", [by_device[key][test] for key in kept]))


def _figures(errors: list[float], width: int) -> str:
    if not errors:
        return " " * (width + 13)
    worst = max(errors, key=abs)
    return (
        f"{100 * statistics.median(errors):+{width - 1}.0f} %{100 * worst:+5.0f} %{len(errors):4}"
    )


def _overall(label: str, by_device: Sequence[list[float]]) -> str:
    sizes = [abs(ratio) for errors in by_device for ratio in errors]
    devices = [abs(statistics.median(errors)) for errors in by_device if errors]
    if not sizes:
        return f"{label}: no row"
    return (
        f"{label}: median of {len(sizes)} rows {100 * statistics.median(sizes):.1f} % off, worst"
        f" {100 * max(sizes):.0f} %; of {len(devices)} devices and backends"
        f" {100 * statistics.median(devices):.1f} %, worst {100 * max(devices):.0f} %"
    )


def fit_all(rows: list[Row]) -> None:
    """Fit each class, print its constants, and predict each device from the others."""
    without: dict[Row, float] = {}
    for classes, test, fields in FITTED:
        mixture = fields[0].startswith("expert")
        own = [
            row
            for row in rows
            if row.test == test
            and is_of(row, classes)
            and bool(shaped(row.shape).experts) == mixture
        ]
        design = np.array(list(features(own, classes, fields)))
        fixed, design = design[:, 0], design[:, 1:]
        costs = fit(own, fixed, design)
        print(f"{' and '.join(classes)}, {test}, {len(own)} rows of ", end="")
        print(f"{len({row.device for row in own})}: " + ", ".join(map(_cost, fields, costs)))
        for left in {row.device for row in own}:
            kept = np.array([row.device != left for row in own])
            if kept.any():
                others = [row for row in own if row.device != left]
                costs = fit(others, fixed[kept], design[kept])
                for at in np.flatnonzero(~kept):
                    without[own[at]] = error(own[at], float(fixed[at] + design[at] @ costs))
    print_errors("Each device predicted from constants fitted without it", without)


def _cost(field: str, cost: float) -> str:
    return f"{field} {1e6 * cost:.0f}e-6" if field.endswith("_seconds") else f"{field} {cost:.2f}"


def is_of(row: Row, classes: tuple[str, ...]) -> bool:
    """Whether a row tells of a class of processors by its own backend."""
    device = device_named(row.device)
    assert device
    processor = device.cpu if row.backend == "cpu" else device.gpus[0]
    name = cost_class(processor, device.pool(processor.pool))
    return name in classes and row.backend in OWN_BACKENDS.get(name, {"cpu"})


def features(
    rows: list[Row], classes: tuple[str, ...], fields: tuple[str, ...]
) -> Iterator[list[float]]:
    """Seconds of each row without the fitted constants, then for one of each: times are linear."""
    before = {name: COSTS[name] for name in classes}
    base = {name: costs._replace(**dict.fromkeys(fields, 0.0)) for name, costs in before.items()}
    try:
        for row in rows:
            times = []
            for field in (None, *fields):
                unit = {field: 1.0} if field else {}
                COSTS.update({name: costs._replace(**unit) for name, costs in base.items()})
                times.append(seconds(row))
            yield [times[0], *(time - times[0] for time in times[1:])]
    finally:
        COSTS.update(before)


def fit(
    rows: list[Row], fixed: NDArray[np.float64], design: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Constants of least absolute relative error, none below zero, by reweighted least squares."""
    speeds = np.array([row.tokens_per_second for row in rows])
    counts = Counter(row.device for row in rows)
    weights = np.array([counts[row.device] ** -0.5 for row in rows])
    scaled, goal = design * speeds[:, None], 1 - fixed * speeds
    reach, costs = weights.copy(), np.zeros(design.shape[1])
    for _ in range(60):
        costs, _residual = nnls(scaled * np.sqrt(reach)[:, None], goal * np.sqrt(reach))
        off = np.abs(np.log(np.maximum(scaled @ costs + fixed * speeds, 1e-9)))
        reach = weights / np.maximum(off, 0.03)
    return costs


if __name__ == "__main__":
    main()
