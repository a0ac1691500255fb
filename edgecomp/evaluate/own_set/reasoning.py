"""Reasoning: generated problems, from rows that a tiny model goes on with to several steps.

The easy ones complete a row of examples or a sentence, so that the set tells something about a
model of 135 M parameters.
"""

from __future__ import annotations

from random import Random

from edgecomp.evaluate.items import ChoiceItem, Difficulty, GenerationItem, Item, NumberCheck, ask
from edgecomp.evaluate.own_set.choice import Label, choice_item, drawn
from edgecomp.evaluate.own_set.reasoning_tables import (
    ADJECTIVES,
    COLOURS,
    DAYS,
    DIRECTIONS,
    EFFECTS,
    GROUPS,
    KINDS,
    NAMES,
    OPPOSITES,
    SEQUENCES,
    THINGS,
)

WRITTEN_ANSWER_TOKENS: dict[Difficulty, int] = {"easy": 16, "medium": 64, "hard": 128}


def items(random: Random) -> list[Item]:
    """About 150 questions of each difficulty, and 16 problems of each to answer in writing."""
    easy = (_sum, _opposite, _steps, _sequence)
    medium = (
        _pattern, _analogy, _larger, _largest, _one_step, _series, _weekday, _odd_one_out,
    )  # fmt: skip
    hard = (
        _word_problem, _order, _syllogism, _weekday, _turns, _ages, _percent, _end_time,
    )  # fmt: skip
    made = drawn(random, "reasoning", "easy", easy, 28)
    made += [_effect(random, line) for line in EFFECTS.splitlines()]
    made += drawn(random, "reasoning", "medium", medium, 19)
    made += drawn(random, "reasoning", "hard", hard, 19)
    made += drawn(random, "reasoning", "easy", (_written_reading,), 16)
    made += drawn(random, "reasoning", "medium", (_written_step,), 16)
    made += drawn(random, "reasoning", "hard", (_written_story,), 16)
    return made


def _sum(random: Random, label: Label) -> Item:
    lines = []
    for _ in range(4):
        a, b = random.randint(2, 15), random.randint(2, 9)
        lines.append((f"{a} + {b} =", a + b) if random.random() < 0.6 else (f"{a + b} - {b} =", a))
    shown = "\n".join(f"{left} {right}" for left, right in lines[:3])
    left, answer = lines[3]
    wrong = random.sample([v for v in range(max(answer - 3, 1), answer + 4) if v != answer], 3)
    prompt = f"{shown}\n{left}"
    return choice_item(random, label, prompt, [f" {value}" for value in (answer, *wrong)])


def _opposite(random: Random, label: Label) -> Item:
    pairs = [random.sample(pair, 2) for pair in random.sample(OPPOSITES, 7)]
    shown = "\n".join(f"{word}: {other}" for word, other in pairs[:3])
    asked, right = pairs[3]
    wrong = [other for _, other in pairs[4:]]
    prompt = f"Opposites\n{shown}\n{asked}:"
    return choice_item(random, label, prompt, [f" {word}" for word in (right, *wrong)])


def _pattern(random: Random, label: Label) -> Item:
    colours = random.sample(COLOURS, 4)
    unit = colours[: random.randint(2, 3)]
    length = 3 * len(unit) + random.randint(1, len(unit))
    right = unit[length % len(unit)]
    prompt = " ".join(unit[i % len(unit)] for i in range(length))
    wrong = [colour for colour in colours if colour != right]
    return choice_item(random, label, prompt, [f" {colour}" for colour in (right, *wrong)])


def _steps(random: Random, label: Label) -> Item:
    step = random.choice((1, 2, 5, 10, 100))
    start = step * random.randint(1, 9)
    values = [start + step * i for i in range(6)]
    prompt = ", ".join(map(str, values[:5])) + ","
    mistakes = [values[5] + step, values[5] + 2 * step, values[3]]
    wrong = _others(values[5], mistakes)
    return choice_item(random, label, prompt, [f" {value}" for value in (values[5], *wrong)])


def _sequence(random: Random, label: Label) -> Item:
    words = random.choice(SEQUENCES)
    start = random.randrange(len(words) - 4)
    right = words[start + 4]
    far = [word for word in words if word not in words[start : start + 5]]
    wrong = [words[start], words[start + 2], random.choice(far)]
    prompt = ", ".join(words[start : start + 4]) + ","
    return choice_item(random, label, prompt, [f" {word}" for word in (right, *wrong)])


def _effect(random: Random, line: str) -> Item:
    prompt, *answers = line.split(" | ")
    spaced = [f" {answer}." for answer in answers]
    return choice_item(random, Label("reasoning", prompt, "easy"), prompt, spaced, "per-byte")


def _analogy(random: Random, label: Label) -> Item:
    (a, b), (c, d) = (random.sample(pair, 2) for pair in random.sample(OPPOSITES, 2))
    others = [word for pair in OPPOSITES for word in pair if word not in (a, b, c, d)]
    wrong = [f" {word}" for word in (b, *random.sample(others, 2))]
    prompt = f"{a.capitalize()} is to {b} as {c} is to"
    return choice_item(random, label, prompt, (f" {d}", *wrong))


def _larger(random: Random, label: Label) -> Item:
    pairs = [random.sample(range(11, 100), 2) for _ in range(3)]
    shown = "\n".join(f"The larger of {a} and {b} is {max(a, b)}." for a, b in pairs[:2])
    a, b = pairs[2]
    prompt = f"{shown}\nThe larger of {a} and {b} is"
    return choice_item(random, label, prompt, (f" {max(a, b)}.", f" {min(a, b)}."))


def _largest(random: Random, label: Label) -> Item:
    values = random.sample(range(11, 100), 4)
    word, right = random.choice((("largest", max(values)), ("smallest", min(values))))
    text = f"Which is the {word} of the numbers {', '.join(map(str, values))}?"
    return _question(random, label, text, str(right), [str(v) for v in values if v != right])


def _one_step(random: Random, label: Label) -> Item:
    lines = []
    for name in random.sample(NAMES, 3):
        thing, a, b = random.choice(THINGS), random.randint(11, 30), random.randint(3, 9)
        word, answer = random.choice((("gets", a + b), ("gives away", a - b)))
        lines.append((f"{name} has {a} {thing} and {word} {b}. Now {name} has", answer))
    shown = " ".join(f"{text} {answer}." for text, answer in lines[:2])
    text, answer = lines[2]
    wrong = random.sample([v for v in range(answer - 5, answer + 6) if v != answer], 3)
    prompt = f"{shown} {text}"
    return choice_item(random, label, prompt, [f" {value}." for value in (answer, *wrong)])


def _odd_one_out(random: Random, label: Label) -> Item:
    lines = []
    for _ in range(2):
        same, other = random.sample(list(GROUPS.values()), 2)
        odd, words = random.choice(other), random.sample(same, 3)
        shown = random.sample([odd, *words], 4)
        lines.append((f"Of {', '.join(shown)}, the odd one out is the", odd, words))
    (example, answer, _), (text, odd, words) = lines
    prompt = f"{example} {answer}. {text}"
    return choice_item(random, label, prompt, [f" {word}." for word in (odd, *words)])


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


def _word_problem(random: Random, label: Label) -> Item:
    text, _, answer, mistakes = arithmetic_story(random)
    return _question(random, label, text, str(answer), _others(answer, mistakes))


def _others(answer: int, mistakes: list[int]) -> list[str]:
    wrong = [value for value in dict.fromkeys(mistakes) if value != answer and value > 0]
    near = (answer + step for step in (1, 10, 2, 11))
    wrong += [value for value in near if value not in wrong]
    return [str(value) for value in wrong[:3]]


def _order(random: Random, label: Label) -> Item:
    names = random.sample(NAMES, 4)
    more, most, least = random.choice(ADJECTIVES)
    facts = [f"{names[i]} is {more} than {names[i + 1]}." for i in range(3)]
    random.shuffle(facts)
    asked, right = random.choice(((most, names[0]), (least, names[3])))
    text = f"{' '.join(facts)} Who is the {asked}?"
    return _question(random, label, text, right, [name for name in names if name != right])


def _syllogism(random: Random, label: Label) -> Item:
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
    return _question(random, label, f"{premises} {asked}", right, [wrong])


def _series(random: Random, label: Label) -> Item:
    start, step = random.randint(2, 9), random.randint(3, 7)
    if random.random() < 0.5:
        values = [start + step * i for i in range(6)]
    else:
        factor = random.choice((2, 3))
        values = [start * factor**i for i in range(6)]
    answer = values[5]
    shown = ", ".join(map(str, values[:5]))
    mistakes = [answer + step, answer - 1, values[4] + start]
    wrong = _others(answer, mistakes)
    return choice_item(random, label, f"{shown},", [f" {value}" for value in (answer, *wrong)])


def _weekday(random: Random, label: Label) -> Item:
    if label.difficulty == "medium":
        return _day_after(random, label)
    today, days = random.randrange(7), random.randint(3, 12)
    right = DAYS[(today + days) % 7]
    wrong = random.sample([day for day in DAYS if day != right], 3)
    text = f"Today is {DAYS[today]}. Which day of the week is it in {days} days?"
    return _question(random, label, text, right, wrong)


def _day_after(random: Random, label: Label) -> Item:
    shift, word = random.choice(
        ((1, "tomorrow is"), (-1, "yesterday was"), (2, "in two days it is"))
    )
    shown, asked = random.sample(range(7), 2)
    lines = [f"If today is {DAYS[day]}, {word}" for day in (shown, asked)]
    prompt = f"{lines[0]} {DAYS[(shown + shift) % 7]}. {lines[1]}"
    right = DAYS[(asked + shift) % 7]
    wrong = random.sample([day for day in DAYS if day not in (right, DAYS[asked])], 3)
    return choice_item(random, label, prompt, [f" {day}." for day in (right, *wrong)])


def _turns(random: Random, label: Label) -> Item:
    name, facing = random.choice(NAMES), random.randrange(4)
    turns = [random.choice((1, -1)) for _ in range(random.randint(1, 3))]
    spoken = ", then ".join("right" if turn == 1 else "left" for turn in turns)
    right = DIRECTIONS[(facing + sum(turns)) % 4]
    text = (
        f"{name} faces {DIRECTIONS[facing]} and turns {spoken}. "
        f"In which direction does {name} face now?"
    )
    wrong = [direction for direction in DIRECTIONS if direction != right]
    return _question(random, label, text, right.capitalize(), [w.capitalize() for w in wrong])


def _ages(random: Random, label: Label) -> Item:
    a, b, c = random.sample(NAMES, 3)
    years, times, more = random.randint(4, 12), random.randint(2, 4), random.randint(2, 9)
    text = (
        f"{c} is {years} years old. {b} is {times} times as old as {c}. "
        f"{a} is {more} years younger than {b}. How old is {a}?"
    )
    answer = years * times - more
    mistakes = [years * times + more, years + times - more, years * times, abs(years - more)]
    return _question(random, label, text, str(answer), _others(answer, mistakes))


def _percent(random: Random, label: Label) -> Item:
    price, percent = 20 * random.randint(2, 15), random.choice((5, 10, 15, 20, 25, 30, 40))
    thing = random.choice(("coat", "lamp", "bicycle", "chair", "suitcase", "printer"))
    text = (
        f"A {thing} costs {price} euros. The price falls by {percent} percent. "
        "What is the new price in euros?"
    )
    off = price * percent // 100
    mistakes = [price + off, off, price - percent]
    return _question(random, label, text, str(price - off), _others(price - off, mistakes))


def _end_time(random: Random, label: Label) -> Item:
    start, minutes = 5 * random.randint(7 * 12, 19 * 12), 5 * random.randint(7, 38)
    what = random.choice(("film", "lesson", "match", "concert", "train ride", "meeting"))
    times = [start + minutes + shift for shift in (0, 10, -20, 60)]
    right, *wrong = [f"{time // 60}:{time % 60:02}" for time in times]
    text = (
        f"A {what} starts at {start // 60}:{start % 60:02} and takes {minutes} minutes. "
        "At what time does it end?"
    )
    return _question(random, label, text, right, wrong)


def _question(random: Random, label: Label, text: str, right: str, wrong: list[str]) -> ChoiceItem:
    prompt = f"Question: {text}\nAnswer:"
    return choice_item(random, label, prompt, [f" {value}" for value in (right, *wrong)])


def _written_reading(random: Random, label: Label) -> Item:
    (name, other), (thing, liked) = random.sample(NAMES, 2), random.sample(THINGS, 2)
    count = random.randint(3, 60)
    text = f"{name} has {count} {thing}. {other} likes {liked}."
    return _written(label, f"{text} How many {thing} does {name} have?", count)


def _written_step(random: Random, label: Label) -> Item:
    name, thing = random.choice(NAMES), random.choice(THINGS)
    a, b = random.randint(2, 9), random.randint(11, 30)
    text = random.choice(
        (
            (f"{name} has {b} {thing} and finds {a} more.", a + b),
            (f"{name} had {a + b} {thing} and lost {a}.", b),
            (f"{name} has {a} boxes with {b} {thing} in each.", a * b),
        )
    )
    return _written(label, f"{text[0]} How many {thing} does {name} have now?", text[1])


def _written_story(random: Random, label: Label) -> Item:
    text, _, answer, _ = arithmetic_story(random)
    asked = f"{text} Work it out step by step, then write: The answer is <number>."
    return _written(label, asked, answer)


def _written(label: Label, text: str, answer: int) -> Item:
    return GenerationItem(
        benchmark="own-reasoning-written",
        id=label.identity,
        category="reasoning",
        difficulty=label.difficulty,
        prompt=ask(text),
        limit=WRITTEN_ANSWER_TOKENS[label.difficulty],
        check=NumberCheck(answer=str(answer)),
    )
