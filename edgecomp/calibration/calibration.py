"""Calibration mixes: which texts a compression method sees, and how that is recorded.

A mix names sources and how many samples each gives (`math: 256, general_reasoning: 128`). Sources
are files in a data folder, where one is given, or texts that ship with edgecomp. Samples are
rendered with the model's own chat template, tokenized by its own tokenizer and packed into rows of
one length.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import CalibrationRefused, DataMalformed, DataMissing
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.jsonl_rows import read_rows, read_text
from edgecomp.common.tasks import SourceName
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.runtimes.protocol import Runtime

GENERIC: tuple[SourceName, ...] = ("text",)

FILES: dict[SourceName, str] = {
    "math": "calib_gsm8k.jsonl",
    "instructions": "calib_instructions.jsonl",
    "text": "calib_wikitext.txt",
}
TEXT_CHARACTERS = 1200
SHAPES = ("question and answer", "instruction and instances with an output")


class CalibrationRecord(FrozenModel):
    """Where a calibration came from (R55): enough to repeat it."""

    mix: CalibrationMix
    origins: dict[SourceName, str]
    """File name, or "ships with edgecomp"."""

    rows: int
    tokens_sha256: str
    template_sha256: str | None
    warnings: tuple[str, ...]


def calibration_texts(
    mix: CalibrationMix, template: ChatTemplate, data: Path | None
) -> tuple[list[str], dict[SourceName, str]]:
    """The rendered samples of a mix in a seeded order, and where each source came from."""
    texts: list[str] = []
    origins: dict[SourceName, str] = {}
    for name, count in sorted(mix.samples.items()):
        if count == 0:
            continue
        available = available_texts(name, template, data)
        chosen = random.Random(f"{mix.seed}-{name}").sample(available, min(count, len(available)))
        # A source smaller than its share is repeated, so that the mix keeps its proportions.
        texts += [chosen[index % len(chosen)] for index in range(count)]
        file = _file_of(name, data)
        origins[name] = file.name if file else "ships with edgecomp"
    random.Random(mix.seed).shuffle(texts)
    return texts, origins


def available_texts(name: SourceName, template: ChatTemplate, data: Path | None) -> list[str]:
    """Every rendered sample of a source. Raises DataMissing, DataMalformed."""
    file = _file_of(name, data)
    texts = list(_from_file(name, file, template) if file else _own(name, template))
    if not texts:
        place = f"{file}, the calibration source {name}," if file else f"The source {name}"
        raise DataMissing(f"{place} is empty. Put samples into it, or leave {name} out of the mix.")
    return texts


def check_sources(mix: CalibrationMix, data: Path | None) -> None:
    """Read the texts that a mix takes from the data folder. Raises DataMissing, DataMalformed or
    FileUnreadable."""
    for name, count in mix.samples.items():
        if count and _file_of(name, data):
            available_texts(name, ChatTemplate(source=None), data)


def _file_of(name: SourceName, data: Path | None) -> Path | None:
    """The data folder's file of a source; None where it has none and what ships serves."""
    path = data / FILES[name] if data and name in FILES else None
    return path if path and path.is_file() else None


def _missing_files(mix: CalibrationMix, data: Path | None) -> tuple[str, ...]:
    """What to say of sources that the data folder could hold and does not."""
    missing = [
        f"{name} ({FILES[name]})"
        for name, count in sorted(mix.samples.items())
        if data and count and name in FILES and _file_of(name, data) is None
    ]
    if not missing:
        return ()
    return (f"{data} lacks calibration text for {', '.join(missing)}: what ships is used.",)


def pack(rows_of_tokens: Sequence[Sequence[int]], row_tokens: int) -> NDArray[np.int64]:
    """Samples joined end to end and cut into rows [rows, row_tokens]; a short rest is dropped."""
    empty = np.empty(0, dtype=np.int64)
    joined = np.concatenate([empty, *(np.asarray(row, np.int64) for row in rows_of_tokens)])
    rows = len(joined) // row_tokens
    if rows == 0:
        raise CalibrationRefused(
            f"The calibration texts give {len(joined)} tokens, less than one row of {row_tokens}. "
            "Give more samples, or a smaller row_tokens."
        )
    return joined[: rows * row_tokens].reshape(rows, row_tokens)


def make_calibration(
    mix: CalibrationMix,
    model_file: Path,
    template: ChatTemplate,
    runtime: Runtime,
    data: Path | None,
    warnings: tuple[str, ...] = (),
) -> tuple[NDArray[np.int64], CalibrationRecord]:
    """Token ids [rows, row_tokens] by the model's own tokenizer, at most one row a sample.

    BOS stands where the deployed model sees it: before each sample, once (R106). `warnings` are
    those about the mix, and go into the record.
    """
    texts, origins = calibration_texts(mix, template, data)
    tokens = runtime.tokenize(model_file, texts, add_special=True, parse_special=True)
    rows = pack(tokens, mix.row_tokens)[: mix.total]
    source = template.source
    return rows, CalibrationRecord(
        mix=mix,
        origins=origins,
        rows=len(rows),
        tokens_sha256=hashlib.sha256(rows.tobytes()).hexdigest(),
        template_sha256=hashlib.sha256(source.encode()).hexdigest() if source else None,
        warnings=(*warnings, *_missing_files(mix, data)),
    )


def _chat(template: ChatTemplate, question: str, answer: str) -> str:
    if template.source is None:
        return f"{question}\n{answer}\n"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return template.render(messages, add_generation_prompt=False)


def _from_file(name: SourceName, path: Path, template: ChatTemplate) -> Iterator[str]:
    if path.suffix == ".txt":
        yield from _passages(read_text(path))
        return
    for row in read_rows(path):
        try:
            question, answer = _pair(row.fields)
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            fault = f"it has neither {' nor '.join(SHAPES)}"
            raise DataMalformed(path, row.line, fault) from error
        yield _chat(template, question, answer)


def _pair(row: dict[str, Any]) -> tuple[str, str]:
    """A question and its answer from one row: GSM8K's, or self-instruct's shape."""
    if "instruction" in row:
        instance = row["instances"][0]
        given = f"\n\n{instance['input']}" if instance.get("input") else ""
        return str(row["instruction"]) + given, str(instance["output"])
    return str(row["question"]), str(row["answer"])


def _passages(text: str) -> Iterator[str]:
    """A long text in pieces of some paragraphs each."""
    piece = ""
    for paragraph in text.splitlines(keepends=True):
        piece += paragraph
        if len(piece) >= TEXT_CHARACTERS:
            yield piece
            piece = ""
    if piece.strip():
        yield piece


def _own(name: SourceName, template: ChatTemplate) -> Iterator[str]:
    from edgecomp.calibration.own import own_pairs, own_passages

    if name == "text":
        yield from _passages(own_passages())
        return
    for question, answer in own_pairs(name):
        yield _chat(template, question, answer)
