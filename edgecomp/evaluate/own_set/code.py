"""Code: what a small Python function returns, and which line completes one.

The expected results are computed by running the templates themselves, which are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from edgecomp.evaluate.items import Item
from edgecomp.evaluate.own_set.choice import choice_item

PREDICTIONS: tuple[tuple[str, str], ...] = (
    ("def f(values):\n    return values[{a}:{b}]", "f([4, 8, 15, 16, 23, 42])"),
    (
        "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total",
        "f({c})",
    ),
    ("def f(n):\n    return n // {b} + n % {b}", "f({d})"),
    ("def f(text):\n    return text[::-1].upper()", "f('{w}')"),
    ("def f(text):\n    return text.replace('{l}', '')", "f('{w}')"),
    ("def f(values):\n    return sorted(values)[-{a}]", "f([{c}, {d}, {b}, {e}])"),
    ("def f(values):\n    return [v * {a} for v in values if v > {b}]", "f([{c}, 2, {e}, 1])"),
    ("def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)", "f({c})"),
    ("def f(text):\n    return len(text) * {a}", "f('{w}')"),
    ("def f(text):\n    return {{c: text.count(c) for c in text[:{a}]}}", "f('{w}')"),
    ("def f(n):\n    while n > {b}:\n        n -= {a} + 1\n    return n", "f({d})"),
)

WORDS = ("lantern", "planet", "cabbage", "harbour", "silence", "orchard")

COMPLETIONS = """
return the sum of a list of numbers | total(values) | return sum(values) | return max(values) | return len(values)
return the largest number of a list | largest(values) | return max(values) | return min(values) | return sum(values)
return the number of elements | count(values) | return len(values) | return sum(values) | return values[0]
return True where n is even | is_even(n) | return n % 2 == 0 | return n % 2 == 1 | return n / 2 == 0
return True where n is odd | is_odd(n) | return n % 2 == 1 | return n % 2 == 0 | return n // 2 == 1
return the last element of a list | last(values) | return values[-1] | return values[0] | return values[1]
return the first element of a list | first(values) | return values[0] | return values[-1] | return values[1]
return the text backwards | backwards(text) | return text[::-1] | return text[1:] | return text[:-1]
return the text in upper case | shout(text) | return text.upper() | return text.lower() | return text.title()
return the square of n | square(n) | return n * n | return n + n | return n / n
return the cube of n | cube(n) | return n ** 3 | return 3 * n | return n ** 2
return the mean of a list | mean(values) | return sum(values) / len(values) | return sum(values) * len(values) | return len(values) / sum(values)
return the words of a text as a list | words(text) | return text.split() | return text.strip() | return list(text)
return the words joined by spaces | join(words) | return ' '.join(words) | return words.join(' ') | return ''.join(words)
return the unique elements as a set | unique(values) | return set(values) | return list(values) | return tuple(values)
return the values sorted in descending order | descending(values) | return sorted(values, reverse=True) | return sorted(values) | return reversed(values)
return the absolute difference of a and b | distance(a, b) | return abs(a - b) | return abs(a + b) | return a - b
return n factorial, recursively | factorial(n) | return 1 if n == 0 else n * factorial(n - 1) | return 0 if n == 0 else n * factorial(n - 1) | return 1 if n == 0 else n + factorial(n - 1)
return True where the text reads the same backwards | is_palindrome(text) | return text == text[::-1] | return text == text[1:] | return text != text[::-1]
return the number of vowels in a text | vowels(text) | return sum(c in 'aeiou' for c in text) | return sum(c not in 'aeiou' for c in text) | return len('aeiou')
return the keys of a dictionary as a list | keys(table) | return list(table.keys()) | return list(table.values()) | return list(table.items())
return the smaller of a and b | smaller(a, b) | return a if a < b else b | return a if a > b else b | return b if a < b else a
return True where all elements are positive | all_positive(values) | return all(v > 0 for v in values) | return any(v > 0 for v in values) | return all(v < 0 for v in values)
return True where any element is negative | any_negative(values) | return any(v < 0 for v in values) | return all(v < 0 for v in values) | return any(v > 0 for v in values)
return the list without its first element | rest(values) | return values[1:] | return values[:-1] | return values[:1]
return the hypotenuse of a right triangle | hypotenuse(a, b) | return (a * a + b * b) ** 0.5 | return (a * a + b * b) ** 2 | return (a + b) ** 0.5
return the text without spaces at both ends | trim(text) | return text.strip() | return text.split() | return text.lower()
return the number of times x occurs in a list | occurrences(values, x) | return values.count(x) | return values.index(x) | return len(values)
return a dictionary from keys and values | table(keys, values) | return dict(zip(keys, values)) | return list(zip(keys, values)) | return dict(keys, values)
return the degrees Fahrenheit of a Celsius value | fahrenheit(c) | return c * 9 / 5 + 32 | return (c - 32) * 5 / 9 | return c * 5 / 9 + 32
""".strip()  # noqa: E501


def items(random: Random) -> list[Item]:
    """Six calls of each function whose result is asked, and the completions."""
    made: list[Item] = []
    for number, (source, call) in enumerate(PREDICTIONS):
        for variant in range(6):
            made.append(_prediction(random, f"output-{number}-{variant}", source, call))
    return made + list(_completions(random))


def _prediction(random: Random, identity: str, source: str, call: str) -> Item:
    def drawn() -> tuple[str, str]:
        word = random.choice(WORDS)
        numbers = {
            "a": random.randint(1, 3),
            "b": random.randint(4, 6),
            "c": random.randint(7, 12),
            "d": random.randint(20, 60),
            "e": random.randint(13, 19),
        }
        filled = {**numbers, "w": word, "l": random.choice(word)}
        return source.format(**filled), call.format(**filled)

    function, asked = drawn()
    right = _result(function, asked)
    wrong: list[str] = []
    while len(wrong) < 3:
        other = _result(*drawn())
        if other not in (right, *wrong):
            wrong.append(other)
    prompt = f"{function}\n\n>>> {asked}\n"
    return choice_item(random, "code", identity, prompt, (right, *wrong), "per-byte")


def _result(function: str, call: str) -> str:
    """What our own template returns, as Python's prompt shows it."""
    names: dict[str, Any] = {}
    exec(function, names)
    return repr(eval(call, names))


def _completions(random: Random) -> Iterator[Item]:
    for line in COMPLETIONS.splitlines():
        purpose, signature, right, *wrong = line.split(" | ")
        prompt = f'def {signature}:\n    """{purpose[0].upper()}{purpose[1:]}."""\n'
        indented = [f"    {text}" for text in wrong]
        yield choice_item(
            random, "code", signature, prompt, (f"    {right}", *indented), "per-byte"
        )
