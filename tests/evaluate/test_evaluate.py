"""Asking a runtime: prompts, order, resumption."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import ChildDied, CodeNotAllowed, FileCorrupt
from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.evaluate import evaluate, read_answers, render
from edgecomp.evaluate.items import (
    Answer,
    ChoiceItem,
    CodeCheck,
    GenerationItem,
    Item,
    NumberCheck,
    ask,
)
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Runtime

from .conftest import RecordedRuntime

SETTINGS = RunSettings(context=512, threads=1)
TEMPLATE = ChatTemplate(
    source="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
)
CHOICE = ChoiceItem(
    benchmark="facts", id="1", category="knowledge", prompt="Up or", choices=(" down", " up"),
    answer=0,
)  # fmt: skip
WRITTEN = GenerationItem(
    benchmark="sums",
    id="1",
    category="reasoning",
    prompt=ask("1 + 1?", system="Be brief."),
    limit=5,
    check=NumberCheck(answer="2"),
)
ITEMS: tuple[Item, ...] = (WRITTEN, CHOICE)


def asked(runtime: Runtime) -> AskedModel:
    return AskedModel(runtime, Path("a"), SETTINGS, TEMPLATE)


@pytest.fixture
def answering(recorded: RecordedRuntime) -> RecordedRuntime:
    recorded.scores["Up or"] = [-1.0, -3.0]
    recorded.texts["<system>Be brief.<user>1 + 1?<assistant>"] = "It is 2"
    return recorded


def test_results_come_in_the_order_of_the_items(answering: RecordedRuntime) -> None:
    steps: list[tuple[float, float]] = []
    results = evaluate(asked(answering), ITEMS, progress=lambda *at: steps.append(at))
    assert [(result.benchmark, result.score) for result in results] == [("sums", 1.0), ("facts", 1)]
    assert answering.limits == [5]
    assert steps[-1] == (2, 2) and steps == sorted(steps)


def test_a_run_cut_short_asks_only_what_is_open(answering: RecordedRuntime, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    scores, answering.scores = answering.scores, {}
    with pytest.raises(ChildDied):
        evaluate(asked(answering), ITEMS, answers_path=path)
    assert len(read_answers(path)) == 1
    answering.asked.clear()
    answering.scores = scores
    results = evaluate(asked(answering), ITEMS, answers_path=path)
    assert answering.asked == ["Up or"]
    assert [result.score for result in results] == [1.0, 1.0]
    answering.asked.clear()
    assert evaluate(asked(answering), ITEMS, answers_path=path) == results
    assert answering.asked == []


def test_a_changed_item_is_asked_again(answering: RecordedRuntime, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    evaluate(asked(answering), [CHOICE], answers_path=path)
    changed = CHOICE.model_copy(update={"choices": (" down", " left")})
    changed = ChoiceItem.model_validate(changed.model_dump())
    answering.asked.clear()
    evaluate(asked(answering), [changed], answers_path=path)
    assert answering.asked == ["Up or"]


def test_an_answers_own_line_separators_do_not_end_it(tmp_path: Path) -> None:
    written = Answer(item="a", text="one\u2028two\x85three")
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{written.model_dump_json()}\n", encoding="utf-8")
    assert read_answers(path) == {"a": written}


def test_a_damaged_answers_file_is_named(tmp_path: Path, answering: RecordedRuntime) -> None:
    path = tmp_path / "answers.jsonl"
    evaluate(asked(answering), ITEMS, answers_path=path)
    path.write_text(path.read_text() + '{"item": ')
    with pytest.raises(FileCorrupt, match="line 3"):
        evaluate(asked(answering), ITEMS, answers_path=path)


def test_code_is_refused_before_anything_is_asked(answering: RecordedRuntime) -> None:
    check = CodeCheck(prompt="def f():\n", test="def check(f): pass", entry_point="f")
    item = WRITTEN.model_copy(update={"check": check})
    with pytest.raises(CodeNotAllowed):
        evaluate(asked(answering), [CHOICE, item])
    assert answering.asked == []


def test_r79_a_template_without_system_turns_gets_them_in_the_first_question() -> None:
    strict = ChatTemplate(
        source="{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    assert render(ask("1 + 1?", system="Be brief."), strict) == "Be brief.\n\n1 + 1?"


def test_an_answer_that_reached_its_limit_is_marked(answering: RecordedRuntime) -> None:
    answering.texts["<system>Be brief.<user>1 + 1?<assistant>"] = "well well well well 2"
    (result,) = evaluate(asked(answering), [WRITTEN])
    assert not result.ended
