"""The licence that a model card states, in the YAML between its first two lines of dashes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
LINE = re.compile(r"^license:.*(?:\n(?:[ \t]+|- ).*)*", re.MULTILINE)
LONGEST_CARD_BYTES = 1_000_000


def licence_of(folder: Path) -> str | None:
    """The licence, or several with commas; None where the folder's README.md states none."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    with card.open("rb") as file:
        text = file.read(LONGEST_CARD_BYTES).decode("utf-8-sig", errors="replace")
    matter = FRONT_MATTER.match(text)
    # The entry alone is parsed: a card of thousands of lines would take seconds.
    entry = LINE.search(matter[1].replace("\r\n", "\n")) if matter else None
    if entry is None:
        return None
    try:
        stated = yaml.safe_load(entry[0])["license"]
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    named = [stated] if isinstance(stated, str) else stated if isinstance(stated, list) else []
    return ", ".join(name.strip() for name in named if isinstance(name, str)) or None
