"""Whether an artifact with float weights writes what its source writes.

The artifact continues a few prompts greedily in its own runtime; the source then reads each
continuation in one pass of transformers (float32, on CPU) and must prefer every token of it. By
induction this is equality of the greedy texts. A token is accepted although the source prefers
another only where the source is undecided: where the two logits lie closer than the artifact's
float type can tell apart. Of a family of which nothing is known the log-likelihoods of those tokens
are compared as well: a wrong scale may choose the right tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgecomp.checks.artifact_checks import CONTROL, CheckResult
from edgecomp.common.errors import ModelIncomplete
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.safe_text import one_line
from edgecomp.formats.exporting import FloatType
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.onnx_folder import read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.divergence import log_probability
from edgecomp.runtimes.llama_cpp.client import CELLS_STEP, LlamaCpp, whole_cells
from edgecomp.runtimes.protocol import Completion, Runtime

if TYPE_CHECKING:
    from torch import Tensor

GAP_ERRORS: dict[FloatType, float] = {"F32": 0.005, "F16": 0.02, "BF16": 0.16}
"""Largest error of the gap between two leading logits that each type explains, as a share of the
standard deviation of that position's logits.

llama.cpp rounds activations to the weights' type, keeps keys and values in F16, unless beside F32
weights, and looks GELU up in an F16 table, so even F32 weights do not give transformers' logits.
Over 600 positions of WikiText-2 on SmolLM2-135M the largest share seen was 0.000014 for F32, 0.012
for F16 and 0.063 for BF16; tiny random GELU models reach 0.0025 in F32. Each bound is about twice
that or more.
"""

PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "Question: What is 17 + 25?\nAnswer:",
    "Die Hauptstadt von Deutschland heißt",
    "Water boils at a temperature of",
    "1, 2, 3, 5, 8,",
    "Dear Sir or Madam,\n\nI am writing to",
)
MORE_PROMPTS = (
    "The three states of matter are",
    "Q: Who wrote Hamlet?\nA:",
    "import numpy as np\n\ndef mean(values):",
    "La capitale de l'Italie est",
    "El gato se sentó en",
    "Monday, Tuesday, Wednesday,",
    "In 1969, humans first",
    "To make a cup of tea, first",
    "She opened the door and saw",
    "The opposite of hot is",
    "SELECT name FROM",
    "Photosynthesis is the process by which",
)
TOKENS = 32
"""Length of a continuation."""

HEAD_ROWS = 8192
"""Rows of the output head in memory at a time."""

LONGEST_REASON = 200

Logits = NDArray[np.float32]
LogitsOf = Callable[[Sequence[Sequence[int]], Sequence[int]], list[Logits]]
"""Logits [positions, vocabulary] of rows of token ids, of each from one of its positions on."""


class Continued(NamedTuple):
    """What the artifact wrote: token ids of each prompt, what came after it, and the tokens that
    may have ended it."""

    prompts: Sequence[str]
    ids: Sequence[Sequence[int]]
    answers: Sequence[Completion]
    control: Sequence[int]
    likelihoods: Sequence[Sequence[float]] = ()
    """The artifact's own log-likelihood of each token that it wrote, where it is asked for it."""


def check_greedy(
    checkpoint: Path,
    artifact: Path,
    float_type: FloatType,
    runtime: Runtime,
    prompts: Sequence[str] = PROMPTS,
    *,
    progress: Progress = ignore_progress,
) -> CheckResult:
    """Compare greedy continuations of `prompts` with those of `checkpoint`, on as many threads as
    torch has.

    `checkpoint` is a Hugging Face folder: the source itself, or the float checkpoint made of a
    GGUF source, whose own kernels round. One block of it is in memory at a time, as float32.
    """
    continued = _continue(artifact, float_type, runtime, prompts, progress)
    return _compare(continued, float_type, partial(_logits, checkpoint, progress=progress))


class LearnedCheck(FrozenModel):
    """The outcome for a family without a row here."""

    result: CheckResult
    walks: bool
    """Whether the checkpoint gives its own logits when it passes through memory block by block."""


def check_learned(
    checkpoint: Path,
    artifact: Path,
    float_type: FloatType,
    runtime: Runtime,
    *,
    progress: Progress = ignore_progress,
) -> LearnedCheck:
    """`check_greedy` for a family of which nothing is known: block by block, and where that cannot
    be done or finds a difference, with the whole model in memory.

    A model that transformers cannot run passes with a warning: nothing here can compare it.
    """
    continued = _continue(artifact, float_type, runtime, PROMPTS, progress, likelihoods=True)
    try:
        by_block = _compare(continued, float_type, partial(_logits, checkpoint, progress=progress))
    except Exception:  # Whatever a family does that the walker does not expect.
        by_block = None
    if by_block is not None and by_block.passed:
        return LearnedCheck(result=by_block, walks=True)
    try:
        whole = _compare(continued, float_type, partial(_logits_of_whole, checkpoint))
    except Exception as error:  # Classes that transformers lacks, or cannot run here.
        reason = one_line(f"{type(error).__name__}: {error}", LONGEST_REASON)
        detail = f"transformers cannot run {checkpoint} ({reason})"
        warning = f"The float file was not compared with its source: {detail}."
        whole = CheckResult(name="greedy text", passed=True, detail=detail, warning=warning)
    return LearnedCheck(result=whole, walks=False)


def _continue(
    artifact: Path,
    float_type: FloatType,
    runtime: Runtime,
    prompts: Sequence[str],
    progress: Progress,
    *,
    likelihoods: bool = False,
) -> Continued:
    """What the artifact writes after each prompt."""
    import torch

    ids = runtime.tokenize(artifact, prompts, add_special=True, parse_special=True)
    longest = max(len(row) for row in ids) + TOKENS
    settings = RunSettings(
        context=whole_cells(longest),
        micro_batch=CELLS_STEP,
        threads=torch.get_num_threads(),
    )
    if float_type == "F32":
        # A cache in F16 rounds as well, and turns a mixture's routers.
        settings = settings.model_copy(update={"kv_type": "F32", "flash_attention": False})
    answers = runtime.complete(artifact, settings, prompts, [TOKENS] * len(prompts), progress)
    continued = Continued(prompts, ids, answers, _control_tokens(artifact))
    if not likelihoods:
        return continued
    rows = [(row, answer.tokens) for row, answer in zip(ids, answers, strict=True)]
    found = LlamaCpp().likelihoods(artifact, settings, rows, progress)
    return continued._replace(likelihoods=found)


def _compare(continued: Continued, float_type: FloatType, logits_of: LogitsOf) -> CheckResult:
    """Whether the source prefers what the artifact wrote; `logits_of` gives the source's."""
    undecided: list[float] = []
    apart: list[float] = []
    compared = 0
    prompts = continued.prompts
    of_artifact = continued.likelihoods or [()] * len(prompts)
    every = zip(prompts, _choices(continued, logits_of), of_artifact, strict=True)
    for prompt, choices, likelihoods in every:
        apart += [
            abs(log_probability(logits, [token])[0][0] - found) / float(logits.std())
            for (logits, token), found in zip(choices, likelihoods, strict=False)
        ]
        for logits, token in choices:
            compared += 1
            margin = float(logits.max() - logits[token])
            if margin == 0.0:
                continue
            share = margin / float(logits.std())
            if not share <= GAP_ERRORS[float_type]:
                return CheckResult(
                    name="greedy text",
                    passed=False,
                    detail=f"after {prompt!r} and {compared} tokens compared, the source prefers "
                    f"token {int(logits.argmax())} to the artifact's {token} by {margin:.4g} "
                    f"({share:.3g} standard deviations of the logits; {float_type} explains "
                    f"{GAP_ERRORS[float_type]})",
                )
            undecided.append(share)
    if apart and not fmean(apart) <= GAP_ERRORS[float_type]:
        return CheckResult(
            name="greedy text",
            passed=False,
            detail=f"the source would write the same {compared} tokens, and gives them other "
            f"log-likelihoods, {fmean(apart):.3g} standard deviations of the logits away in the "
            f"mean ({float_type} explains {GAP_ERRORS[float_type]})",
        )
    detail = f"{compared} tokens after {len(prompts)} prompts are the source's"
    if undecided:
        detail += (
            f", but for {len(undecided)} where the source is undecided (by at most "
            f"{max(undecided):.2g} standard deviations of the logits; {float_type} explains "
            f"{GAP_ERRORS[float_type]})"
        )
    return CheckResult(name="greedy text", passed=True, detail=detail)


def _choices(continued: Continued, logits_of: LogitsOf) -> Iterator[list[tuple[Logits, int]]]:
    """For each prompt: the source's logits [vocabulary] at each position the artifact chose at, and
    its choice. Where the artifact ended by itself, its choice was one of the control tokens."""
    _, prompts, answers, control, _ = continued
    rows = [[*prompt, *answer.tokens] for prompt, answer in zip(prompts, answers, strict=True)]
    logits = logits_of(rows, [len(prompt) - 1 for prompt in prompts])
    for answer, found in zip(answers, logits, strict=True):
        chosen = list(answer.tokens)
        if answer.ended and control:
            chosen.append(max(control, key=lambda token: float(found[len(chosen)][token])))
        yield list(zip(found, chosen, strict=False))


def _logits_of_whole(
    checkpoint: Path, rows: Sequence[Sequence[int]], first: Sequence[int]
) -> list[Logits]:
    """`_logits`, with the whole model in memory as float32."""
    import torch

    from edgecomp.compress.whole_model import load_whole

    model = load_whole(checkpoint)
    with torch.no_grad():
        return [
            model(input_ids=torch.tensor([row]), use_cache=False).logits[0, at:].float().numpy()
            for row, at in zip(rows, first, strict=True)
        ]


def _logits(
    checkpoint: Path,
    rows: Sequence[Sequence[int]],
    first: Sequence[int],
    *,
    progress: Progress,
) -> list[Logits]:
    """Logits [positions, vocabulary] of each row of token ids from its position `first` on.

    The rows pass through the checkpoint one block at a time, so that a model larger than memory can
    be checked; later tokens do not reach earlier ones, so short rows are filled up.
    """
    import torch

    from edgecomp.compress.blocks import walk
    from edgecomp.compress.whole_model import as_the_family_scales

    length = max(len(row) for row in rows)
    tokens = torch.tensor([[*row, *[row[-1]] * (length - len(row))] for row in rows])
    hidden: list[torch.Tensor] = []
    walk(checkpoint, tokens, lambda block: None, final=hidden.append, progress=progress)
    states = torch.cat(hidden).view(len(rows), length, -1)
    wanted = [state[at : len(row)] for state, at, row in zip(states, first, rows, strict=True)]
    scores = as_the_family_scales(
        checkpoint,
        torch.cat(wanted),
        lambda given: torch.cat(list(_through_head(checkpoint, given)), dim=1),
    )
    sizes = [len(state) for state in wanted]
    return [part.numpy() for part in torch.split(scores, sizes)]


def _through_head(checkpoint: Path, states: Tensor) -> Iterator[Tensor]:
    """Logits [positions, some of the vocabulary] of states [positions, width], part by part."""
    import torch

    from edgecomp.compress.checkpoint import read_rows, read_tensor

    model = read_model(checkpoint)
    source = next((t.source_name for t in model.tensors if t.name == model.head_name), None)
    if source is None:
        raise ModelIncomplete(
            checkpoint,
            f"it stores no {model.head_name}, which gives the logits.",
            "Where the embedding is the head as well, config.json must say tie_word_embeddings.",
        )
    every = stored_tensors(checkpoint)
    stored, bias = every[source], every.get(f"{source.removesuffix('.weight')}.bias")
    added = read_tensor(bias).float()[:, None] if bias else None
    for begin in range(0, model.vocabulary, HEAD_ROWS):
        part = torch.arange(begin, min(begin + HEAD_ROWS, model.vocabulary))
        scores = states @ read_rows(stored, part).float().T
        yield scores if added is None else scores + added[part].T


def _control_tokens(artifact: Path) -> list[int]:
    if artifact.is_dir():
        return list(read_onnx_folder(artifact).end_tokens)
    types = read_gguf_header(artifact).get("tokenizer.ggml.token_type")
    if not isinstance(types, list):
        return []
    return [token for token, kind in enumerate(types) if kind == CONTROL]
