"""Families without a row of ours as GGUF, by llama.cpp's own converter of the runtime's version.
Towers that read pictures or sounds become a file of their own so, whatever the family.

It runs in a child whose path has the converter's own copy of the `gguf` package first. Where it
does not recognise the tokenizer, or writes one that gives other token ids than the source's, it
writes the one of gguf_tokenizer.py instead.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import gguf

from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.atomic import replacing
from edgecomp.common.errors import EdgecompError, ExportRefused
from edgecomp.common.events import Progress
from edgecomp.common.folders import scratch_folder
from edgecomp.common.safe_text import one_line
from edgecomp.formats.exporting import ExportRecord, FloatType
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.llama_cpp_families import converter_folder
from edgecomp.models.spec import ModelSpec
from edgecomp.runtimes.protocol import find_runtime

from .gguf_tokenizer import add_tokenizer, tokenizer_definition
from .other_program import run_program

PROGRAM = Path(__file__).parent / "converter_program.py"
MISSING_ENTRY = re.compile(r"^KeyError: ['\"](\w+)['\"]$")
BARE_ERROR = re.compile(r"^\w+$")
HAS_WORDS = re.compile(r"\w")
"""Not so the marks under a line of a traceback."""

LONGEST_REASON = 300
OTHER_TOKENIZER = "the tokenizer is written by edgecomp"


def export_converted(
    model: ModelSpec, destination: Path, float_type: FloatType, progress: Progress
) -> ExportRecord:
    """Write `model`, a Hugging Face folder whose class the converter knows, to the file
    `destination`, whole or not at all. Raises ExportRefused with the converter's own words,
    ChildHung, ChildKilledByMemory, DiskFull or NotWritable."""
    progress(0, 1)
    with replacing(destination) as temporary, scratch_folder() as scratch:
        tokenizer = _write_tokenizer(model, scratch / "tokenizer.json")
        notes = _convert(model, temporary, float_type, tokenizer)
        if tokenizer and not notes:
            same = check_token_ids(model, temporary, find_runtime("llama.cpp"))
            if not same.passed:
                _convert(model, temporary, float_type, tokenizer, other=True)
                notes = (f"The tokenizer is edgecomp's: with the converter's own, {same.detail}.",)
    progress(1, 1)
    return _record(destination, float_type, notes)


def export_projector(model: ModelSpec, destination: Path, progress: Progress) -> ExportRecord:
    """Write the towers of `model`, a Hugging Face folder, to the file `destination` as F16, whole
    or not at all. Raises what `export_converted` raises."""
    progress(0, 1)
    with replacing(destination) as temporary:
        _convert(model, temporary, "F16", None, projector=True)
    progress(1, 1)
    return _record(destination, "F16", ())


def _record(destination: Path, float_type: FloatType, notes: tuple[str, ...]) -> ExportRecord:
    header = read_gguf_header(destination)
    return ExportRecord(
        path=destination,
        size_bytes=header.file_bytes,
        float_type=float_type,
        tensors={tensor.name: tensor.type.name for tensor in header.tensors},
        notes=notes,
    )


def _convert(
    model: ModelSpec,
    destination: Path,
    float_type: FloatType,
    tokenizer: Path | None,
    *,
    other: bool = False,
    projector: bool = False,
) -> tuple[str, ...]:
    """Run the converter; what it said of a tokenizer that it does not know."""
    folder = converter_folder()
    ended = run_program(
        sys.executable,
        PROGRAM,
        {
            "checkpoint": str(model.path),
            "destination": str(destination),
            "float_type": float_type,
            "name": model.name,
            "projector": projector,
            "tokenizer": str(tokenizer) if tokenizer else None,
            "other_tokenizer": other,
        },
        doing=f"llama.cpp's converter wrote {model.name}",
        instead="give a GGUF file of it",
        environment={
            "PYTHONPATH": os.pathsep.join(map(str, (folder / "gguf-py", folder))),
            "NO_LOCAL_GGUF": "1",
        },
    )
    if ended.code or not destination.is_file():
        raise ExportRefused(_refusal(model, ended.lines, projector=projector))
    return tuple(
        one_line(line, LONGEST_REASON) for line in ended.lines if line.startswith(OTHER_TOKENIZER)
    )


def _write_tokenizer(model: ModelSpec, path: Path) -> Path | None:
    """Our own entries for the tokenizer, as JSON; None where we cannot write it either."""
    writer = gguf.GGUFWriter(None, model.architecture)
    try:
        definition = tokenizer_definition(model.path)
        add_tokenizer(writer, model.path, definition, model.vocabulary)
    except EdgecompError:
        return None
    entries = {
        key: (entry.value, int(entry.type), None if entry.sub_type is None else int(entry.sub_type))
        for key, entry in writer.kv_data[0].items()
        if key.startswith("tokenizer.")
    }
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def _refusal(model: ModelSpec, lines: list[str], *, projector: bool) -> str:
    last = one_line(lines[-1], LONGEST_REASON) if lines else "it gave no reason"
    if BARE_ERROR.match(last):
        code = (line.strip() for line in reversed(lines) if line.startswith("    "))
        last += f" in `{one_line(next(filter(HAS_WORDS.search, code), ''), LONGEST_REASON)}`"
    entry = MISSING_ENTRY.match(last)
    files = "config.json or preprocessor_config.json" if projector else "config.json"
    part = "projector (mmproj)" if projector else "model"
    cure = (
        f"Its {files} may lack the entry {entry.group(1)!r}: restore it from the model's page."
        if entry
        else f"Give a GGUF file of the {part} where there is one."
    )
    what = "the towers of " if projector else ""
    return (
        f"llama.cpp's converter cannot write {what}{model.path} ({model.architecture}): {last}. "
        f"{cure}"
    )
