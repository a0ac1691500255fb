"""Where a Hugging Face folder keeps its chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.common.errors import FileCorrupt
from edgecomp.models.huggingface.weight_files import read_json

TEMPLATE_FILE, OLDER_TEMPLATE_FILE = "chat_template.jinja", "chat_template.json"


def folder_template(folder: Path) -> str | None:
    """The chat template of a Hugging Face folder, or None where it has none.

    The first of `chat_template.jinja` and tokenizer_config.json's entry, as transformers'
    tokenizers take it (`tokenization_utils_base.py`); then `chat_template.json`, which only its
    processors of pictures read. Raises FileCorrupt.
    """
    own_file = folder / TEMPLATE_FILE
    if own_file.is_file():
        try:
            return own_file.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FileCorrupt(own_file, f"it is not UTF-8 ({error}).") from error
    for name in ("tokenizer_config.json", OLDER_TEMPLATE_FILE):
        path = folder / name
        template = read_json(path).get("chat_template") if path.is_file() else None
        if template is not None:
            return _one_of(template, path)
    return None


def _one_of(template: Any, path: Path) -> str | None:
    """The text of an entry; of several named ones that for plain conversation, "default"."""
    if isinstance(template, list) and all(isinstance(row, dict) for row in template):
        template = {row.get("name"): row.get("template") for row in template}
    if isinstance(template, dict):
        template = template.get("default")
    if template is None or isinstance(template, str):
        return template
    raise FileCorrupt(path, "its chat_template is neither a text nor a list of named texts.")
