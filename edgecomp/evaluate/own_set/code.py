"""Code: which body completes a small Python function, and what a function returns.

Nothing that a model writes is run. The expected results are computed by running our own templates.
"""

from __future__ import annotations

from random import Random
from typing import Any

from edgecomp.evaluate.items import Difficulty, Item
from edgecomp.evaluate.own_set.choice import Label, choice_item
from edgecomp.evaluate.own_set.code_completions import completions, indented

PREDICTIONS: tuple[tuple[Difficulty, str, str], ...] = (
    ("easy", "def f(text):\n    return text.upper()", "f('{w}')"),
    ("hard", "def f(values):\n    return len(values) + {e}", "f([{c}, {d}, {b}, {e}])"),
    ("easy", "def f(n):\n    return n + {a}", "f({d})"),
    ("easy", "def f(a, b):\n    return [b, a]", "f({d}, {c})"),
    ("easy", "def f(text):\n    return [text, {b}]", "f('{w}')"),
    ("easy", "def f(values):\n    return max(values)", "f([{c}, {d}, {b}, {e}])"),
    ("medium", "def f(values):\n    return values[{a}:{b}]", "f([4, 8, 15, 16, 23, 42])"),
    ("medium", "def f(text):\n    return text.replace('{l}', '')", "f('{w}')"),
    ("medium", "def f(values):\n    return sorted(values)[-{a}]", "f([{c}, {d}, {b}, {e}])"),
    (
        "medium",
        "def f(values):\n    return [v * {a} for v in values if v > {b}]",
        "f([{c}, 2, {e}, 1])",
    ),
    ("medium", "def f(text):\n    return len(text) * {a}", "f('{w}')"),
    (
        "medium",
        "def f(text):\n    return {{c: text.count(c) for c in text[:{a}]}}",
        "f('{w}')",
    ),
    ("hard", "def f(n):\n    return n // {b} + n % {b}", "f({d})"),
    ("hard", "def f(text):\n    return text[::-1].upper()", "f('{w}')"),
    (
        "hard",
        "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total",
        "f({c})",
    ),
    ("hard", "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)", "f({c})"),
    ("hard", "def f(n):\n    while n > {b}:\n        n -= {a} + 1\n    return n", "f({d})"),
    (
        "hard",
        "def f(values):\n    return [a * b for a, b in zip(values, values[1:])]",
        "f([{a}, {b}, {c}, {a}])",
    ),
    ("hard", "def f(text):\n    return text[{a}:] + text[:{a}]", "f('{w}')"),
    (
        "hard",
        "def f(n):\n    total = 0\n    while n:\n        total += n % 10\n        n //= 10\n"
        "    return total",
        "f({d}{e})",
    ),
    ("hard", "def f(n):\n    return [i for i in range(n) if i % {c} == {a}]", "f({d})"),
    (
        "hard",
        "def f(x):\n    for _ in range({a}):\n        x = 2 * x + {b}\n    return x",
        "f({c})",
    ),
    ("hard", "def f(n):\n    return divmod(n, {c})", "f({d})"),
    (
        "hard",
        "def f(values):\n    kept = []\n    for v in values:\n        kept.append(v)\n"
        "        if len(kept) > {a}:\n            kept.pop(0)\n    return kept",
        "f([{c}, {d}, {b}, {e}])",
    ),
    (
        "hard",
        "def f(n):\n    count = 0\n    for i in range(n):\n        for j in range(i):\n"
        "            if (i + j) % {a} == 0:\n                count += 1\n    return count",
        "f({c})",
    ),
    ("hard", "def f(n):\n    return bin(n).count('1') * {b}", "f({d}{e})"),
    (
        "hard",
        "def f(values):\n    values[{a}], values[0] = values[0] + {b}, values[-1]\n"
        "    return values",
        "f([{c}, {d}, {b}, {e}])",
    ),
    ("hard", "def f(text):\n    return [i for i, c in enumerate(text) if c < '{l}']", "f('{w}')"),
)
CALLS = {"easy": 6, "medium": 6, "hard": 8}
"""Calls of each of these functions that are asked, by its difficulty."""

WORDS = (
    "lantern", "planet", "cabbage", "harbour", "silence", "orchard", "marble", "thunder", "pepper",
    "journey",
)  # fmt: skip


def items(random: Random) -> list[Item]:
    """The calls whose result is asked, and the completions."""
    made: list[Item] = []
    for number, (difficulty, source, call) in enumerate(PREDICTIONS):
        seen: set[object] = set()
        while len(seen) < CALLS[difficulty]:
            label = Label("code", f"output-{number}-{len(seen)}", difficulty)
            item = _prediction(random, label, source, call)
            if item.prompt not in seen:
                seen.add(item.prompt)
                made.append(item)
    for number, completion in enumerate(completions()):
        name = completion.signature.split("(")[0]
        label = Label("code", f"{name}-{number}", completion.difficulty)
        bodies = [indented(body) for body in completion.bodies]
        made.append(choice_item(random, label, completion.prompt, bodies, "per-byte"))
    return made


def _prediction(random: Random, label: Label, source: str, call: str) -> Item:
    def filled() -> tuple[str, str]:
        word = random.choice(WORDS)
        numbers = {
            "a": random.randint(1, 3),
            "b": random.randint(4, 6),
            "c": random.randint(7, 16),
            "d": random.randint(20, 60),
            "e": random.randint(13, 19),
        }
        values = {**numbers, "w": word, "l": random.choice(word)}
        return source.format(**values), call.format(**values)

    function, asked = filled()
    right = _result(function, asked)
    wrong: list[str] = []
    while len(wrong) < 3:
        other = _result(*filled())
        if other not in (right, *wrong):
            wrong.append(other)
    return choice_item(random, label, f"{function}\n\n>>> {asked}\n", (right, *wrong), "per-byte")


def _result(function: str, call: str) -> str:
    """What our own template returns, as Python's prompt shows it."""
    names: dict[str, Any] = {}
    exec(function, names)
    return repr(eval(call, names))
