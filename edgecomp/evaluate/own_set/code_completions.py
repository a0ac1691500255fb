"""Functions to be completed: one right body among wrong ones that parse, and fail where it passes.

Some are written (code_tables.py), some made of parts: an aggregate or a loop over values, and which
values are meant. Levels follow what a model of 135 M parameters gets right: it finds a changed line
in a loop more often than the right factor of a conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from edgecomp.evaluate.items import Difficulty
from edgecomp.evaluate.own_set.code_tables import (
    CHECKS,
    COMPLETIONS,
    DENSE_LINES,
    FUNCTIONS,
    LINES,
)

UNITS = (
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("years", "months", 12),
    ("kilometres", "metres", 1000),
    ("metres", "centimetres", 100),
    ("kilograms", "grams", 1000),
    ("euros", "cents", 100),
    ("centuries", "years", 100),
    ("decades", "years", 10),
    ("feet", "inches", 12),
    ("yards", "feet", 3),
    ("litres", "millilitres", 1000),
    ("dozens", "pieces", 12),
    ("gibibytes", "mebibytes", 1024),
    ("centimetres", "millimetres", 10),
    ("hours", "seconds", 3600),
)
LIMITS = (
    ("age", 18),
    ("temperature", 38),
    ("points", 50),
    ("speed", 120),
    ("price", 99),
    ("weight", 23),
    ("height", 140),
    ("rooms", 4),
)
RELATIONS = (("at least", ">="), ("more than", ">"), ("at most", "<="), ("less than", "<"))
SLICES = (
    ("the first {k}", "[:{k}]"),
    ("the last {k}", "[-{k}:]"),
    ("all but the first {k}", "[{k}:]"),
    ("all but the last {k}", "[:-{k}]"),
)
SAMPLES = ([3, -4, 12, 0, 9, 7, -6, 5, 8, 15], [14, -6, 3, 10, 1, -3, 7, 2, 6], [-1, 9, 4, -2])


class Predicate(NamedTuple):
    """Which values v are meant: in words, in Python, the same by us, and a confusion of it."""

    words: str
    source: str
    holds: Callable[[int], bool]
    wrong: str


PREDICATES = (
    Predicate("even", "v % 2 == 0", lambda v: v % 2 == 0, "v % 2 == 1"),
    Predicate("odd", "v % 2 == 1", lambda v: v % 2 == 1, "v % 2 == 0"),
    Predicate("positive", "v > 0", lambda v: v > 0, "v < 0"),
    Predicate("negative", "v < 0", lambda v: v < 0, "v > 0"),
    Predicate("greater than 8", "v > 8", lambda v: v > 8, "v < 8"),
    Predicate("less than 5", "v < 5", lambda v: v < 5, "v > 5"),
    Predicate("divisible by 3", "v % 3 == 0", lambda v: v % 3 == 0, "v % 3"),
    Predicate("at most 7", "v <= 7", lambda v: v <= 7, "v >= 7"),
    Predicate("between 4 and 9", "4 <= v <= 9", lambda v: 4 <= v <= 9, "v < 4 or v > 9"),
)


class Aggregate(NamedTuple):
    """What is done with the values for which P holds: in one line and by us; and wrong lines."""

    name: str
    words: str
    line: str
    result: Callable[[list[int], Callable[[int], bool]], Any]
    wrong: tuple[str, str]


AGGREGATES = (
    Aggregate(
        "total",
        "the sum of the values that are {}",
        "sum(v for v in values if P)",
        lambda values, p: sum(filter(p, values)),
        ("len([v for v in values if P])", "sum(values)"),
    ),
    Aggregate(
        "count",
        "how many of the values are {}",
        "sum(1 for v in values if P)",
        lambda values, p: len([*filter(p, values)]),
        ("sum(v for v in values if P)", "len(values)"),
    ),
    Aggregate(
        "chosen",
        "a list of the values that are {}",
        "[v for v in values if P]",
        lambda values, p: [*filter(p, values)],
        ("[P for v in values]", "sorted(values)"),
    ),
    Aggregate(
        "largest",
        "the largest of the values that are {}",
        "max(v for v in values if P)",
        lambda values, p: max(filter(p, values)),
        ("min(v for v in values if P)", "max(P for v in values)"),
    ),
    Aggregate(
        "smallest",
        "the smallest of the values that are {}",
        "min(v for v in values if P)",
        lambda values, p: min(filter(p, values)),
        ("max(v for v in values if P)", "min(P for v in values)"),
    ),
    Aggregate(
        "some",
        "True where any of the values is {}",
        "any(P for v in values)",
        lambda values, p: any(map(p, values)),
        ("all(P for v in values)", "[P for v in values]"),
    ),
    Aggregate(
        "every",
        "True where all of the values are {}",
        "all(P for v in values)",
        lambda values, p: all(map(p, values)),
        ("any(P for v in values)", "[P for v in values]"),
    ),
)


class Loop(NamedTuple):
    """A body with a loop, what it returns by us, and changes that make it wrong."""

    difficulty: Difficulty
    name: str
    words: str
    body: str
    result: Callable[[list[int], Callable[[int], bool]], Any]
    changes: tuple[tuple[str, str], ...]


def _positions(values: list[int], holds: Callable[[int], bool]) -> list[int]:
    return [place for place, value in enumerate(values) if holds(value)]


def _product(values: list[int], holds: Callable[[int], bool]) -> int:
    product = 1
    for value in filter(holds, values):
        product *= value or 1
    return product


def _longest_run(values: list[int], holds: Callable[[int], bool]) -> int:
    marks = "".join("x" if holds(value) else " " for value in values)
    return max(map(len, marks.split()), default=0)


LOOPS = (
    Loop(
        "easy",
        "square_sum",
        "the sum of the squares of the values that are {}",
        "total = 0\nfor v in values:\n    if P:\n        total += v * v\nreturn total",
        lambda values, p: sum(v**2 for v in filter(p, values)),
        (("total +=", "total ="), ("\nreturn", "\n    return"), ("v * v", "v + v")),
    ),
    Loop(
        "easy",
        "share",
        "the share of the values that are {}, between 0 and 1",
        "count = 0\nfor v in values:\n    if P:\n        count += 1\nreturn count / len(values)",
        lambda values, p: len([*filter(p, values)]) / len(values),
        (
            ("count += 1", "count += v"),
            ("count = 0", "count = 1"),
            ("count / len(values)", "len(values) / count"),
        ),
    ),
    Loop(
        "medium",
        "average",
        "the mean of the values that are {}, or 0",
        "total = count = 0\nfor v in values:\n    if P:\n        total += v\n        count += 1\n"
        "return total / count if count else 0",
        lambda values, p: sum(filter(p, values)) / max(len([*filter(p, values)]), 1),
        (
            ("total / count", "total / len(values)"),
            ("total / count", "count / total"),
            ("count += 1", "count = 1"),
        ),
    ),
    Loop(
        "medium",
        "before",
        "the values that stand before the first that is {}",
        "result = []\nfor v in values:\n    if P:\n        break\n    result.append(v)\n"
        "return result",
        lambda values, p: values[: next(iter(_positions(values, p)), len(values))],
        (
            ("break", "continue"),
            (
                "if P:\n        break\n    result.append(v)",
                "result.append(v)\n    if P:\n        break",
            ),
            ("result.append(v)", "result = [v]"),
        ),
    ),
    Loop(
        "easy",
        "replaced",
        "the values, with 0 in place of those that are {}",
        "result = []\nfor v in values:\n    result.append(0 if P else v)\nreturn result",
        lambda values, p: [v * (not p(v)) for v in values],
        (
            ("0 if P else v", "v if P else 0"),
            ("\nreturn", "\n    return"),
            ("append(", "insert(0, "),
        ),
    ),
    Loop(
        "medium",
        "surplus",
        "how many more values are {} than are not",
        "result = 0\nfor v in values:\n    result += 1 if P else -1\nreturn result",
        lambda values, p: 2 * len([*filter(p, values)]) - len(values),
        (("else -1", "else 0"), ("result = 0", "result = 1"), ("1 if P else -1", "-1 if P else 1")),
    ),
    Loop(
        "medium",
        "first_place",
        "the index of the first value that is {}, or -1",
        "for i, v in enumerate(values):\n    if P:\n        return i\nreturn -1",
        lambda values, p: next(iter(_positions(values, p)), -1),
        (
            ("return i", "return v"),
            ("\nreturn -1", "\n    return -1"),
            ("return i", "return i + 1"),
        ),
    ),
    Loop(
        "easy",
        "last_place",
        "the index of the last value that is {}, or -1",
        "found = -1\nfor i, v in enumerate(values):\n    if P:\n        found = i\nreturn found",
        lambda values, p: (_positions(values, p) or [-1])[-1],
        (("found = i", "return i"), ("found = -1", "found = 0"), ("found = i", "found = v")),
    ),
    Loop(
        "easy",
        "product",
        "the product of the values that are {}, leaving out zeros",
        "result = 1\nfor v in values:\n    if v != 0 and (P):\n        result *= v\nreturn result",
        _product,
        (("result *= v", "result += v"), ("result = 1", "result = 0"), ("v != 0 and", "v != 0 or")),
    ),
    Loop(
        "easy",
        "largest",
        "the largest of the values that are {}, or None",
        "best = None\nfor v in values:\n    if (P) and (best is None or v > best):\n"
        "        best = v\nreturn best",
        lambda values, p: max(filter(p, values), default=None),
        (("v > best", "v < best"), (") and (", ") or ("), ("\nreturn", "\n    return")),
    ),
    Loop(
        "easy",
        "longest_run",
        "the length of the longest run of values that are {}",
        "run = longest = 0\nfor v in values:\n    run = run + 1 if P else 0\n"
        "    longest = max(longest, run)\nreturn longest",
        _longest_run,
        (("else 0", "else run"), ("max(longest, run)", "run"), ("run + 1 if", "1 if")),
    ),
)


class Completion(NamedTuple):
    """A function to be completed. `check` is true of it with the first body, and with no other."""

    difficulty: Difficulty
    purpose: str
    signature: str
    bodies: tuple[str, ...]
    check: str

    @property
    def prompt(self) -> str:
        """The function up to its body, with the body's indent."""
        return f'def {self.signature}:\n    """{self.purpose}."""\n'


def completions() -> Iterator[Completion]:
    """Every function that is to be completed."""
    return chain(
        _first_lines(),
        _lines("easy", LINES),
        _conversions(),
        _lines("medium", DENSE_LINES),
        _limits(),
        _slices(),
        _aggregates(),
        _loops(),
        _functions(),
    )


def indented(body: str) -> str:
    """`body` as it stands in its function."""
    return "\n".join(f"    {line}" for line in body.splitlines())


def _first_lines() -> Iterator[Completion]:
    for line, check in zip(COMPLETIONS.splitlines(), CHECKS.splitlines(), strict=True):
        purpose, signature, *bodies = line.split(" | ")
        yield Completion("easy", _capital(purpose), signature, tuple(bodies), check)


def _lines(difficulty: Difficulty, table: str) -> Iterator[Completion]:
    for line in table.splitlines():
        purpose, signature, *bodies, check = line.split(" | ")
        yield Completion(difficulty, _capital(purpose), signature, tuple(bodies), check)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _conversions() -> Iterator[Completion]:
    for number, (large, small, factor) in enumerate(UNITS):
        other = UNITS[(number + 1) % len(UNITS)][2]
        if other == factor:
            other += 1
        for given, wanted, sign, opposite in ((large, small, "*", "/"), (small, large, "/", "*")):
            lines = [f"{sign} {factor}", f"{opposite} {factor}", f"{sign} {other}", f"+ {factor}"]
            expected = 2 * factor * factor if sign == "*" else 2
            yield Completion(
                "medium",
                f"Convert {given} to {wanted}",
                f"{wanted}({given})",
                tuple(f"return {given} {line}" for line in lines),
                f"{wanted}({2 * factor}) == {expected}",
            )


def _limits() -> Iterator[Completion]:
    for name, limit in LIMITS:
        for words, sign in RELATIONS:
            signs = [sign, *(other for _, other in RELATIONS if other != sign)]
            below, at, above = sign[0] == "<", "=" in sign, sign[0] == ">"
            yield Completion(
                "medium",
                f"Return True where the {name} is {words} {limit}",
                f"accepted({name})",
                tuple(f"return {name} {each} {limit}" for each in signs),
                f"[accepted(n) for n in ({limit - 1}, {limit}, {limit + 1})] == "
                f"{[below, at, above]}",
            )


def _slices() -> Iterator[Completion]:
    for k in (2, 3, 4):
        for subject, parts, sample in (
            ("values", "elements of the list", list(range(20, 31))),
            ("text", "letters of the text", "abcdefghijk"),
        ):
            results = (sample[:k], sample[-k:], sample[k:], sample[:-k])
            for place, (words, source) in enumerate(SLICES):
                sources = [source, *(other for _, other in SLICES if other != source)]
                yield Completion(
                    "medium",
                    f"Return {words.format(k=k)} {parts}",
                    f"part({subject})",
                    tuple(f"return {subject}{each.format(k=k)}" for each in sources),
                    f"part({sample!r}) == {results[place]!r}",
                )


def _aggregates() -> Iterator[Completion]:
    for aggregate in AGGREGATES:
        for predicate in PREDICATES:
            lines = (
                aggregate.line.replace("P", predicate.source),
                aggregate.line.replace("P", predicate.wrong),
                *(line.replace("P", predicate.source) for line in aggregate.wrong),
            )
            both = aggregate.name in ("some", "every")
            yield Completion(
                "medium",
                f"Return {aggregate.words.format(predicate.words)}",
                f"{aggregate.name}(values)",
                tuple(f"return {line}" for line in lines),
                _check(aggregate.name, aggregate.result, predicate, alone=not both),
            )


def _loops() -> Iterator[Completion]:
    for loop in LOOPS:
        for predicate in PREDICATES:
            bodies = (loop.body, *(loop.body.replace(*change) for change in loop.changes))
            yield Completion(
                loop.difficulty,
                f"Return {loop.words.format(predicate.words)}",
                f"{loop.name}(values)",
                tuple(body.replace("P", predicate.source) for body in bodies),
                _check(loop.name, loop.result, predicate, alone=False),
            )


def _check(
    name: str,
    result: Callable[[list[int], Callable[[int], bool]], Any],
    predicate: Predicate,
    *,
    alone: bool,
) -> str:
    """What `name` returns for the samples and, unless `alone`, for the first's matching values and
    for its others."""
    lists = list(SAMPLES)
    if not alone:
        lists += [[v for v in SAMPLES[0] if predicate.holds(v) is holds] for holds in (True, False)]
    return " and ".join(
        f"{name}({values}) == {result(values, predicate.holds)!r}" for values in lists
    )


def _functions() -> Iterator[Completion]:
    for text in FUNCTIONS.split("\n\n"):
        source, rest = text.split("\n#! ")
        changes, check = rest.split("\n#= ")
        head, purpose, body = source.split('"""')
        right = "\n".join(line[4:] for line in body.strip("\n").splitlines())
        pairs = (change.split(" => ") for change in changes.split(" || "))
        wrong = (right.replace(old, new) for old, new in pairs)
        signature = head.removeprefix("def ").split(":")[0]
        yield Completion("medium", purpose.rstrip("."), signature, (right, *wrong), check)
