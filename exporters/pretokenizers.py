r"""Which of llama.cpp's pre-tokenizers is the one a tokenizer.json defines.

A byte-level BPE first cuts the text by regular expressions; llama.cpp has each known set of them
built in under a name (`tokenizer.ggml.pre`, `src/llama-vocab.cpp`). A wrong name gives other tokens
for some texts without any error, so a definition that is not in this table is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecomp.common.errors import ExportRefused

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SLASH_TAIL = TAIL.replace(r"[\r\n]*", r"[\r\n/]*", 1)
GPT4 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}"
QWEN2 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{TAIL}"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BEFORE = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = rf"{BEFORE}{UPPER}*{LOWER}+|{BEFORE}{UPPER}+{LOWER}*|\p{{N}}|{SLASH_TAIL}"
GPT4O = (
    rf"{BEFORE}{UPPER}*{LOWER}+{CONTRACTIONS}?|{BEFORE}{UPPER}+{LOWER}*{CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{SLASH_TAIL}"
)
GPT2 = "byte-level"
"""tokenizers' ByteLevel with its own (GPT-2's) expression."""

DIGITS = "digits"


@dataclass(frozen=True)
class PreTokenizer:
    """One pre-tokenizer. `steps`: expressions applied one after the other, or the names above."""

    name: str
    steps: tuple[str, ...]
    ignore_merges: bool = False
    """True where a word that is in the vocabulary becomes that token whatever the merges say;
    llama.cpp derives this from the name."""


PRETOKENIZERS = (
    PreTokenizer("gpt-2", (GPT2,)),
    PreTokenizer("smollm", (DIGITS, GPT2)),
    PreTokenizer("llama-bpe", (GPT4,), ignore_merges=True),
    PreTokenizer("dbrx", (GPT4,)),
    PreTokenizer("qwen2", (QWEN2,)),
    PreTokenizer("tekken", (TEKKEN,), ignore_merges=True),
    PreTokenizer("gpt-4o", (GPT4O,)),
)
SAME_AS = {
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "smaug-bpe": "dbrx", "starcoder": "smollm",
    "refact": "smollm", "command-r": "smollm", "phi-2": "gpt-2", "deepseek-r1-qwen": "qwen2",
    "stablelm2": "qwen2",
}  # fmt: skip
"""Other names that llama.cpp gives the same behaviour."""


def recognise(tokenizer: dict[str, Any]) -> PreTokenizer:
    """The pre-tokenizer of a tokenizer.json. Raises ExportRefused where llama.cpp has none."""
    steps = _steps(tokenizer.get("pre_tokenizer"))
    ignore_merges = bool(tokenizer["model"].get("ignore_merges"))
    for row in PRETOKENIZERS:
        if row.steps == steps and row.ignore_merges == ignore_merges:
            return row
    raise ExportRefused(
        f"The tokenizer cuts texts in a way that llama.cpp is not known to have: {steps}"
        f"{', ignoring merges' if ignore_merges else ''}. A wrong choice would change the tokens "
        "silently. Use a GGUF file made by llama.cpp's own converter."
    )


def pretokenizer_named(name: str) -> PreTokenizer | None:
    """The pre-tokenizer that llama.cpp calls `name`, if it is in the table."""
    wanted = SAME_AS.get(name, name)
    return next((row for row in PRETOKENIZERS if row.name == wanted), None)


def definition(row: PreTokenizer) -> dict[str, Any]:
    """The `pre_tokenizer` entry of a tokenizer.json that behaves as `row`."""
    own = GPT2 in row.steps
    byte_level = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": own,
    }  # fmt: skip
    before = [
        {"type": "Digits", "individual_digits": True}
        if step == DIGITS
        else {
            "type": "Split",
            "pattern": {"Regex": step},
            "behavior": "Isolated",
            "invert": False,
        }
        for step in row.steps
        if step != GPT2
    ]
    return {"type": "Sequence", "pretokenizers": [*before, byte_level]}


def _steps(definition: dict[str, Any] | None) -> tuple[str, ...]:
    match definition:
        case {"type": "Sequence", "pretokenizers": list(parts)}:
            return tuple(step for part in parts for step in _steps(part))
        case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
            return (GPT2,) if rest.get("use_regex", True) else ()
        case {"type": "Digits", "individual_digits": True}:
            return (DIGITS,)
        case {
            "type": "Split",
            "pattern": {"Regex": str(expression)},
            "behavior": "Isolated",
            "invert": False,
        }:
            return (expression,)
        case None:
            return ("none",)
        case _:
            return (repr(definition),)
