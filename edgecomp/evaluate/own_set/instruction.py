"""Instruction following: answers whose form can be verified, and commands with one right reply."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from pydantic import JsonValue

from edgecomp.evaluate.items import (
    ChoiceItem,
    Difficulty,
    GenerationItem,
    Instruction,
    InstructionCheck,
    Item,
    ask,
)
from edgecomp.evaluate.own_set.choice import Label, choice_item, drawn

TOPICS = (
    "the sea", "a good breakfast", "trees", "the city at night", "snow", "an old clock",
    "football", "bread", "the moon", "a rainy day",
)  # fmt: skip


class Form(NamedTuple):
    """A constraint in words, and the check that verifies it."""

    difficulty: Difficulty
    wording: str
    name: str
    arguments: dict[str, JsonValue]


FORMS = (
    Form("medium", "Use no commas.", "punctuation:no_comma", {}),
    Form("hard", "Write everything in lower case.", "change_case:english_lowercase", {}),
    Form("hard", "Write everything in CAPITAL LETTERS.", "change_case:english_capital", {}),
    Form("hard", "Put your whole answer in double quotation marks.", "startend:quotation", {}),
    Form(
        "medium",
        "Use fewer than 25 words.",
        "length_constraints:number_words",
        {"num_words": 25, "relation": "less than"},
    ),
    Form(
        "hard",
        "Answer with exactly 3 bullet points, each on a line that begins with *.",
        "detectable_format:number_bullet_lists",
        {"num_bullets": 3},
    ),
    Form(
        "easy",
        "Use the word 'light' at least once.",
        "keywords:existence",
        {"keywords": ["light"]},
    ),
    Form(
        "medium",
        "End with the words: That is all.",
        "startend:end_checker",
        {"end_phrase": "That is all."},
    ),
    Form(
        "easy",
        "Do not use the words 'very' or 'good'.",
        "keywords:forbidden_words",
        {"forbidden_words": ["very", "good"]},
    ),
    Form(
        "medium",
        "Give the text a title in double angle brackets like <<Title>>.",
        "detectable_format:title",
        {},
    ),
)

WORDS = (
    "river", "garden", "winter", "candle", "bridge", "mirror", "pocket", "violin", "lemon",
    "carpet", "island", "button", "hammer", "basket", "ticket", "window", "feather", "saddle",
    "tunnel", "blanket", "kettle", "meadow", "ladder", "pepper",
)  # fmt: skip
QUESTIONS = (
    "Which word shall I write down?", "What is the capital of France?", "How are you today?",
    "What is two plus two?", "Who are you?", "What shall we eat tonight?", "Is it going to rain?",
    "Tell me a story.",
)  # fmt: skip
REVIEWS = (
    ("I loved every minute of this film.", True),
    ("The soup was cold and the waiter was rude.", False),
    ("What a wonderful surprise this was.", True),
    ("I will never buy this brand again.", False),
    ("The view from the room made us happy.", True),
    ("The phone broke after two days.", False),
    ("Everyone was kind and helpful.", True),
    ("The seats were dirty and the bus was late.", False),
    ("This is the best lamp that I have owned.", True),
    ("The book bored me to tears.", False),
    ("Great value, and it came a day early.", True),
    ("The colours faded after one wash.", False),
)
LABELS = (("A", "B"), ("B", "A"), ("X", "Y"), ("Y", "X"))
MARKS = {"hyphens": "-", "slashes": "/", "plus signs": "+", "colons": ":", "dots": "."}
LISTS = {
    "a list whose lines begin with a hyphen": "- {}",
    "a list whose lines begin with an asterisk": "* {}",
    "a list whose lines begin with the sign >": "> {}",
    "a list whose lines begin with the sign +": "+ {}",
}
ANIMALS = ("horse", "sheep", "rabbit", "goat", "camel", "tiger", "badger", "otter")
SUBJECTS = ("The old man", "A young girl", "My uncle", "The teacher", "Our neighbour", "The queen")
VERBS = ("sold", "found", "hid", "painted", "carried", "wanted")
WRITTEN_ANSWER_TOKENS = 64


def items(random: Random) -> list[Item]:
    """100 short texts with one constraint each, and commands with a choice of replies."""
    made: list[Item] = [_constrained(topic, form) for topic in TOPICS for form in FORMS]
    easy = (_system_word, _say, _repeat, _hidden_word)
    medium = (_count, _label, _joined, _listed, _initials, _without)
    hard = (
        _nth_word, _last_word, _replaced, _capitals, _reversed_order, _sorted, _condition,
    )  # fmt: skip
    made += drawn(random, "instruction", "easy", easy, 36)
    made += drawn(random, "instruction", "medium", medium, 24)
    made += drawn(random, "instruction", "hard", hard, 21)
    return made


def _constrained(topic: str, form: Form) -> Item:
    constraint = Instruction(name=form.name, arguments=form.arguments)
    return GenerationItem(
        benchmark="own-instruction-written",
        id=f"{topic}-{form.name}",
        category="instruction",
        difficulty=form.difficulty,
        prompt=ask(f"Write two sentences about {topic}. {form.wording}"),
        limit=WRITTEN_ANSWER_TOKENS,
        check=InstructionCheck(instructions=(constraint,)),
    )


def _count(random: Random, label: Label) -> Item:
    first, length = random.randint(1, 20), random.randint(3, 8)
    last = first + length
    numbers = [str(value) for value in range(first, last + 2)]
    right, short, long = (", ".join(numbers[:end]) for end in (length + 1, length, length + 2))
    backwards = ", ".join(reversed(numbers[:-1]))
    command = f"Count from {first} to {last}, with commas, and stop there."
    return _reply(random, label, command, (right, short, long, backwards))


def _system_word(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 4)
    system = f"Whatever the user asks, answer with the single word {words[0]}."
    prompt = ask(random.choice(QUESTIONS), system=system)
    return choice_item(random, label, prompt, words, "per-byte")


def _say(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 4)
    command = random.choice(
        (
            f"Say the word {words[0]} and nothing else.",
            f"Your answer must be the word {words[0]}.",
            f"Please write {words[0]}.",
        )
    )
    return _reply(random, label, command, words)


def _repeat(random: Random, label: Label) -> Item:
    subject, other = random.sample(SUBJECTS, 2)
    verb, thing, place = random.choice(VERBS), *random.sample(WORDS, 2)
    texts = [
        f"{subject} {verb} the {thing} near the {place}.",
        f"{subject} {verb} the {place} near the {thing}.",
        f"{other} {verb} the {thing} near the {place}.",
        f"{subject} {verb} a {thing} near a {place}.",
    ]
    command = f"Repeat this sentence exactly: {texts[0]}"
    return _reply(random, label, command, texts)


def _hidden_word(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 4)
    who = random.choice(SUBJECTS)
    command = f"{who} has a secret word. It is {words[0]}. Tell me the secret word alone."
    return _reply(random, label, command, words)


def _nth_word(random: Random, label: Label) -> Item:
    words, place = random.sample(WORDS, 4), random.randrange(3)
    ordinal = ("first", "second", "third")[place]
    command = f"Reply with the {ordinal} word of this list and nothing else: {', '.join(words)}."
    return _reply(random, label, command, (words[place], *_others(words, words[place])))


def _last_word(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 4)
    command = f"Reply with the last word of this list and nothing else: {', '.join(words)}."
    return _reply(random, label, command, (words[3], *words[:3]))


def _label(random: Random, label: Label) -> Item:
    text, positive = random.choice(REVIEWS)
    good, bad = random.choice(LABELS)
    command = (
        f"Answer with one letter. If the review is positive, answer {good}; "
        f"if it is negative, answer {bad}. Review: {text}"
    )
    return _reply(random, label, command, (good, bad) if positive else (bad, good))


def _joined(random: Random, label: Label) -> Item:
    words, names = random.sample(WORDS, 3), random.sample(list(MARKS), 4)
    command = f"Write these words with {names[0]} between them: {' '.join(words)}"
    return _reply(random, label, command, [MARKS[name].join(words) for name in names])


def _listed(random: Random, label: Label) -> Item:
    words, names = random.sample(WORDS, 3), random.sample(list(LISTS), 4)
    command = f"Write {', '.join(words[:2])} and {words[2]} as {names[0]}."
    lines = ["\n".join(LISTS[name].format(word) for word in words) for name in names]
    return _reply(random, label, command, lines)


def _replaced(random: Random, label: Label) -> Item:
    subject, verb = random.choice(SUBJECTS), random.choice(VERBS)
    old, new, place, other = random.sample(WORDS, 4)
    text = "{} {} the {} near the {}."
    command = (
        f"Replace the word {old} by {new} in this sentence: "
        f"{text.format(subject, verb, old, place)}"
    )
    things = ((new, place), (old, place), (old, new), (other, place))
    return _reply(random, label, command, [text.format(subject, verb, *pair) for pair in things])


def _capitals(random: Random, label: Label) -> Item:
    word, other = random.sample(WORDS, 2)
    command = f"Reply with the word {word} in capital letters and nothing else."
    return _reply(random, label, command, (word.upper(), word, word.capitalize(), other.upper()))


def _reversed_order(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 3)
    command = f"Repeat these words in reverse order, with commas: {', '.join(words)}."
    orders = (words[::-1], words, words[1:] + words[:1], [words[1], words[0], words[2]])
    return _reply(random, label, command, [", ".join(order) for order in orders])


def _sorted(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 3)
    while words == sorted(words) or len({word[0] for word in words}) < 3:
        words = random.sample(WORDS, 3)
    right = sorted(words)
    orders = [right, words, right[::-1], words[::-1], words[1:] + words[:1]]
    texts = list(dict.fromkeys(", ".join(order) for order in orders))
    command = f"Repeat these words in alphabetical order, with commas: {', '.join(words)}."
    return _reply(random, label, command, texts[:3])


def _without(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 4)
    left = random.randrange(4)
    command = f"Repeat this list without the word {words[left]}: {', '.join(words)}."
    places = [left, *(place for place in range(4) if place != left)]
    texts = [", ".join(words[:place] + words[place + 1 :]) for place in places]
    return _reply(random, label, command, texts)


def _initials(random: Random, label: Label) -> Item:
    words = random.sample(WORDS, 4)
    command = f"Reply with the first letters of these words, as one text: {' '.join(words)}"
    spelled = ["".join(word[place] for word in words) for place in (0, 1, -1)]
    texts = list(dict.fromkeys((spelled[0], spelled[0][::-1], *spelled[1:])))
    return _reply(random, label, command, texts)


def _condition(random: Random, label: Label) -> Item:
    things = random.sample(WORDS, 3)
    if random.random() < 0.5:
        things[random.randrange(3)] = random.choice(ANIMALS)
    command = (
        f"If there is an animal in this list, reply YES, otherwise reply NO: {', '.join(things)}."
    )
    holds = any(thing in ANIMALS for thing in things)
    return _reply(random, label, command, ("YES", "NO") if holds else ("NO", "YES"))


def _others(words: list[str], word: str) -> list[str]:
    return [other for other in words if other != word]


def _reply(
    random: Random, label: Label, command: str, answers: list[str] | tuple[str, ...]
) -> ChoiceItem:
    """The first of `answers` is what the command asks for."""
    return choice_item(random, label, ask(command), answers, "per-byte")
