"""Chat templates render as transformers renders them, and can do nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.errors import ChatTemplateBroken, FileCorrupt
from edgecomp.exporters.gguf import export
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.models.reading import read_model

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Größe <b>& so</b>?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Why?"},
]

CHATML = (
    "{% for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
BRANCHING = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if loop.index0 > 2 %}{% break %}{% endif %}"
    "{% if message['role'] == 'system' %}{% continue %}{% endif %}"
    "[{{ message['role'] | upper }}] {{ message | tojson }} {{ message.content | trim }}"
    "{{ eos_token if message.role == 'assistant' }}{% endfor %}"
)


MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
)
"""Assistant turns marked for training, as in SmolLM3's and Phi-4-reasoning's templates (P10)."""


@pytest.mark.parametrize("source", [CHATML, BRANCHING, MARKED])
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_the_text_equals_that_of_transformers(source: str, add_generation_prompt: bool) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    theirs, _ = render_jinja_template(
        [TURNS],
        chat_template=source,
        add_generation_prompt=add_generation_prompt,
        bos_token="<s>",
        eos_token="</s>",
    )
    ours = ChatTemplate(source=source, bos="<s>", eos="</s>").render(
        TURNS, add_generation_prompt=add_generation_prompt
    )
    assert ours == theirs[0]


def test_a_model_without_a_template_gets_the_contents() -> None:
    assert ChatTemplate(source=None).render(TURNS[:2]) == "Be brief.\n\nGröße <b>& so</b>?\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% if %}", "line 1"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content + 1 }}", "concatenate"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
        ("{{ messages[0].content.join(1) }}", "TypeError"),
        ("{{ range(10 ** 9) }}", "OverflowError"),
        ("{{ 'x' * 10 ** 10 }}", "MemoryError"),
        ("{{ messages[0].content * 2 * 10 ** 6 }}", "writes 18,000,000 characters"),
    ],
)
def test_a_broken_template_says_what_is_wrong(source: str, said: str) -> None:  # A15
    with pytest.raises(ChatTemplateBroken, match=said):
        ChatTemplate(source=source).render(TURNS)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({'role': 'user'}) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ],
)
def test_a_template_reaches_nothing_outside_its_sandbox(source: str) -> None:
    with pytest.raises(ChatTemplateBroken):
        ChatTemplate(source=source).render(TURNS)


def test_the_date_does_not_move_between_runs() -> None:
    template = ChatTemplate(source="{{ strftime_now('%d %b %Y') }}")
    assert template.render(TURNS) == "01 Jan 2026"


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source", [ENDLESS, "{{ (9 ** (9 ** 8)) % 7 }}"], ids=["in a loop", "in one product"]
)
def test_a_template_that_does_not_end_is_ended(  # A15
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecomp.models.chat_template.RENDER_SECONDS", 0.2)
    for _ in range(2):
        with pytest.raises(ChatTemplateBroken, match="too long"):
            ChatTemplate(source=source).render(TURNS)
    # The next template is rendered all the same.
    assert ChatTemplate(source="{{ 1 + 1 }}").render(TURNS) == "2"


def test_memory_of_many_small_pieces_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:  # A15
    monkeypatch.setattr("edgecomp.models.chat_template.RENDER_SECONDS", 20.0)
    grown = (
        "{% set n = namespace(text='x') %}{% for i in range(60) %}"
        "{% set n.text = n.text ~ n.text %}{% endfor %}{{ n.text }}"
    )
    with pytest.raises(ChatTemplateBroken, match="MemoryError"):
        ChatTemplate(source=grown).render(TURNS)


def test_a_folder_gives_its_template_and_special_tokens(tmp_path: Path) -> None:
    settings = {
        "chat_template": [
            {"name": "tool_use", "template": "no"},
            {"name": "default", "template": CHATML},
        ],
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_chat_template(tmp_path) == ChatTemplate(source=CHATML, bos="<s>", eos="</s>")
    (tmp_path / "chat_template.jinja").write_text("own file", encoding="utf-8-sig")
    assert read_chat_template(tmp_path).source == "own file"


Files = dict[str, object]
PLACES: list[tuple[Files, str | None]] = [
    ({"chat_template.jinja": "new", "tokenizer_config.json": {"chat_template": "old"}}, "new"),
    ({"chat_template.jinja": "new", "tokenizer_config.json": {"chat_template": None}}, "new"),
    ({"chat_template.jinja": "new"}, "new"),
    ({"chat_template.json": {"chat_template": "of pictures"}}, "of pictures"),
    (
        {
            "chat_template.json": {"chat_template": "of pictures"},
            "tokenizer_config.json": {"chat_template": "own"},
        },
        "own",
    ),
    ({"tokenizer_config.json": {"chat_template": {"default": "a", "tool_use": "b"}}}, "a"),
    ({"tokenizer_config.json": {"chat_template": [{"name": "rag", "template": "b"}]}}, None),
    ({}, None),
]


@pytest.mark.parametrize(("files", "right"), PLACES)
def test_inspect_calibration_and_gguf_take_one_template(  # P2
    files: Files, right: str | None, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "m"
    shutil.copytree(tiny_model("llama"), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, held in files.items():
        own = (
            settings | held if name == "tokenizer_config.json" and isinstance(held, dict) else held
        )
        text = own if isinstance(own, str) else json.dumps(own)
        (folder / name).write_text(text)
    model = read_model(folder)
    record = export(model, tmp_path / "m.gguf")
    found = [model.chat_template, *(read_chat_template(p).source for p in (folder, record.path))]
    assert found == [right] * 3 and read_model(record.path).chat_template == right
    theirs = AutoTokenizer.from_pretrained(folder).chat_template
    if isinstance(theirs, dict):
        theirs = theirs.get("default")
    assert "chat_template.json" in files or theirs == right


@pytest.mark.parametrize("held", [["x"], 7, {"default": 7}, [{"name": "default", "template": 1}]])
def test_a_template_that_is_no_text_is_refused_by_its_file(tmp_path: Path, held: object) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": held}))
    with pytest.raises(FileCorrupt, match=r"tokenizer_config\.json"):  # P2
        read_chat_template(tmp_path)


@pytest.mark.demo
def test_the_demo_model_brings_its_template(demo_gguf: Path) -> None:
    template = read_chat_template(demo_gguf)
    assert (template.bos, template.eos) == ("<|im_start|>", "<|im_end|>")
    text = template.render([{"role": "user", "content": "Hello"}])
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
