"""Entries of tokenizer.json that are read here, of the types that the code which reads them takes.

Written after the structs that the tokenizers library serialises; what it does not name may hold
anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from edgecomp.common.errors import FileCorrupt, shown

Id = Annotated[int, Field(strict=True, ge=0, lt=2**32)]


class Added(BaseModel):
    id: Id
    content: str
    special: bool | None = None
    rstrip: bool | None = None


class Bpe(BaseModel):
    type: Literal["BPE"]
    vocab: Annotated[dict[str, Id], Field(min_length=1)]
    merges: list[str | tuple[str, str]]
    unk_token: str | None = None
    byte_fallback: bool | None = None


class VocabularyOfIds(BaseModel):
    """WordPiece, WordLevel, and files from before kinds had names: an id for each text."""

    type: Literal["WordPiece", "WordLevel"] | None = None
    vocab: Annotated[dict[str, Id], Field(min_length=1)]


class VocabularyOfPieces(BaseModel):
    """Unigram: a text and its score, the id is its place."""

    type: Literal["Unigram"]
    vocab: Annotated[list[tuple[str, float]], Field(min_length=1)]


class Ids(BaseModel):
    ids: list[Id]


class Named(BaseModel):
    id: str


class TemplatePart(BaseModel):
    special: Named | None = Field(None, alias="SpecialToken")
    sequence: Named | None = Field(None, alias="Sequence")


class Step(BaseModel):
    """A normalizer, a pre-tokenizer or a post-processor, or several in order."""

    type: str
    normalizers: list[Step] | None = None
    pretokenizers: list[Step] | None = None
    processors: list[Step] | None = None
    single: list[TemplatePart] | None = None
    special_tokens: dict[str, Ids] | None = None


class TokenizerEntries(BaseModel):
    added_tokens: list[Added] = []
    model: Annotated[Bpe | VocabularyOfIds | VocabularyOfPieces, Field(union_mode="left_to_right")]
    normalizer: Step | None = None
    pre_tokenizer: Step | None = None
    post_processor: Step | None = None


def check_tokenizer(definition: dict[str, Any], path: Path) -> None:
    """Raise FileCorrupt naming an entry of the tokenizer.json at `path` that is of another type, or
    a token that its template names and does not describe."""
    try:
        entries = TokenizerEntries.model_validate(definition)
    except ValidationError as error:
        fault = min(error.errors(), key=lambda fault: len(fault["loc"]))
        name = shown(".".join(str(part) for part in fault["loc"]))
        raise FileCorrupt(path, f"its {name} is {shown(fault['input'])}.") from error
    if entries.post_processor:
        _check_template(entries.post_processor, path)


def _check_template(step: Step, path: Path) -> None:
    for part in step.processors or ():
        _check_template(part, path)
    known = step.special_tokens or {}
    for place in step.single or ():
        if place.special and place.special.id not in known:
            fault = f"its template puts {shown(place.special.id)}, which special_tokens lacks."
            raise FileCorrupt(path, fault)
        if place.special is None and place.sequence is None:
            raise FileCorrupt(path, "its template has a part that is neither token nor text.")
