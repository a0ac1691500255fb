"""Lay out the turns of a conversation as a model's chat template asks.

Templates are Jinja programs that come with a model, so they run in Jinja's immutable sandbox: they
see the turns and a few text functions, and can change nothing. The environment is the one
transformers uses (`transformers/utils/chat_template_utils.py`), so that the text is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import LoopControlExtension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgecomp.errors import ChatTemplateBroken, FileCorrupt
from edgecomp.gguf.header import read_gguf_header
from edgecomp.value import Value

TODAY = datetime(2026, 1, 1)
"""The date a template sees; fixed, so that the same run makes the same prompts."""

Turn = Mapping[str, str]


class ChatTemplate(Value):
    """A model's template and the texts of its special tokens. Without `source` there is none."""

    source: str | None
    bos: str = ""
    eos: str = ""
    more_ends: tuple[str, ...] = ()
    """Further tokens that end an answer, as an end of turn or of message."""

    @property
    def ends(self) -> tuple[str, ...]:
        """Every text that ends an answer, once."""
        return tuple(dict.fromkeys(text for text in (self.eos, *self.more_ends) if text))

    def render(self, messages: Sequence[Turn], *, add_generation_prompt: bool = True) -> str:
        """The conversation as the text the model was trained on.

        `messages` have `role` and `content`. A model without a template gets the contents,
        a blank line between them. Raises ChatTemplateBroken.
        """
        if self.source is None:
            return "\n\n".join(message["content"] for message in messages) + "\n"
        try:
            return (
                _environment()
                .from_string(self.source)
                .render(
                    messages=[dict(message) for message in messages],
                    add_generation_prompt=add_generation_prompt,
                    bos_token=self.bos,
                    eos_token=self.eos,
                    tools=None,
                    documents=None,
                )
            )
        except jinja2.TemplateSyntaxError as error:
            raise ChatTemplateBroken(f"line {error.lineno}: {error.message}") from error
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            raise ChatTemplateBroken(str(error)) from error


def read_chat_template(model: Path) -> ChatTemplate:
    """The template of the GGUF file or Hugging Face folder at `model`."""
    return _from_folder(model) if model.is_dir() else _from_gguf(model)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = TODAY.strftime
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own tojson escapes <, > and &, which the models never saw in training.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _from_gguf(path: Path) -> ChatTemplate:
    header = read_gguf_header(path)
    tokens = header.get("tokenizer.ggml.tokens", [])
    source = header.get("tokenizer.chat_template")

    def token(key: str) -> str:
        index = header.get(f"tokenizer.ggml.{key}_token_id")
        if not isinstance(index, int) or not isinstance(tokens, list):
            return ""
        return str(tokens[index]) if 0 <= index < len(tokens) else ""

    return ChatTemplate(
        source=source if isinstance(source, str) else None,
        bos=token("bos"),
        eos=token("eos"),
        more_ends=tuple(text for text in (token("eot"), token("eom")) if text),
    )


def _from_folder(folder: Path) -> ChatTemplate:
    settings_path = folder / "tokenizer_config.json"
    try:
        settings = json.loads(settings_path.read_text("utf-8")) if settings_path.exists() else {}
    except ValueError as error:
        raise FileCorrupt(settings_path, f"it is not JSON ({error}).") from error
    own_file = folder / "chat_template.jinja"
    source = own_file.read_text("utf-8") if own_file.exists() else settings.get("chat_template")
    if isinstance(source, list):
        # Several named templates; "default" is the one for plain conversation.
        source = next((row["template"] for row in source if row.get("name") == "default"), None)

    def token(key: str) -> str:
        value = settings.get(f"{key}_token") or ""
        return str(value["content"] if isinstance(value, dict) else value)

    return ChatTemplate(source=source, bos=token("bos"), eos=token("eos"))
