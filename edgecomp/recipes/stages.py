"""What is done to the float weights before they are rounded: pruned, made smaller, distilled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.recipes.distillation import Distillation, check_share
from edgecomp.recipes.smaller_model import Sizes, kept_of, smaller_model
from edgecomp.recipes.sparsity import parse_sparsity


class PruneStage(FrozenModel):
    """Weights inside the blocks set to zero: a share (`50%`) or a pattern (`2:4`)."""

    kind: Literal["prune"] = "prune"
    method: Literal["sparsegpt", "wanda", "magnitude"]
    sparsity: str = "50%"

    @field_validator("sparsity", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """YAML takes 2:4 without quotes for a number to the base 60, and 0.5 for one to 10."""
        if isinstance(value, int) and value >= 60:
            return "{}:{}".format(*divmod(value, 60))
        return str(value) if isinstance(value, int | float) else value

    @field_validator("sparsity")
    @classmethod
    def _is_one(cls, text: str) -> str:
        try:
            parse_sparsity(text)
        except CompressionSettingsInvalid as error:
            raise ValueError(str(error)) from error
        return text

    @property
    def title(self) -> str:
        return f"Pruning {self.sparsity} by {self.method}"


class StructuredStage(FrozenModel):
    """Whole parts taken out, those that contribute least on the calibration: what is kept of each,
    as a share (`50%`) or a count (`12`); None keeps all."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    kind: Literal["structured"] = "structured"
    blocks: str | None = None
    neurons: str | None = None
    """FFN neurons of each block."""

    kv_groups: str | None = None
    """KV heads of each block, each with the query heads that share it."""

    channels: str | None = None
    """Channels of the embedding."""

    @property
    def title(self) -> str:
        kept = [
            f"{text} of the {what}"
            for text, what in (
                (self.blocks, "blocks"),
                (self.neurons, "FFN neurons"),
                (self.kv_groups, "KV heads"),
                (self.channels, "channels"),
            )
            if text
        ]
        return f"Keeping {', '.join(kept) or 'everything'}"

    def sizes(self, model: ModelSpec) -> Sizes:
        """The counts that are kept of `model`. Raises CompressionSettingsInvalid."""

        def kept(text: str | None, total: int, what: str, *, multiples: bool) -> int | None:
            return kept_of(text, total, what, whole_multiples=multiples) if text else None

        return Sizes(
            blocks=kept(self.blocks, model.layers, "blocks", multiples=False),
            neurons=kept(self.neurons, model.feed_forward_length, "FFN neurons", multiples=True),
            kv_groups=kept(self.kv_groups, model.kv_heads, "KV heads", multiples=False),
            channels=kept(self.channels, model.embedding_length, "channels", multiples=True),
        )


class DistillStage(Distillation):
    """What the stages before made, or a smaller checkpoint, learns from the float source."""

    kind: Literal["distill"] = "distill"
    student: str | None = None
    """A Hugging Face folder with the source's tokenizer; None: what the stages before made."""

    tokens: int = Field(default=131_072, gt=0)
    """Most tokens of training text; the calibration's sources in its proportions, none twice."""

    top_k: int = Field(default=64, gt=0)
    temperature: float = Field(default=1.0, gt=0)

    @property
    def title(self) -> str:
        budget = f"{self.steps} steps" if self.steps else f"{self.minutes:g} minutes"
        return f"Distilling for {budget}"


def _kind(value: Any) -> str:
    """Recipes written before there were other kinds do not name theirs."""
    return str(value.get("kind", "prune") if isinstance(value, dict) else value.kind)


Stage = Annotated[
    Annotated[PruneStage, Tag("prune")]
    | Annotated[StructuredStage, Tag("structured")]
    | Annotated[DistillStage, Tag("distill")],
    Discriminator(_kind),
]


def parse_distillation(text: str) -> DistillStage:
    """A distillation with a budget such as `10min`, `2h` or `500steps`. Raises
    CompressionSettingsInvalid."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|min|h)\s*", text)
    if found is None or float(found[1]) <= 0 or (found[2][0] == "s" and "." in found[1]):
        raise CompressionSettingsInvalid(
            f"{text!r} is no budget of a distillation. Write minutes, hours or steps: 10min, 2h, "
            "500steps."
        )
    if found[2].startswith("step"):
        return DistillStage(steps=int(found[1]))
    return DistillStage(minutes=float(found[1]) * (60 if found[2] == "h" else 1))


def shrinking_stages(
    depth: str | None, width: str | None, distillation: str | None, student: str | None
) -> list[Stage]:
    """The stages that the command line's options ask for: blocks kept, FFN neurons kept, and a
    distillation's budget. Raises CompressionSettingsInvalid."""
    stages: list[Stage] = []
    if depth or width:
        stages.append(StructuredStage(blocks=depth, neurons=width))
    if student and not distillation:
        raise CompressionSettingsInvalid(
            "A student learns for some time: say how long, such as --distill 10min."
        )
    if distillation:
        stages.append(parse_distillation(distillation).model_copy(update={"student": student}))
    return stages


def staged_model(model: ModelSpec, stages: Sequence[Stage]) -> ModelSpec:
    """The headers of what `stages` make of `model`: its planned sizes, before any work.

    Raises CompressionSettingsInvalid where the stages make no sense for this model: sizes it has
    not, a student of another size, vocabulary or family than distillation needs, or of experts.
    """
    made = model
    for number, stage in enumerate(stages):
        if isinstance(stage, StructuredStage):
            made = smaller_model(made, stage.sizes(made))
        elif isinstance(stage, DistillStage):
            _refuse_experts(model)
            if stage.student:
                made = _given_student(model, stage.student, first=number == 0)
            if made.parameters != model.parameters:
                check_share(model, made)
            elif not any(isinstance(earlier, PruneStage) for earlier in stages[:number]):
                raise CompressionSettingsInvalid(
                    "There is nothing to distil: the student would be its own teacher. Make it "
                    "smaller first (--depth 50%), prune it, or name a student."
                )
    return made


def _refuse_experts(model: ModelSpec) -> None:
    if model.experts:
        raise CompressionSettingsInvalid(
            f"{model.name} is a mixture of {model.experts} experts, which is not distilled here: "
            "training would hold all of them, with their optimizer, for the few that a token uses. "
            "Leave the distillation out: rounding and pruning work expert by expert."
        )


def _given_student(teacher: ModelSpec, path: str, *, first: bool) -> ModelSpec:
    if not first:
        raise CompressionSettingsInvalid(
            f"The student {path} would take the place of what the stages before it made. Leave "
            "those out, or the student."
        )
    student = read_model(Path(path))
    if student.source != "huggingface":
        raise CompressionSettingsInvalid(
            f"The student {path} is no checkpoint that can be trained. Give a Hugging Face folder."
        )
    if student.architecture != teacher.architecture:
        raise CompressionSettingsInvalid(
            f"The student {path} is a {student.architecture} and its teacher a "
            f"{teacher.architecture}: give a student of the same family."
        )
    return student
