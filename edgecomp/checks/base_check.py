"""Whether a GGUF file and its supposed base belong together, and what of the base it lost by the
way: shape, special tokens, chat template, and the one weight that nobody rounds.

Each check is a function of two files that returns a CheckResult.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import GgufHeader, read_gguf_header
from edgecomp.models.reading import read_model

SPECIAL_TOKENS = (
    "bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "add_bos_token",
    "add_eos_token", "pre",
)  # fmt: skip
"""What decides where texts begin and answers end, and how they are split."""

LAST_NORM = "output_norm.weight"
ROUNDED_TO = 2.0**-8
"""BF16's step: a norm that was kept in any float type differs by less."""


def check_shape(base: Path, file: Path) -> CheckResult:
    """Whether both are one architecture of one size."""
    before, after = read_model(base), read_model(file)
    compared = (
        ("architecture", before.architecture, after.architecture),
        ("layers", before.layers, after.layers),
        ("width", before.embedding_length, after.embedding_length),
        ("vocabulary", before.vocabulary, after.vocabulary),
    )
    different = [f"{name} {now}, the base's {was}" for name, was, now in compared if was != now]
    detail = "; ".join(different) or f"{after.architecture}, {after.layers} layers, as the base"
    return CheckResult(name="shape", passed=not different, detail=detail)


def check_special_tokens(base: Path, file: Path) -> CheckResult:
    """Whether texts begin and answers end with the same tokens."""
    before, after = read_gguf_header(base), read_gguf_header(file)
    different = []
    for name in SPECIAL_TOKENS:
        key = f"tokenizer.ggml.{name}"
        if before.get(key) != after.get(key):
            different.append(f"{name} {after.get(key)}, the base's {before.get(key)}")
    detail = "; ".join(different) or "as the base's"
    return CheckResult(name="special tokens", passed=not different, detail=detail)


def check_chat_template(base: Path, file: Path) -> CheckResult:
    """Whether conversations are laid out by the same template."""
    before, after = read_chat_template(base).source, read_chat_template(file).source
    if before == after:
        detail = "as the base's" if after else "none, as in the base"
        return CheckResult(name="chat template", passed=True, detail=detail)
    detail = (
        "the file has none, and its base has one"
        if after is None
        else "the file has one, and its base has none"
        if before is None
        else f"another than the base's ({len(after):,} characters, {len(before):,} in the base)"
    )
    return CheckResult(name="chat template", passed=False, detail=detail)


def check_same_checkpoint(base: Path, file: Path) -> CheckResult:
    """Whether the last norm, which no format rounds and no method of ours scales, has the base's
    values: another fine-tune, or the sibling of a model that was trained to be quantized, has
    not."""
    before, after = (_values(read_gguf_header(path), LAST_NORM) for path in (base, file))
    if before is None or after is None or before.shape != after.shape:
        return CheckResult(name="same checkpoint", passed=True, detail="no norm to tell it by")
    apart = np.abs(before - after) > ROUNDED_TO * np.abs(before) + np.finfo(np.float16).tiny
    if not apart.any():
        detail = "the last norm is the base's"
        return CheckResult(name="same checkpoint", passed=True, detail=detail)
    return CheckResult(
        name="same checkpoint",
        passed=False,
        detail=f"{int(apart.sum()):,} of {len(before):,} values of the last norm are others than "
        "the base's: the base given is another fine-tune, or not what was quantized",
    )


def _values(header: GgufHeader, name: str) -> NDArray[np.float32] | None:
    row = next((tensor for tensor in header.tensors if tensor.name == name), None)
    return None if row is None else np.concatenate(list(float32_pieces(header, row)))
