"""What pydantic found wrong in a file, in words for whoever wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic_core import ErrorDetails

MAPPING = "fields and their values are expected here"
WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "it is missing",
    "dict_type": MAPPING,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
}


def format_validation_error(fault: ErrorDetails, known: Iterable[str] = ()) -> str:
    """One fault, without a full stop; `known` are the fields that a misspelt one may be."""
    text = WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ").rstrip(".")
    if fault["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        text += f"; {nearest[0]} is one" if nearest else ""
    return text
