"""A depth-pruned student before and after some minutes of distillation on this machine.

    EDGECOMP_DATA=... python benchmarks/compress_distillation.py CHECKPOINT BLOCKS MINUTES

CHECKPOINT is a float Hugging Face folder, BLOCKS what is kept (40%: 52 % of the demo model's
parameters, its embeddings included). The divergence is the held-out one that training watches: the
KL from the teacher on text that the student never saw, over the teacher's 64 likeliest tokens.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from compress_quantization import tokens_of

from edgecomp.compress.distill import Training, distill
from edgecomp.compress.distill_targets import cache_targets
from edgecomp.compress.structured import measure_importance, prune
from edgecomp.models.reading import read_model
from edgecomp.recipes.distillation import Distillation, check_share
from edgecomp.recipes.stages import StructuredStage

IMPORTANCE_ROWS, TRAINING_SAMPLES = 16, 120


def main(teacher: Path, blocks: str, minutes: float) -> None:
    spec = read_model(teacher)
    tokens = tokens_of(teacher, "calib_wikitext.txt", TRAINING_SAMPLES).reshape(-1, 256)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sizes = StructuredStage(blocks=blocks).sizes(spec)
        prune(
            teacher,
            folder / "student",
            measure_importance(teacher, tokens[:IMPORTANCE_ROWS]),
            sizes,
        )
        student = read_model(folder / "student")
        check_share(spec, student)
        begun = time.monotonic()
        targets = cache_targets(teacher, tokens, folder / "targets")
        cached = time.monotonic() - begun
        disk = sum(file.stat().st_size for file in (folder / "targets").iterdir())
        settings = Distillation(minutes=minutes)
        begun = time.monotonic()
        history = distill(
            Training(
                student=folder / "student",
                tokens=tokens,
                targets=targets,
                destination=folder / "out",
                settings=settings,
            )
        )
        trained = time.monotonic() - begun
    share = student.parameters / spec.parameters
    print(
        f"{sizes.blocks} of {spec.layers} blocks, {share:.0%} of the parameters; "
        f"{tokens.numel():,} tokens; teacher's logits {cached:.0f} s, {disk / 1e6:.0f} MB; "
        f"{history.steps} steps in {trained:.0f} s"
    )
    print("\n| step | held-out divergence, nats a token | of the first |")
    print("| ---: | ---: | ---: |")
    first = history.points[0].divergence
    for point in history.points:
        share = point.divergence / first
        print(f"| {point.step} | {point.divergence:.4f} | {share:.0%} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
