"""Have an artifact answer items in its own runtime, and judge the answers.

Answers are kept in a file, those of one kind of question at a time: a run that was cut short asks
only what is still open, another comparison with the same model asks only what is new, and a changed
rule judges kept answers again without the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import ChatTemplateBroken, FileCorrupt
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.grade import code_not_allowed, grade, settled_by
from edgecomp.evaluate.items import (
    Answer,
    ChoiceItem,
    CodeCheck,
    GenerationItem,
    Item,
    ItemResult,
    Message,
    Prompt,
)
from edgecomp.models.chat_template import ChatTemplate

LARGEST_REQUEST = 512


def evaluate(
    model: AskedModel,
    items: Sequence[Item],
    *,
    answers_path: Path | None = None,
    allow_code: bool = False,
    progress: Progress = ignore_progress,
) -> tuple[ItemResult, ...]:
    """The results of `items`, in their order; progress counts items.

    `answers_path` keeps the answers of this artifact under these settings, and no other's: items
    answered there are not asked again. Several processes may keep theirs in one file. Raises
    CodeNotAllowed before any work where an item runs code and `allow_code` is not given;
    ChatTemplateBroken; what the runtime raises.
    """
    if not allow_code:
        _require_no_code(items)
    answers = read_answers(answers_path) if answers_path else {}
    open_items = [item for item in items if item.fingerprint not in answers]
    done = len(items) - len(open_items)
    for group in _requests(open_items):

        def report(part: float, _: float, done: int = done) -> None:
            progress(done + part, len(items))

        found = {answer.item: answer for answer in _ask(model, group, report)}
        answers.update(found)
        done += len(group)
        if answers_path:
            _keep(answers_path, found)
    progress(len(items), len(items))
    return tuple(grade(item, answers[item.fingerprint], allow_code=allow_code) for item in items)


def read_answers(path: Path) -> dict[str, Answer]:
    """The kept answers by their item's fingerprint, none where there is no file yet. Raises
    FileCorrupt."""
    answers: dict[str, Answer] = {}
    if not path.exists():
        return answers
    # Of bytes: a text's own line separators, such as U+2028, are no ends of lines.
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            answer = Answer.model_validate_json(line)
        except ValidationError as error:
            raise FileCorrupt(
                path, f"line {number} is not an answer.", "Remove it: the answers are asked again."
            ) from error
        answers[answer.item] = answer
    return answers


def render(prompt: Prompt, template: ChatTemplate) -> str:
    """The text of `prompt`. Where a template knows no system turn, the first user turn takes it."""
    if isinstance(prompt, str):
        return prompt
    try:
        return template.render([message.model_dump() for message in prompt])
    except ChatTemplateBroken:
        if prompt[0].role != "system" or len(prompt) < 2:
            raise
        first = f"{prompt[0].content}\n\n{prompt[1].content}"
        merged = (Message(role=prompt[1].role, content=first), *prompt[2:])
        return template.render([message.model_dump() for message in merged])


def _ask(model: AskedModel, items: Sequence[Item], progress: Progress) -> list[Answer]:
    """Answers to items of one kind."""
    runtime, artifact, settings, template = model
    prompts = [render(item.prompt, template) for item in items]
    choices = [item.choices for item in items if isinstance(item, ChoiceItem)]
    if choices:
        questions = list(zip(prompts, choices, strict=True))
        scores = runtime.score(artifact, settings, questions, progress)
        return [
            Answer(
                item=item.fingerprint,
                loglikelihoods=tuple(score.loglikelihood for score in row),
            )
            for item, row in zip(items, scores, strict=True)
        ]
    written = [item for item in items if isinstance(item, GenerationItem)]
    limits = [item.limit for item in written]
    stops = [settled_by(item.check) for item in written]
    completions = runtime.complete(artifact, settings, prompts, limits, progress, stops=stops)
    return [
        Answer(
            item=item.fingerprint,
            text=completion.text,
            tokens=len(completion.tokens),
            ended=completion.ended,
        )
        for item, completion in zip(items, completions, strict=True)
    ]


def _requests(items: Sequence[Item]) -> list[list[Item]]:
    """The items that one request to the runtime answers each: of one kind, and not too many, since
    a request that is cut short keeps none of its answers."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.kind, []).append(item)
    return [
        group[start : start + LARGEST_REQUEST]
        for group in groups.values()
        for start in range(0, len(group), LARGEST_REQUEST)
    ]


def _keep(path: Path, found: Mapping[str, Answer]) -> None:
    """Add answers to those in a file, to which another process may just have added its own."""
    with FileLock(path.with_name(f"{path.name}.lock")):
        kept = {**read_answers(path), **found}
        write_text(path, "".join(f"{answer.model_dump_json()}\n" for answer in kept.values()))


def _require_no_code(items: Sequence[Item]) -> None:
    for item in items:
        if isinstance(item, GenerationItem) and isinstance(item.check, CodeCheck):
            raise code_not_allowed(item)
