"""JSON out of a file that may hold anything, parsed or refused in one way."""

from __future__ import annotations

import json
import re
from typing import Any

HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


def parsed_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, is nested more deeply than
    Python can follow, or holds half of a character, which could not be written again."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if HALF_CHARACTER.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("it holds half of a character") from error
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
    return value
