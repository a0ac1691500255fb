"""IFEval's 25 verifiable instructions (Zhou et al. 2023, arXiv 2311.07911), one function each.

They judge as `instruction_following_eval/instructions.py` of google-research does, in its strict
mode; sentences are split by a rule of our own, since NLTK's model is a download.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from edgecomp.evaluate.items import Instruction

Arguments = dict[str, Any]
SENTENCE_END = re.compile(r"[.!?。！？]+[\"')\]”’]*(?:\s+|$)|[。！？]+")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|e\.g|i\.e|[ap]\.m|[A-Z])\.$")
WORD = re.compile(r"\w+")
CONSTRAINED_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def follows(instruction: Instruction, text: str) -> bool:
    """True where `text` obeys; an empty text obeys nothing. Raises KeyError for no known name."""
    check = CHECKS[instruction.name]
    return bool(text.strip()) and check(text, dict(instruction.arguments))


def missing_arguments(instruction: Instruction) -> list[str]:
    """Arguments that the instruction needs and does not have."""
    return [
        name for name in NEEDED.get(instruction.name, ()) if instruction.arguments.get(name) is None
    ]


def detected_language(text: str) -> str | None:
    """The ISO code of the language `text` is in, or None where it shows no language."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return str(detect(text))
    except LangDetectException:
        return None


def sentences(text: str) -> list[str]:
    """The sentences of `text`, split after end marks; abbreviations and initials do not end one."""
    found: list[str] = []
    start = 0
    for mark in SENTENCE_END.finditer(text):
        if ABBREVIATION.search(text[start : mark.end()].rstrip()):
            continue
        found.append(text[start : mark.end()].strip())
        start = mark.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if WORD.search(sentence)]


def _related(count: int, relation: object, target: Any) -> bool:
    wanted = int(target)
    return count < wanted if relation == "less than" else count >= wanted


def _existence(text: str, given: Arguments) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in given["keywords"])


def _frequency(text: str, given: Arguments) -> bool:
    found = re.findall(re.escape(given["keyword"]), text, re.IGNORECASE)
    return _related(len(found), given["relation"], given["frequency"])


def _forbidden(text: str, given: Arguments) -> bool:
    return not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
        for word in given["forbidden_words"]
    )


def _letter_frequency(text: str, given: Arguments) -> bool:
    count = text.lower().count(given["letter"].lower())
    return _related(count, given["let_relation"], given["let_frequency"])


def _response_language(text: str, given: Arguments) -> bool:
    # A text that shows no language counts as following, as upstream has it.
    return detected_language(text) in (None, given["language"])


def _number_sentences(text: str, given: Arguments) -> bool:
    return _related(len(sentences(text)), given["relation"], given["num_sentences"])


def _number_words(text: str, given: Arguments) -> bool:
    return _related(len(WORD.findall(text)), given["relation"], given["num_words"])


def _number_paragraphs(text: str, given: Arguments) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if not all(parts[1:-1]):
        return False
    return sum(bool(part) for part in parts) == int(given["num_paragraphs"])


def _nth_paragraph_first_word(text: str, given: Arguments) -> bool:
    paragraphs = re.split(r"\n\n", text)
    nth: int = given["nth_paragraph"]
    filled = sum(bool(part.strip()) for part in paragraphs)
    if filled != int(given["num_paragraphs"]) or nth > filled:
        return False
    words = paragraphs[nth - 1].split()
    if not words:
        return False
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'\""))[0]
    return first.lower() == str(given["first_word"]).lower()


def _placeholders(text: str, given: Arguments) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= int(given["num_placeholders"])


def _postscript(text: str, given: Arguments) -> bool:
    marker: str = given["postscript_marker"]
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(re.search(known.get(marker, re.escape(marker.lower())), text.lower()))


def _bullets(text: str, given: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == int(given["num_bullets"])


def _constrained(text: str, given: Arguments) -> bool:
    return any(answer in text for answer in CONSTRAINED_ANSWERS)


def _highlights(text: str, given: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n\*]*\*", text) if part.strip("*").strip()]
    double = [
        part
        for part in re.findall(r"\*\*[^\n\*]*\*\*", text)
        if part.removeprefix("**").removesuffix("**").strip()
    ]
    return len(single) + len(double) >= int(given["num_highlights"])


def _sections(text: str, given: Arguments) -> bool:
    # "spliter" is the data set's own spelling.
    mark = re.escape(given["section_spliter"])
    return len(re.split(rf"\s?{mark}\s?\d+\s?", text)) - 1 >= int(given["num_sections"])


def _json_format(text: str, given: Arguments) -> bool:
    body = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _title(text: str, given: Arguments) -> bool:
    return any(title.strip("<> ") for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, given: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    if not all(parts[1:-1]):
        return False
    responses = [part for part in parts if part]
    return len(responses) == 2 and responses[0] != responses[1]


def _repeat_prompt(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(str(given["prompt_to_repeat"]).strip().lower())


def _end(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(str(given["end_phrase"]).strip().lower())


def _quotation(text: str, given: Arguments) -> bool:
    body = text.strip()
    return len(body) > 1 and body.startswith('"') and body.endswith('"')


def _capital_words(text: str, given: Arguments) -> bool:
    count = sum(word.isupper() for word in re.findall(r"[\w'-]+", text))
    return _related(count, given["capital_relation"], given["capital_frequency"])


def _capital(text: str, given: Arguments) -> bool:
    return text.isupper() and detected_language(text) in (None, "en")


def _lowercase(text: str, given: Arguments) -> bool:
    return text.islower() and detected_language(text) in (None, "en")


def _no_comma(text: str, given: Arguments) -> bool:
    return "," not in text


CHECKS: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _response_language,
    "length_constraints:number_sentences": _number_sentences,
    "length_constraints:number_words": _number_words,
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json_format,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _capital,
    "change_case:english_lowercase": _lowercase,
    "punctuation:no_comma": _no_comma,
}

NEEDED: dict[str, tuple[str, ...]] = {
    "keywords:existence": ("keywords",),
    "keywords:frequency": ("keyword", "relation", "frequency"),
    "keywords:forbidden_words": ("forbidden_words",),
    "keywords:letter_frequency": ("letter", "let_relation", "let_frequency"),
    "language:response_language": ("language",),
    "length_constraints:number_sentences": ("relation", "num_sentences"),
    "length_constraints:number_words": ("relation", "num_words"),
    "length_constraints:number_paragraphs": ("num_paragraphs",),
    "length_constraints:nth_paragraph_first_word": (
        "nth_paragraph", "num_paragraphs", "first_word",
    ),
    "detectable_content:number_placeholders": ("num_placeholders",),
    "detectable_content:postscript": ("postscript_marker",),
    "detectable_format:number_bullet_lists": ("num_bullets",),
    "detectable_format:number_highlighted_sections": ("num_highlights",),
    "detectable_format:multiple_sections": ("section_spliter", "num_sections"),
    "combination:repeat_prompt": ("prompt_to_repeat",),
    "startend:end_checker": ("end_phrase",),
    "change_case:capital_word_frequency": ("capital_relation", "capital_frequency"),
}  # fmt: skip
