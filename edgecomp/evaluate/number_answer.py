"""The final number of a worked answer, as GSM8K and MGSM are judged.

An explicit end counts first ("#### 42", "The answer is 42", a boxed number); else the last number.
Digits of any script are understood, since MGSM is answered in eleven languages.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

NUMBER = re.compile(r"[-−]?\d[\d,. \u00a0\u202f]*\d|[-−]?\d")
MARKED = re.compile(
    r"(?:####|answer is:?|answer:|\\boxed\{)[^\w−-]{0,4}([-−]?\$?\s?[-−]?\d[\d,.]*)", re.IGNORECASE
)
GROUPED = re.compile(r"[-−]?\d{1,3}(?:[, .\u00a0\u202f]\d{3})+(?!\d)")


def final_number(text: str) -> Decimal | None:
    """The number that `text` ends on, or None where it holds none."""
    plain = "".join(_ascii_digit(character) for character in text)
    marked = MARKED.findall(plain)
    candidates = marked or NUMBER.findall(plain)
    return parse_number(candidates[-1]) if candidates else None


def parse_number(text: str) -> Decimal | None:
    """`text` as a number: thousands separators go, and a comma before other than three digits is a
    decimal mark."""
    body = text.strip(" .,$\u00a0\u202f").replace("$", "").replace("−", "-").strip()
    if GROUPED.fullmatch(body) and not re.fullmatch(r"-?\d+\.\d{3}", body):
        body = re.sub(r"[, .\u00a0\u202f]", "", body)
    elif " " in body:
        body = body.split()[-1]
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+\.\d+", body):
        body = body.replace(",", "")
    elif re.fullmatch(r"-?\d{1,3}(\.\d{3})+,\d+", body):
        body = body.replace(".", "")
    body = body.replace(",", ".")
    try:
        return Decimal(body)
    except InvalidOperation:
        return None


def _ascii_digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)
