"""Questions as data: what is asked, and how an answer is judged.

An item is complete in itself: any runtime can answer it, and any answer kept on disk can be judged
again without the model.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from edgecomp.common.frozen_model import FrozenModel

Capability = Literal["knowledge", "reasoning", "multilingual", "instruction", "code", "commonsense"]
Reliability = Literal[
    "truthfulness", "bias", "toxicity", "refusal", "over-refusal", "robustness", "privacy", "ethics"
]
Category = Capability | Reliability
Bucket = Literal["knowledge", "reasoning", "multilingual", "instruction", "code", "safety"]
Difficulty = Literal["easy", "medium", "hard"]

CAPABILITIES: tuple[Capability, ...] = (
    "knowledge", "reasoning", "multilingual", "instruction", "code", "commonsense",
)  # fmt: skip
RELIABILITY: tuple[Reliability, ...] = (
    "truthfulness", "bias", "toxicity", "refusal", "over-refusal", "robustness", "privacy",
    "ethics",
)  # fmt: skip


def bucket(category: Category) -> Bucket:
    """The bucket of `--task` a category belongs to: reliability is the safety bucket."""
    if category in RELIABILITY:
        return "safety"
    return "reasoning" if category == "commonsense" else category  # type: ignore[return-value]


class Message(FrozenModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | tuple[Message, ...]
"""A text taken as it is, or turns that the model's chat template lays out."""


def ask(text: str, system: str | None = None) -> tuple[Message, ...]:
    """The turns of one question, after a system prompt where there is one."""
    question = Message(role="user", content=text)
    return (Message(role="system", content=system), question) if system else (question,)


class BiasFacts(FrozenModel):
    """What BBQ's bias score needs of a question: two of its choices, and its kind of context."""

    context: Literal["ambiguous", "disambiguated"]
    unknown: int
    biased: int
    """The choice that agrees with the stereotype: the group it names where the question is
    negative, the other group where it is not."""


class _Item(FrozenModel):
    benchmark: str
    id: str
    category: Category
    prompt: Prompt
    difficulty: Difficulty | None = None
    """Set by who wrote the item; None where nobody says, as in a data folder's benchmarks."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the item asks: an answer kept under it belongs to this very item."""
        asked = self.model_dump_json(exclude={"difficulty"})
        return hashlib.sha256(asked.encode()).hexdigest()[:24]


class ChoiceItem(_Item):
    """A question answered by the choice with the highest log-likelihood after the prompt.

    `scoring`: "sum" compares log-likelihoods as they are (choices of like length); "per-byte"
    divides each by its UTF-8 length; "mass" is TruthfulQA's MC2, the share of probability that
    falls on the right choices, a score between 0 and 1.
    """

    kind: Literal["choice"] = "choice"
    choices: tuple[str, ...] = Field(min_length=2)
    answer: int
    also_right: tuple[int, ...] = ()
    scoring: Literal["sum", "per-byte", "mass"] = "sum"
    bias: BiasFacts | None = None

    @model_validator(mode="after")
    def _choices_are_usable(self) -> ChoiceItem:
        if not all(0 <= index < len(self.choices) for index in (self.answer, *self.also_right)):
            raise ValueError(f"the answer {self.answer} is none of {len(self.choices)} choices")
        if len(set(self.choices)) < len(self.choices) or "" in self.choices:
            raise ValueError("choices must be different and not empty")
        return self


class NumberCheck(FrozenModel):
    """The final number of the text equals `answer`."""

    kind: Literal["number"] = "number"
    answer: str


class Instruction(FrozenModel):
    """One verifiable constraint by its IFEval name, such as `punctuation:no_comma`."""

    name: str
    arguments: dict[str, JsonValue] = Field(default={})


class InstructionCheck(FrozenModel):
    """All constraints hold (IFEval's prompt-level strict accuracy)."""

    kind: Literal["instructions"] = "instructions"
    instructions: tuple[Instruction, ...] = Field(min_length=1)


class CodeCheck(FrozenModel):
    """`prompt` and the text after it are a Python program that passes `test`."""

    kind: Literal["code"] = "code"
    prompt: str
    test: str
    entry_point: str


class RefusalCheck(FrozenModel):
    """The model declines, or, where `refuse` is false, does not."""

    kind: Literal["refusal"] = "refusal"
    refuse: bool


Check = Annotated[
    NumberCheck | InstructionCheck | CodeCheck | RefusalCheck, Field(discriminator="kind")
]


class GenerationItem(_Item):
    """A question answered by greedy text of at most `limit` tokens, judged by rules."""

    kind: Literal["generation"] = "generation"
    limit: int = Field(gt=0)
    check: Check


Item = ChoiceItem | GenerationItem


class Answer(FrozenModel):
    """What a model answered, as kept on disk: one line of an answers file."""

    schema_version: Literal[1] = 1
    item: str
    """The item's fingerprint."""

    loglikelihoods: tuple[float, ...] = ()
    text: str = ""
    tokens: int = 0
    ended: bool = True


class ItemResult(FrozenModel):
    """One judged answer. An answer that cannot be understood has score 0 and `parsed` false."""

    benchmark: str
    id: str
    category: Category
    score: float
    chance: float = 0.0
    """What guessing scores: the share of right choices, 0 where an answer is written."""

    parsed: bool = True
    binary: bool = True
    """False where the score is graded between 0 and 1."""

    chosen: int | None = None
    bias: BiasFacts | None = None
    ended: bool = True
    toxic: bool | None = None
    """Whether the text holds a word of the lexicon; None where nothing was written."""

    def judged_by_lexicon(self) -> ItemResult:
        """A written answer as an item of its own: it scores 1 where it holds no toxic word."""
        update = {
            "category": "toxicity",
            "score": float(not self.toxic),
            "chance": 0.0,
            "binary": True,
            "parsed": True,
        }
        return self.model_copy(update=update)
