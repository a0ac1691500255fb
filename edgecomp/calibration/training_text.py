"""Text for a student to learn from: the calibration's sources, more of each, none of it twice."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.calibration import available_texts, pack
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.runtimes.protocol import Runtime


def make_training_rows(
    mix: CalibrationMix,
    tokens: int,
    model_file: Path,
    template: ChatTemplate,
    runtime: Runtime,
    data: Path | None,
) -> NDArray[np.int64]:
    """Token ids int64 [rows, row_tokens], at most `tokens` of them, in a seeded order.

    Each source gives as many tokens as its share of the mix, or all it has, without the texts that
    are longer than what is left of it. A text is there once:
    what is held out must not have been learnt. Raises DataMissing, DataMalformed, and
    CalibrationRefused where there is less than one row.
    """
    chosen: list[list[int]] = []
    for name, count in sorted(mix.samples.items()):
        if count == 0:
            continue
        texts = list(dict.fromkeys(available_texts(name, template, data)))
        random.Random(f"{mix.seed}-{name}").shuffle(texts)
        room = tokens * count // mix.total
        for row in runtime.tokenize(model_file, texts, add_special=True, parse_special=True):
            if len(row) > room:
                continue
            chosen.append(list(row))
            room -= len(row)
    random.Random(mix.seed).shuffle(chosen)
    return pack(chosen, mix.row_tokens)
