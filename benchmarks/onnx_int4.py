"""Int4 ONNX of a model: the builder's own rounding beside our codes at the same size, in one type
and in types by matrix.

    python benchmarks/onnx_int4.py [MODEL] [--data FOLDER] [--windows 16] [--methods awq+gptq]

Divergence is measured in ONNX Runtime from the fp32 export, on the evaluation text, after the
calibration mix of the task `general`. The demo's weights lie on a Q4_1 grid already, which makes
four bits in blocks of 32 easier for every row. What `compress` makes is kept as its stages are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgecomp.common.events import ignore
from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.evaluate.questions import evaluation_text
from edgecomp.formats.exporting import find_onnx_exporter
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.models.onnx_folder import DATA
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Windows, find_runtime

SETTINGS = RunSettings(context=512, outputs=64, threads=physical_cores())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--methods", nargs="+", default=["awq+gptq"])
    parser.add_argument("--formats", nargs="+", default=["onnx-int4-32"])
    parser.add_argument("--mixes", nargs="+", default=["none", "same-size"])
    wanted = parser.parse_args()
    table = Table("format", "rounding", "MB", "KL, nats", "95 %", "of the builder's", "same first")
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(Path(scratch), wanted):
            table.add_row(*row)
    Console(width=120).print(table)


def rows(scratch: Path, wanted: argparse.Namespace) -> Iterator[list[str]]:
    exporter, model = find_onnx_exporter(), read_model(wanted.model, weights=True)
    base = scratch / "base"
    exporter.export_format(model, base, "onnx-fp32")
    for name in wanted.formats:
        exporter.export_format(model, scratch / name, name)
        builders = divergence(base, scratch / name, wanted)
        yield row_of([name, "the builder's"], scratch / name, builders, builders)
        for method, mix in product(wanted.methods, wanted.mixes):
            request = CompressionRequest(
                model=wanted.model,
                method=method,
                format=name,
                calibration=preset_mix("general"),
                mix=None if mix == "none" else mix,
            )
            place = scratch / f"{name}-{method}-{mix}"
            made = compress(compression_recipe(request), place, wanted.data, ignore)
            folder, label = made.folder / made.file, method if mix == "none" else f"{method}, mixed"
            found = divergence(base, folder, wanted)
            yield row_of([name, label], folder, found, builders)


def divergence(base: Path, folder: Path, wanted: argparse.Namespace) -> DivergenceSummary:
    samples = find_runtime("onnx").compare(
        base,
        folder,
        SETTINGS,
        evaluation_text(wanted.data),
        windows=Windows(tokens=512, number=wanted.windows),
    )
    return summarise(samples)


def row_of(
    names: list[str], folder: Path, found: DivergenceSummary, builders: DivergenceSummary
) -> list[str]:
    spread = found.kl_mean_interval
    return [
        *names,
        f"{(folder / DATA).stat().st_size / 1e6:.1f}",
        f"{found.kl_mean:.4f}",
        f"{spread.low:.4f} to {spread.high:.4f}" if spread else "one window",
        f"{found.kl_mean / builders.kl_mean:.2f}",
        f"{found.agreement_percent:.1f} %",
    ]


if __name__ == "__main__":
    main()
