"""Choices a user names: the capability that counts first (R25), who rounds, who mixes types, the KV
cache's type.

They stand apart so that the command line need load nothing else.
"""

from __future__ import annotations

from typing import Literal

Task = Literal["general", "knowledge", "reasoning", "multilingual", "instruction", "code", "safety"]
TASKS: tuple[Task, ...] = (
    "general", "knowledge", "reasoning", "multilingual", "instruction", "code", "safety",
)  # fmt: skip

REQUIRED_BENCHMARKS: dict[Task, tuple[str, ...]] = {
    "general": ("mmlu", "gsm8k", "ifeval"),
    "knowledge": ("mmlu", "gsm8k"),
    "reasoning": ("gsm8k", "mmlu"),
    "multilingual": ("mgsm", "xcopa", "gsm8k", "mmlu"),
    "instruction": ("ifeval", "gsm8k", "mmlu"),
    "code": ("humaneval", "gsm8k", "mmlu"),
    "safety": ("truthfulqa-mc1", "bbq", "xstest-unsafe", "xstest-safe", "gsm8k", "mmlu"),
}
"""Without these a verdict for the task is incomplete (R26, R44, R65, R69): reasoning stands beside
knowledge in every row (R96)."""

Rounding = Literal["llama.cpp", "rtn", "gptq", "awq", "awq+gptq"]
"""Who chooses the codes of the matrices inside the blocks; the rest is always llama.cpp's."""

SOLVING: tuple[Rounding, ...] = ("gptq", "awq", "awq+gptq")
"""Roundings that look at more of a matrix's inputs than how strong each is."""

Mix = Literal["same-size", "optimal", "attention-8-ffn-4"]
"""Who gives each matrix its type: the best choice in a file as large as the format's own, loss
weighed against speed; the least expected loss in all that the limits allow; or a fixed rule for
those inside the blocks."""

Effort = Literal["quick", "default", "best"]
"""How long codes may be chosen, and what is made improved after that (recipes/tuning.py)."""

MEASURED_MIXES: tuple[Mix, ...] = ("same-size", "optimal")
MixChoice = Literal[Mix, "none"]
"""`none`: every matrix gets its format's own type."""

KvType = Literal["F16", "Q8_0", "Q8_0/Q4_0", "Q4_0", "auto"]
KV_TYPES: tuple[KvType, ...] = ("F16", "Q8_0", "Q8_0/Q4_0", "Q4_0", "auto")
"""Types in which a runtime keeps keys and values: both alike, or keys/values; `auto`: the plan
weighs them."""


SourceName = Literal[
    "math", "general_reasoning", "text", "instructions", "multilingual", "code", "knowledge",
    "safety",
]  # fmt: skip
