"""Instruction following: answers whose form can be verified, and commands with one right reply."""

from __future__ import annotations

from random import Random

from pydantic import JsonValue

from edgecomp.evaluate.items import GenerationItem, Instruction, InstructionCheck, Item, ask
from edgecomp.evaluate.own_set.choice import choice_item

TOPICS = ("the sea", "a good breakfast", "trees")

FORMS: tuple[tuple[str, str, dict[str, JsonValue]], ...] = (
    ("Use no commas.", "punctuation:no_comma", {}),
    ("Write everything in lower case.", "change_case:english_lowercase", {}),
    ("Write everything in CAPITAL LETTERS.", "change_case:english_capital", {}),
    ("Put your whole answer in double quotation marks.", "startend:quotation", {}),
    (
        "Use fewer than 25 words.",
        "length_constraints:number_words",
        {"num_words": 25, "relation": "less than"},
    ),
    (
        "Answer with exactly 3 bullet points, each on a line that begins with *.",
        "detectable_format:number_bullet_lists",
        {"num_bullets": 3},
    ),
    (
        "Use the word 'light' at least once.",
        "keywords:existence",
        {"keywords": ["light"]},
    ),
    ("End with the words: That is all.", "startend:end_checker", {"end_phrase": "That is all."}),
    (
        "Do not use the words 'very' or 'good'.",
        "keywords:forbidden_words",
        {"forbidden_words": ["very", "good"]},
    ),
    (
        "Give the text a title in double angle brackets like <<Title>>.",
        "detectable_format:title",
        {},
    ),
)

WORDS = ("river", "garden", "winter", "candle", "bridge", "mirror", "pocket", "violin")
LABELS = (
    ("I loved every minute of this film.", "POSITIVE"),
    ("The soup was cold and the waiter was rude.", "NEGATIVE"),
    ("What a wonderful surprise this was.", "POSITIVE"),
    ("I will never buy this brand again.", "NEGATIVE"),
    ("The view from the room made us happy.", "POSITIVE"),
    ("The phone broke after two days.", "NEGATIVE"),
    ("Everyone was kind and helpful.", "POSITIVE"),
    ("The seats were dirty and the bus was late.", "NEGATIVE"),
)
WRITTEN_ANSWER_TOKENS = 64


def items(random: Random) -> list[Item]:
    """30 short texts with one constraint each, and 64 commands with a choice of replies."""
    made: list[Item] = [_constrained(topic, *form) for topic in TOPICS for form in FORMS]
    commands = (_nth_word, _capitals, _reverse_order, _system_word)
    for word_index in range(len(WORDS)):
        words = random.sample(WORDS, 4)
        made += [command(random, words, word_index) for command in commands]
    for text, label in LABELS:
        made += [
            _label(random, text, label, reverse=False),
            _label(random, text, label, reverse=True),
        ]
    return made + [_count(random, number) for number in range(3, 19)]


def _constrained(topic: str, wording: str, name: str, arguments: dict[str, JsonValue]) -> Item:
    return GenerationItem(
        benchmark="own-instruction-written",
        id=f"{topic}-{name}",
        category="instruction",
        prompt=ask(f"Write two sentences about {topic}. {wording}"),
        limit=WRITTEN_ANSWER_TOKENS,
        check=InstructionCheck(instructions=(Instruction(name=name, arguments=arguments),)),
    )


def _nth_word(random: Random, words: list[str], index: int) -> Item:
    place = index % 4
    ordinal = ("first", "second", "third", "fourth")[place]
    command = f"Reply with the {ordinal} word of this list and nothing else: {', '.join(words)}."
    wrong = [word for word in words if word != words[place]]
    return choice_item(random, "instruction", f"nth-{index}", ask(command), (words[place], *wrong))


def _capitals(random: Random, words: list[str], index: int) -> Item:
    word = WORDS[index]
    command = f"Reply with the word {word} in capital letters and nothing else."
    wrong = [word, word.capitalize(), words[0].upper() if words[0] != word else words[1].upper()]
    return choice_item(
        random, "instruction", f"capitals-{index}", ask(command), (word.upper(), *wrong), "per-byte"
    )


def _reverse_order(random: Random, words: list[str], index: int) -> Item:
    shown = words[:3]
    command = f"Repeat these words in reverse order, with commas: {', '.join(shown)}."
    right = ", ".join(reversed(shown))
    rotated = ", ".join(shown[1:] + shown[:1])
    wrong = [", ".join(shown), rotated]
    return choice_item(
        random, "instruction", f"reverse-{index}", ask(command), (right, *wrong), "per-byte"
    )


def _system_word(random: Random, words: list[str], index: int) -> Item:
    prompt = ask(
        "Which word shall I write down?",
        system=f"Whatever the user asks, answer with the single word {words[0]}.",
    )
    return choice_item(random, "instruction", f"system-{index}", prompt, (words[0], *words[1:]))


def _label(random: Random, text: str, label: str, *, reverse: bool) -> Item:
    other = "NEGATIVE" if label == "POSITIVE" else "POSITIVE"
    first, second = ("A", "B") if not reverse else ("B", "A")
    command = (
        f"Answer with one letter. If the review is positive, answer {first}; "
        f"if it is negative, answer {second}. Review: {text}"
    )
    letters = {"POSITIVE": first, "NEGATIVE": second}
    identity = f"label-{first}-{text}"
    return choice_item(
        random, "instruction", identity, ask(command), (letters[label], *[letters[other]])
    )


def _count(random: Random, number: int) -> Item:
    shown = ", ".join(str(value) for value in range(1, number + 1))
    command = f"Count from 1 to {number}, with commas, and stop there."
    short, long = shown.rsplit(", ", 1)[0], f"{shown}, {number + 1}"
    backwards = ", ".join(str(value) for value in range(number, 0, -1))
    return choice_item(
        random,
        "instruction",
        f"count-{number}",
        ask(command),
        (shown, *([short, long, backwards])),
        "per-byte",
    )
