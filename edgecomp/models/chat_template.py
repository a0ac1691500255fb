"""Lay out the turns of a conversation as a model's chat template asks.

Templates are Jinja programs that come with a model. They are rendered in a worker process
(template_worker.py), which is started once and answers for every conversation of a run.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.common.errors import ChatTemplateBroken, ChildDied
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.huggingface.template_file import folder_template
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.processes.child import Child

WORKER = "edgecomp.models.template_worker"

RENDER_SECONDS = 5.0
"""Processor time of one rendering; a real template takes milliseconds."""

Turn = Mapping[str, str]


class ChatTemplate(FrozenModel):
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
        return _renderer.text(
            source=self.source,
            messages=[dict(message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            special={"bos": self.bos, "eos": self.eos},
            processor_seconds=RENDER_SECONDS,
        )


class _Renderer:
    """The worker of this process, started at the first rendering."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._refused: set[str] = set()

    def text(self, source: str, **settings: Any) -> str:
        """A rendered conversation. Raises ChatTemplateBroken."""
        with self._lock:
            if source not in self._refused:
                self._child = self._child or Child(WORKER)
                try:
                    return str(self._child.call("render", source=source, **settings))
                except ChildDied:
                    # Each further conversation would take as long again.
                    self._refused.add(source)
                    self._end()
                except ChatTemplateBroken:
                    raise
                except BaseException:
                    self._end()  # One that was interrupted may still be at work.
                    raise
        raise ChatTemplateBroken("it runs for too long, or brings down the process that renders it")

    def end(self) -> None:
        """End the worker, if it runs."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child:
            child.close()


_renderer = _Renderer()
atexit.register(_renderer.end)


def read_chat_template(model: Path) -> ChatTemplate:
    """The template of the GGUF file or Hugging Face folder at `model`."""
    return _from_folder(model) if model.is_dir() else _from_gguf(model)


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
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}

    def token(key: str) -> str:
        value = settings.get(f"{key}_token") or ""
        return str(value.get("content", "") if isinstance(value, dict) else value)

    return ChatTemplate(source=folder_template(folder), bos=token("bos"), eos=token("eos"))
