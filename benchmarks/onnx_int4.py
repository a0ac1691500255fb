"""Int4 ONNX of the demo model: the builder's own rounding beside our codes, at the same size.

    python benchmarks/onnx_int4.py [--data FOLDER] [--windows 16] [--methods gptq]

Divergence is measured in ONNX Runtime from the fp32 export, on the evaluation text, after the
calibration mix of the task `general`. The demo's weights lie on a Q4_1 grid already, which makes
four bits in blocks of 32 easier for every row.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from edgecomp.calibration.calibration import make_calibration
from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.divergence import summarise
from edgecomp.evaluate.questions import evaluation_text
from edgecomp.formats.exporting import find_exporter, find_onnx_exporter
from edgecomp.formats.onnx_formats import onnx_types
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.onnx_folder import DATA
from edgecomp.models.reading import read_model
from edgecomp.processes.child import Child
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Windows, find_runtime

SETTINGS = RunSettings(context=512, outputs=64, threads=physical_cores())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--methods", nargs="+", default=["gptq"])
    parser.add_argument("--formats", nargs="+", default=["onnx-int4-32", "onnx-int4-64"])
    wanted = parser.parse_args()
    table = Table("format", "rounding", "MB", "KL, nats", "95 %", "same first token")
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(Path(scratch), wanted):
            table.add_row(*row)
    Console(width=110).print(table)


def rows(scratch: Path, wanted: argparse.Namespace) -> list[list[str]]:
    checkpoint = scratch / "checkpoint"
    find_exporter("huggingface").export(read_model("demo"), checkpoint)
    exporter, model = find_onnx_exporter(), read_model(checkpoint)
    base = scratch / "base"
    exporter.export_format(model, base, "onnx-fp32")
    template = read_chat_template(checkpoint)
    tokens, _ = make_calibration(preset_mix("general"), base, template, find_runtime("onnx"), None)
    np.save(scratch / "tokens.npy", tokens)
    found = []
    for name in wanted.formats:
        exporter.export_format(model, scratch / name, name)
        found.append([name, "the builder's", *figures(base, scratch / name, wanted)])
        for method in wanted.methods:
            rounded, folder = scratch / f"{name}-{method}", scratch / f"{name}-{method}-onnx"
            with Child("edgecomp.torch_worker") as child:
                child.call(
                    "round",
                    checkpoint=str(checkpoint),
                    tokens=str(scratch / "tokens.npy"),
                    destination=str(rounded),
                    rounding=method,
                    types=onnx_types(model, name),
                    threads=SETTINGS.threads,
                )
            exporter.export_format(read_model(rounded), folder, name)
            exporter.insert_codes(folder, rounded)
            found.append([name, method, *figures(base, folder, wanted)])
    return found


def figures(base: Path, folder: Path, wanted: argparse.Namespace) -> list[str]:
    samples = find_runtime("onnx").compare(
        base,
        folder,
        SETTINGS,
        evaluation_text(wanted.data),
        windows=Windows(tokens=512, number=wanted.windows),
    )
    divergence = summarise(samples)
    spread = divergence.kl_mean_interval
    return [
        f"{(folder / DATA).stat().st_size / 1e6:.1f}",
        f"{divergence.kl_mean:.4f}",
        f"{spread.low:.4f} to {spread.high:.4f}" if spread else "one window",
        f"{divergence.agreement_percent:.1f} %",
    ]


if __name__ == "__main__":
    main()
