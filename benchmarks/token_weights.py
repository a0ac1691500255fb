"""What weighing the calibration's tokens by their gradients brings to GPTQ, at the same bytes.

    EDGECOMP_DATA=... python benchmarks/token_weights.py CHECKPOINT [--grids 3-bit-g64 Q4_0]
        [--powers 0 0.5 1] [--rows 32] [--windows 6]

Every linear inside the blocks is rounded by GPTQ to the grid, under H = mean w_t x_t x_t^T, w_t a
token's mean square gradient to the power p, its mean 1: p = 0 is what every effort but `best` does,
p = 0.5 what `best` does, p = 1 the Fisher information as it stands. Calibrated on our own texts,
judged on WikiText-2: its validation split is for choosing p, its test split for saying what came of
it. The loss is the KL divergence from the float model, in transformers, from the very values that
go into a file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from compress_calibration import rows_of
from compress_quantization import divergence, grid_called, log_probabilities
from torch import Tensor

from edgecomp.calibration.calibration import calibration_texts
from edgecomp.common.errors import EdgecompError
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.hessian import TokenWeights
from edgecomp.compress.token_weights import squared_gradients
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.recipes.calibration_mix import preset_mix

TEXTS = {"validation": "calib_wikitext.txt", "test": "wikitext2_test.txt"}


def template_of(folder: Path) -> ChatTemplate | None:
    try:
        return read_chat_template(folder)
    except EdgecompError:
        return None


def weights_of(squares: dict[str, Tensor], power: float) -> TokenWeights | None:
    if power == 0:
        return None

    def weights(block: Block, name: str) -> Tensor:
        found = squares[block.weight_name(name)] ** power
        return (found / found.nanmean()).nan_to_num(1.0)

    return weights


def compare(base: list[Tensor], folder: Path, tokens: Tensor) -> str:
    other = log_probabilities(folder, tokens)
    every = [divergence(p, q) for p, q in zip(base, other, strict=True)]
    same = [(p.argmax(-1) == q.argmax(-1)).float() for p, q in zip(base, other, strict=True)]
    means, kl = torch.stack([row.mean() for row in every]), torch.cat(every)
    spread = 1.96 * float(means.std()) / len(means) ** 0.5
    return (
        f"{float(kl.mean()):.4f} ± {spread:.4f} | {float(kl.quantile(0.99)):.2f} "
        f"| {float(torch.cat(same).mean()):.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--grids", nargs="+", default=["3-bit-g64"])
    parser.add_argument("--powers", nargs="+", type=float, default=[0, 0.5, 1])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--windows", type=int, default=6)
    asked = parser.parse_args()
    folder, data = asked.checkpoint, Path(os.environ["EDGECOMP_DATA"])
    texts = calibration_texts(preset_mix("general"), template_of(folder), None)[0]
    calibration = rows_of(folder, texts, asked.rows)
    judged = {
        name: rows_of(folder, [(data / file).read_text("utf-8")], asked.windows)
        for name, file in TEXTS.items()
    }
    bases = {name: log_probabilities(folder, tokens) for name, tokens in judged.items()}
    begun = time.process_time()
    squares = squared_gradients(folder, calibration)
    print(f"gradients: {time.process_time() - begun:.0f} seconds of a core\n")
    columns = " | ".join(f"KL, {name} | 99 % | same first choice" for name in judged)
    print(f"| grid | p | {columns} | seconds of a core |")
    print("| --- | ---: |" + " ---: | ---: | ---: |" * len(judged) + " ---: |")
    for grid in asked.grids:
        for power in asked.powers:
            with tempfile.TemporaryDirectory() as scratch:
                out, begun = Path(scratch) / "out", time.process_time()
                solved = grid_called(grid)
                walk(
                    folder,
                    calibration,
                    gptq_method(
                        lambda name, solved=solved: solved, weights=weights_of(squares, power)
                    ),
                    destination=Destination(folder=out, dtype=torch.float32),
                )
                seconds = time.process_time() - begun
                found = " | ".join(compare(bases[name], out, judged[name]) for name in judged)
            print(f"| {grid} | {power:g} | {found} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
