"""Does the artifact still write text? Asked before a long evaluation, to stop it early.

A few fixed prompts are answered greedily and looked at for what a ruined model does: nothing at
all, a loop, broken characters, another script. Blown-up perplexity is the fifth mark, since word
salad can pass the others. Small models stumble when they are whole, so single marks are allowed,
and marks the base shows as well do not count against the artifact.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.evaluate import render
from edgecomp.evaluate.items import ask
from edgecomp.runtimes.protocol import Completion

PROMPTS = (
    "Describe a walk in a park in three sentences.",
    "Why is the sky blue?",
    "Write a short note that thanks a neighbour for watering the plants.",
    "Name four fruits and say what each tastes like.",
    "Tell a short story about a dog that finds a key.",
    "Explain what a bridge is to a child.",
    "How do I make a cup of tea?",
    "What can one do on a rainy Sunday?",
)
ANSWER_TOKENS = 64

LONGEST_LOOP_TOKENS = 12
FEWEST_REPEATS = 4
LOOP_SHARE = 0.5
LETTER_SHARE = 0.7
"""Least share of letters among visible characters; prose lies above 0.85."""

MARKUP = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+|[*_#`]", re.MULTILINE)

BROKEN_SHARE = 0.02
FOREIGN_SHARE = 0.3
ALLOWED_SHARE = 0.25
"""Share of the prompts that may go wrong in a model that is whole."""

PERPLEXITY_BLOW_UP_RATIO = 2.0

Mark = Literal["empty", "repetition", "broken text", "language drift", "perplexity"]


class Garbage(FrozenModel):
    """One mark of a ruined model, and where it was seen."""

    mark: Mark
    prompt: str | None
    evidence: str


class Coherence(FrozenModel):
    """What the fixed prompts showed. `coherent` false means: do not evaluate further."""

    schema_version: Literal[1] = 1
    coherent: bool
    prompts: int
    findings: tuple[Garbage, ...]
    remedy: str | None


def answer_fixed_prompts(
    model: AskedModel, progress: Progress = ignore_progress
) -> list[Completion]:
    """The artifact's completions of PROMPTS, each of at most ANSWER_TOKENS tokens."""
    prompts = [render(ask(text), model.template) for text in PROMPTS]
    limits = [ANSWER_TOKENS] * len(prompts)
    return model.runtime.complete(model.artifact, model.settings, prompts, limits, progress)


def check_coherence(
    completions: Sequence[Completion],
    base: Sequence[Completion] = (),
    divergence: DivergenceSummary | None = None,
) -> Coherence:
    """Judge completions of PROMPTS, beside the base's where there are some."""
    findings = _look(completions)
    excess = len(findings) - len(_look(base))
    ruined = excess > ALLOWED_SHARE * len(completions)
    if divergence and (divergence.ruined or divergence.perplexity_ratio > PERPLEXITY_BLOW_UP_RATIO):
        ruined = True
        evidence = (
            f"perplexity {divergence.artifact_perplexity:.1f}, "
            f"{divergence.perplexity_ratio:.1f} x the base's {divergence.base_perplexity:.1f}"
        )
        findings.append(Garbage(mark="perplexity", prompt=None, evidence=evidence))
    return Coherence(
        coherent=not ruined,
        prompts=len(completions),
        findings=tuple(findings),
        remedy="Compress less: 8-bit instead of 4-bit, or 30 % sparsity instead of 50 %."
        if ruined
        else None,
    )


def _look(completions: Sequence[Completion]) -> list[Garbage]:
    findings: list[Garbage] = []
    for prompt, completion in zip(PROMPTS, completions, strict=False):
        mark = garbage_mark(completion)
        if mark:
            shown = completion.text.strip()[:80] or "(nothing)"
            findings.append(Garbage(mark=mark, prompt=prompt, evidence=shown))
    return findings


def garbage_mark(completion: Completion) -> Mark | None:
    """What is wrong with an answer to an English prompt, or None."""
    text = completion.text.strip()
    if not any(character.isalnum() for character in text):
        return "empty" if not completion.tokens or not text else "broken text"
    # The limit may cut the last character in two; that is not the model's doing.
    body = text if completion.ended else text.rstrip("\ufffd")
    if body.count("\ufffd") > max(1, BROKEN_SHARE * len(body)):
        return "broken text"
    if letter_share(text) < LETTER_SHARE:
        return "broken text"
    if loop_share(completion.tokens) >= LOOP_SHARE:
        return "repetition"
    if foreign_share(text) > FOREIGN_SHARE:
        return "language drift"
    return None


def letter_share(text: str) -> float:
    """The share of visible characters that are letters or parts of them, of any script; marks of
    lists and of emphasis do not count."""
    visible = [character for character in MARKUP.sub("", text) if not character.isspace()]
    letters = sum(unicodedata.category(character)[0] in "LM" for character in visible)
    return letters / len(visible) if visible else 0.0


def loop_share(tokens: Sequence[int]) -> float:
    """The largest share of `tokens` that one block takes by repeating itself four times or more."""
    longest = 0
    for period in range(1, LONGEST_LOOP_TOKENS + 1):
        run = 0
        for index in range(period, len(tokens)):
            run = run + 1 if tokens[index] == tokens[index - period] else 0
            if run >= period * (FEWEST_REPEATS - 1):
                longest = max(longest, run + period)
    return longest / len(tokens) if tokens else 0.0


def foreign_share(text: str) -> float:
    """The share of letters that are not Latin."""
    scripts = Counter(
        unicodedata.name(letter, "UNKNOWN").split()[0] == "LATIN"
        for letter in text
        if letter.isalpha()
    )
    return scripts[False] / scripts.total() if scripts else 0.0
