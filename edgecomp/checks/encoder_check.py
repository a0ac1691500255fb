"""Whether an ONNX encoder gives what its source gives in transformers.

Both read the same texts, one at a time and as a padded batch. Runs in a worker process: it loads
torch, and ONNX Runtime beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.checks.greedy_check import MORE_PROMPTS, PROMPTS
from edgecomp.checks.tokenizer_corpus import corpus
from edgecomp.models.huggingface.model import read_json
from edgecomp.models.onnx_folder import GRAPH, TOKENIZER

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FLOAT_ERROR = 1e-3
"""Largest difference of a float export's outputs, as a share of their standard deviation. Sums of
float32 in another order explain about 1e-5."""

Inputs = dict[str, NDArray[np.int64]]
"""Token ids and what goes with them, [texts, longest]."""

Outputs = NDArray[np.float32]


def check_encoder(checkpoint: Path, artifact: Path, *, rounded: bool) -> tuple[CheckResult, ...]:
    """Compare an export of `checkpoint` with it: token ids, and outputs.

    The outputs of float weights must agree within FLOAT_ERROR; those of rounded ones are compared,
    and only their being finite numbers is required.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(artifact / TOKENIZER))
    tokenizer.no_truncation()
    source, graph = _source(checkpoint), _graph(artifact)
    texts = [*PROMPTS, *MORE_PROMPTS]
    wanted, found = [], []
    for batch in (*([text] for text in texts), texts):
        inputs = _inputs(tokenizer, batch)
        seen = inputs["attention_mask"].astype(bool)
        wanted.append(_kept(source(inputs), seen))
        found.append(_kept(graph(inputs), seen))
    return (
        _check_ids(checkpoint, tokenizer),
        _compare_outputs(
            np.concatenate(wanted), np.concatenate(found), rounded=rounded, texts=len(texts)
        ),
    )


def _compare_outputs(wanted: Outputs, found: Outputs, texts: int, *, rounded: bool) -> CheckResult:
    error = float(np.abs(wanted - found).max() / wanted.std())
    products = (wanted * found).sum(-1)
    cosine = products / (np.linalg.norm(wanted, axis=-1) * np.linalg.norm(found, axis=-1))
    passed = bool(np.isfinite(found).all()) and (rounded or error <= FLOAT_ERROR)
    return CheckResult(
        name="outputs",
        passed=passed,
        detail=f"on {texts} texts within {error:.2g} standard deviations of the source's, cosine "
        f"at least {float(cosine.min()):.4f}, mean {float(cosine.mean()):.4f}",
    )


def _check_ids(checkpoint: Path, tokenizer: Tokenizer) -> CheckResult:
    from transformers import AutoTokenizer

    source = AutoTokenizer.from_pretrained(checkpoint)
    texts = list(corpus())
    tokenizer.no_padding()
    for text in texts:
        wanted, found = list(source.encode(text)), tokenizer.encode(text).ids
        if wanted != found:
            detail = f"{text[:80]!r}: {wanted[:20]} in the source, {found[:20]} in the artifact"
            return CheckResult(name="token ids", passed=False, detail=detail)
    return CheckResult(name="token ids", passed=True, detail=f"equal on all {len(texts)} texts")


def _inputs(tokenizer: Tokenizer, texts: Sequence[str]) -> Inputs:
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.asarray([row.ids for row in rows], dtype=np.int64),
        "attention_mask": np.asarray([row.attention_mask for row in rows], dtype=np.int64),
        "token_type_ids": np.asarray([row.type_ids for row in rows], dtype=np.int64),
    }


def _kept(output: Outputs, seen: NDArray[np.bool_]) -> Outputs:
    """Rows [rows, features]: one a text, or one a token that is not padding."""
    return output[seen] if output.ndim == 3 else output


def _source(checkpoint: Path) -> Callable[[Inputs], Outputs]:
    """The first output of the source's own class in transformers, float32 on the CPU."""
    import torch
    import transformers

    name = read_json(checkpoint / "config.json")["architectures"][0]
    model = getattr(transformers, name).from_pretrained(checkpoint, dtype=torch.float32).eval()
    known = inspect.signature(model.forward).parameters

    def run(inputs: Inputs) -> Outputs:
        with torch.no_grad():
            tensors = {name: torch.from_numpy(row) for name, row in inputs.items() if name in known}
            output: Outputs = model(**tensors)[0].numpy()
        return output

    return run


def _graph(artifact: Path) -> Callable[[Inputs], Outputs]:
    """The first output of the exported graph in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(artifact / GRAPH), providers=["CPUExecutionProvider"]
    )
    known = {row.name for row in session.get_inputs()}

    def run(inputs: Inputs) -> Outputs:
        given = {name: row for name, row in inputs.items() if name in known}
        output: Outputs = session.run(None, given)[0]
        return output

    return run
