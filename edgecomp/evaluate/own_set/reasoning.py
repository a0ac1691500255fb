"""Reasoning: generated problems, from sums a tiny model gets right to steps that need a larger one.

Half are easy (sums after examples, analogies, patterns), so that the set tells something about a
model of 135 M parameters; half are not, so that it does about one of several billion.
"""

from __future__ import annotations

from random import Random

from edgecomp.evaluate.items import GenerationItem, Item, NumberCheck, ask
from edgecomp.evaluate.own_set.choice import choice_item

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas")
THINGS = ("apples", "books", "coins", "stamps", "marbles", "pencils", "shells", "stickers")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DIRECTIONS = ("north", "east", "south", "west")
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("day", "night"), ("open", "closed"),
    ("fast", "slow"), ("happy", "sad"), ("wet", "dry"), ("early", "late"), ("full", "empty"),
    ("young", "old"), ("light", "dark"), ("left", "right"), ("hard", "soft"), ("rich", "poor"),
)  # fmt: skip
KINDS = ("blips", "norps", "tavs", "wugs", "zims", "flims", "grons", "plims")
ADJECTIVES = (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"),
              ("faster", "fastest", "slowest"), ("heavier", "heaviest", "lightest"))  # fmt: skip
WRITTEN_ANSWER_TOKENS = 128


def items(random: Random) -> list[Item]:
    """Twenty of each easy kind, nine of each hard one, and 16 problems to answer in writing."""
    easy = (_sum, _opposite, _pattern)
    hard = (_two_names, _word_problem, _order, _syllogism, _series, _weekday, _turns)
    made: list[Item] = []
    for kinds, count in ((easy, 20), (hard, 9)):
        for kind in kinds:
            made += [kind(random, f"{kind.__name__[1:]}-{i}") for i in range(count)]
    return made + [_written_problem(random, f"written-{i}") for i in range(16)]


def _sum(random: Random, identity: str) -> Item:
    lines = []
    for _ in range(4):
        a, b = random.randint(2, 15), random.randint(2, 9)
        lines.append((f"{a} + {b} =", a + b) if random.random() < 0.6 else (f"{a + b} - {b} =", a))
    shown = "\n".join(f"{left} {right}" for left, right in lines[:3])
    left, answer = lines[3]
    wrong = random.sample([v for v in range(max(answer - 3, 1), answer + 4) if v != answer], 3)
    prompt = f"{shown}\n{left}"
    return choice_item(
        random, "reasoning", identity, prompt, (f" {answer}", *([f" {value}" for value in wrong]))
    )


def _opposite(random: Random, identity: str) -> Item:
    (a, b), (c, d) = (random.sample(pair, 2) for pair in random.sample(OPPOSITES, 2))
    others = [word for pair in OPPOSITES for word in pair if word not in (a, b, c, d)]
    wrong = [f" {word}" for word in (b, *random.sample(others, 2))]
    prompt = f"{a.capitalize()} is to {b} as {c} is to"
    return choice_item(random, "reasoning", identity, prompt, (f" {d}", *wrong))


def _pattern(random: Random, identity: str) -> Item:
    unit = random.sample(("red", "blue", "green", "black", "white", "yellow"), random.randint(2, 3))
    unit += random.choices(unit, k=random.randint(0, 1))
    length = 2 * len(unit) + random.randint(1, 3)
    series = [unit[i % len(unit)] for i in range(length + 1)]
    wrong = [f" {word}" for word in dict.fromkeys(unit) if word != series[-1]] + [" purple"]
    prompt = " ".join(series[:-1])
    return choice_item(random, "reasoning", identity, prompt, (f" {series[-1]}", *wrong))


def _two_names(random: Random, identity: str) -> Item:
    first, second = random.sample(NAMES, 2)
    more, _, _ = random.choice(ADJECTIVES)
    text = f"{first} is {more} than {second}. Which of the two is {more}?"
    return _question(random, identity, text, first, [second])


def arithmetic_story(random: Random) -> tuple[str, str, int, list[int]]:
    """A word problem of two or three steps: text, worked solution, answer, plausible mistakes."""
    name, other = random.sample(NAMES, 2)
    thing = random.choice(THINGS)
    a, b, c = random.randint(12, 40), random.randint(3, 11), random.randint(2, 9)
    shape = random.randrange(4)
    if shape == 0:
        text = (
            f"{name} has {a} {thing}. {name} gives {b} of them to {other} and then buys {c} more. "
            f"How many {thing} does {name} have now?"
        )
        solution = f"{a} - {b} = {a - b}. {a - b} + {c} = {a - b + c}."
        return text, solution, a - b + c, [a + b + c, a - b - c, a - b]
    if shape == 1:
        text = (
            f"{name} buys {c} boxes with {b} {thing} in each box. {other} gives {name} {a} more. "
            f"How many {thing} does {name} have in total?"
        )
        solution = f"{c} * {b} = {c * b}. {c * b} + {a} = {c * b + a}."
        return text, solution, c * b + a, [c + b + a, c * b, c * b + a + b]
    if shape == 2:
        text = (
            f"{name} packs {b * c} {thing} into {c} equal bags. {other} takes one bag and adds {a} "
            f"{thing} to it. How many {thing} are in that bag?"
        )
        solution = f"{b * c} / {c} = {b}. {b} + {a} = {b + a}."
        return text, solution, b + a, [b * c + a, c + a, b + a + c]
    text = (
        f"{name} has {a} {thing}. {other} has {b} more than {name}. "
        f"How many {thing} do they have together?"
    )
    solution = f"{a} + {b} = {a + b}. {a} + {a + b} = {2 * a + b}."
    return text, solution, 2 * a + b, [a + b, 2 * a, 2 * (a + b)]


def _word_problem(random: Random, identity: str) -> Item:
    text, _, answer, mistakes = arithmetic_story(random)
    return _question(random, identity, text, str(answer), _others(answer, mistakes))


def _others(answer: int, mistakes: list[int]) -> list[str]:
    wrong = [value for value in dict.fromkeys(mistakes) if value != answer and value > 0]
    near = (answer + step for step in (1, 10, 2, 11))
    wrong += [value for value in near if value not in wrong]
    return [str(value) for value in wrong[:3]]


def _order(random: Random, identity: str) -> Item:
    names = random.sample(NAMES, 4)
    more, most, least = random.choice(ADJECTIVES)
    facts = [f"{names[i]} is {more} than {names[i + 1]}." for i in range(3)]
    random.shuffle(facts)
    asked, right = random.choice(((most, names[0]), (least, names[3])))
    text = f"{' '.join(facts)} Who is the {asked}?"
    return _question(random, identity, text, right, [name for name in names if name != right])


def _syllogism(random: Random, identity: str) -> Item:
    a, b, c = random.sample(KINDS, 3)
    follows = random.random() < 0.5
    if follows:
        premises, asked = random.choice(
            (
                (f"All {a} are {b}. All {b} are {c}.", f"Are all {a} {c}?"),
                (f"All {a} are {b}. Some {c} are {a}.", f"Are some {c} {b}?"),
            )
        )
    else:
        premises, asked = random.choice(
            (
                (f"All {a} are {b}. No {b} are {c}.", f"Are some {a} {c}?"),
                (f"No {a} are {b}. All {c} are {a}.", f"Are some {c} {b}?"),
            )
        )
    right, wrong = ("Yes", "No") if follows else ("No", "Yes")
    return _question(random, identity, f"{premises} {asked}", right, [wrong])


def _series(random: Random, identity: str) -> Item:
    start, step = random.randint(2, 9), random.randint(2, 7)
    if random.random() < 0.5:
        values = [start + step * i for i in range(6)]
    else:
        factor = random.choice((2, 3))
        values = [start * factor**i for i in range(6)]
    answer = values[5]
    shown = ", ".join(map(str, values[:5]))
    mistakes = [answer + step, answer - 1, values[4] + start]
    text = f"Which number comes next in the series {shown}?"
    return _question(random, identity, text, str(answer), _others(answer, mistakes))


def _weekday(random: Random, identity: str) -> Item:
    today, days = random.randrange(7), random.randint(2, 12)
    right = DAYS[(today + days) % 7]
    wrong = random.sample([day for day in DAYS if day != right], 3)
    text = f"Today is {DAYS[today]}. Which day of the week is it in {days} days?"
    return _question(random, identity, text, right, wrong)


def _turns(random: Random, identity: str) -> Item:
    name, facing = random.choice(NAMES), random.randrange(4)
    turns = [random.choice((1, -1)) for _ in range(random.randint(1, 3))]
    spoken = ", then ".join("right" if turn == 1 else "left" for turn in turns)
    right = DIRECTIONS[(facing + sum(turns)) % 4]
    text = (
        f"{name} faces {DIRECTIONS[facing]} and turns {spoken}. "
        f"In which direction does {name} face now?"
    )
    wrong = [direction for direction in DIRECTIONS if direction != right]
    return _question(random, identity, text, right.capitalize(), [w.capitalize() for w in wrong])


def _question(random: Random, identity: str, text: str, right: str, wrong: list[str]) -> Item:
    prompt = f"Question: {text}\nAnswer:"
    spaced = [f" {value}" for value in wrong]
    return choice_item(random, "reasoning", identity, prompt, (f" {right}", *spaced))


def _written_problem(random: Random, identity: str) -> Item:
    text, _, answer, _ = arithmetic_story(random)
    return GenerationItem(
        benchmark="own-reasoning-written",
        id=identity,
        category="reasoning",
        prompt=ask(f"{text} Work it out step by step, then write: The answer is <number>."),
        limit=WRITTEN_ANSWER_TOKENS,
        check=NumberCheck(answer=str(answer)),
    )
