"""Chat templates render as transformers renders them, and can do nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecomp.chat_template import ChatTemplate, read_chat_template
from edgecomp.errors import ChatTemplateBroken

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


@pytest.mark.parametrize("source", [CHATML, BRANCHING])
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
    ],
)
def test_a_broken_template_says_what_is_wrong(source: str, said: str) -> None:
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
    (tmp_path / "chat_template.jinja").write_text("own file")
    assert read_chat_template(tmp_path).source == "own file"


@pytest.mark.demo
def test_the_demo_model_brings_its_template(demo_gguf: Path) -> None:
    template = read_chat_template(demo_gguf)
    assert (template.bos, template.eos) == ("<|im_start|>", "<|im_end|>")
    text = template.render([{"role": "user", "content": "Hello"}])
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
