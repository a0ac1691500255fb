"""Read public benchmarks from JSONL files in their publishers' own shape.

One reader a benchmark turns one row into one item, or none where the row belongs to another
benchmark of the same file. A row that lacks what its reader needs is an error that names file, line
and field; nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from pydantic import ValidationError

from edgecomp.common.errors import DataMalformed, DataMissing, shown
from edgecomp.common.jsonl_rows import Fault, Row, read_rows
from edgecomp.common.validation_text import format_validation_error
from edgecomp.evaluate.benchmarks import BENCHMARKS, Benchmark
from edgecomp.evaluate.instruction_checks import CHECKS, missing_arguments
from edgecomp.evaluate.items import (
    BiasFacts,
    ChoiceItem,
    CodeCheck,
    GenerationItem,
    Instruction,
    InstructionCheck,
    Item,
    NumberCheck,
    RefusalCheck,
    ask,
)
from edgecomp.evaluate.number_answer import final_number

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SOLUTION_TOKENS = 320
RESPONSE_TOKENS = 512
REFUSAL_TOKENS = 64
FUNCTION_TOKENS = 384

XCOPA_CONNECTORS = {
    "en": ("because", "therefore"),
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
"""Words for a cause and for an effect, as in lm-eval's xcopa task."""


Reader = Callable[[Row, Random], Item | None]


def read_benchmark(
    benchmark: Benchmark, folder: Path, *, limit: int | None = None, seed: int = 0
) -> tuple[Item, ...]:
    """The items of `benchmark` from its file in `folder`: a random `limit` of them, in file order.

    Raises DataMissing where the benchmark has no file or the file is not there, DataMalformed.
    """
    if benchmark.file is None or benchmark.name not in READERS:
        raise DataMissing(
            f"{benchmark.name} is not read from a file; run it through lm-eval as "
            f"{benchmark.lm_eval_task or 'no task yet'} (data: {benchmark.source})."
        )
    path = folder / benchmark.file
    if not path.is_file():
        raise DataMissing(
            f"{benchmark.name} needs {path}, which is not there. Get the data from "
            f"{benchmark.source} ({benchmark.licence}) and save it as JSON lines."
        )
    random = Random(seed)
    items: list[Item] = []
    for row in read_rows(path):
        try:
            item = READERS[benchmark.name](row, random)
        except Fault as fault:
            raise DataMalformed(path, row.line, str(fault).rstrip(".")) from fault
        except ValidationError as error:
            raise DataMalformed(
                path, row.line, format_validation_error(error.errors()[0])
            ) from error
        if item is not None:
            items.append(item)
    if limit is not None and limit < len(items):
        chosen = sorted(Random(seed).sample(range(len(items)), limit))
        items = [items[index] for index in chosen]
    return tuple(items)


def available(folder: Path) -> tuple[Benchmark, ...]:
    """The benchmarks whose file lies in `folder`."""
    return tuple(
        row
        for row in BENCHMARKS.values()
        if row.name in READERS and row.file is not None and (folder / row.file).is_file()
    )


def _mmlu(row: Row, random: Random) -> Item:
    choices = row.texts("choices", 2)
    if len(choices) > len(LETTERS):
        raise Fault(f"{len(choices)} choices are more than there are letters.")
    subject = row.text("subject").replace("_", " ")
    listed = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)
    )
    return ChoiceItem(
        benchmark="mmlu",
        id=str(row.line),
        category="knowledge",
        prompt=(
            f"The following is a multiple choice question (with an answer) about {subject}.\n\n"
            f"{row.text('question').strip()}\n{listed}\nAnswer:"
        ),
        choices=tuple(f" {letter}" for letter in LETTERS[: len(choices)]),
        answer=row.whole("answer", len(choices)),
    )


def _solution(benchmark: str, row: Row, answer: str, question: str, instruction: str) -> Item:
    return GenerationItem(
        benchmark=benchmark,
        id=str(row.line),
        category=BENCHMARKS[benchmark].category,
        prompt=ask(f"{question}\n\n{instruction}"),
        limit=SOLUTION_TOKENS,
        check=NumberCheck(answer=answer),
    )


def _gsm8k(row: Row, random: Random) -> Item:
    solution = row.text("answer")
    if "####" not in solution or final_number(solution) is None:
        raise Fault("the field 'answer' does not end in #### and a number.")
    instruction = "Think step by step, then write the final number after ####."
    answer = solution.rsplit("####", 1)[1].strip()
    return _solution("gsm8k", row, answer, row.text("question"), instruction)


def _mgsm(row: Row, random: Random) -> Item:
    answer = row.text("answer")
    if final_number(answer) is None:
        raise Fault(f"the field 'answer' holds no number: {shown(answer)}.")
    instruction = (
        "Solve this step by step in the same language, then write the final number after ####."
    )
    return _solution("mgsm", row, answer, row.text("question"), instruction)


def _xcopa(row: Row, random: Random) -> Item:
    language = row.one_of("language", tuple(XCOPA_CONNECTORS))
    kind = row.one_of("question", ("cause", "effect"))
    connector = XCOPA_CONNECTORS[language][kind == "effect"]
    premise = row.text("premise").strip().rstrip(".。")
    gap = "" if language in ("zh", "th") else " "
    choices = tuple(gap + _lower_first(row.text(name).strip()) for name in ("choice1", "choice2"))
    return ChoiceItem(
        benchmark="xcopa",
        id=f"{language}-{row.line}",
        category="multilingual",
        prompt=f"{premise}{gap}{connector}",
        choices=choices,
        answer=row.whole("label", 2),
    )


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]


def _ifeval(row: Row, random: Random) -> Item:
    names = row.texts("instruction_id_list", 1)
    given = row.fields.get("kwargs")
    if not isinstance(given, list) or len(given) != len(names):
        raise Fault("the field 'kwargs' must be a list with one entry per instruction.")
    instructions = []
    for name, arguments in zip(names, given, strict=True):
        if name not in CHECKS:
            raise Fault(f"the instruction {shown(name)} is not known.")
        if not isinstance(arguments, dict | None):
            raise Fault(f"the arguments of {name} are {shown(arguments)}.")
        kept = {key: value for key, value in (arguments or {}).items() if value is not None}
        instruction = Instruction(name=name, arguments=kept)
        lacking = missing_arguments(instruction)
        if lacking:
            raise Fault(f"the instruction {name} lacks {', '.join(lacking)}.")
        instructions.append(instruction)
    return GenerationItem(
        benchmark="ifeval",
        id=str(row.line),
        category="instruction",
        prompt=ask(row.text("prompt")),
        limit=RESPONSE_TOKENS,
        check=InstructionCheck(instructions=tuple(instructions)),
    )


def _humaneval(row: Row, random: Random) -> Item:
    prompt = row.text("prompt")
    return GenerationItem(
        benchmark="humaneval",
        id=row.text("task_id"),
        category="code",
        prompt=prompt,
        limit=FUNCTION_TOKENS,
        check=CodeCheck(prompt=prompt, test=row.text("test"), entry_point=row.text("entry_point")),
    )


def _truthfulqa_mc1(row: Row, random: Random) -> Item:
    return _truthfulqa("truthfulqa-mc1", row, random, [row.text("best_answer")])


def _truthfulqa_mc2(row: Row, random: Random) -> Item:
    return _truthfulqa("truthfulqa-mc2", row, random, row.texts("correct_answers", 1))


def _truthfulqa(benchmark: str, row: Row, random: Random, right: list[str]) -> Item:
    true = list(dict.fromkeys(text.strip() for text in right))
    false = dict.fromkeys(text.strip() for text in row.texts("incorrect_answers", 1))
    choices = true + [text for text in false if text not in true]
    random.shuffle(choices)
    places = [choices.index(text) for text in true]
    return ChoiceItem(
        benchmark=benchmark,
        id=str(row.line),
        category="truthfulness",
        prompt=f"Q: {row.text('question').strip()}\nA:",
        choices=tuple(f" {text}" for text in choices),
        answer=places[0],
        also_right=tuple(places[1:]),
        scoring="mass" if benchmark.endswith("mc2") else "sum",
    )


def _bbq(row: Row, random: Random) -> Item:
    condition = row.one_of("context_condition", ("ambig", "disambig"))
    polarity = row.one_of("question_polarity", ("neg", "nonneg"))
    answers = [row.text(f"ans{index}") for index in range(3)]
    unknown, target = _bbq_places(row)
    other = 3 - unknown - target
    return ChoiceItem(
        benchmark="bbq",
        id=f"{row.text('category')}-{row.line}",
        category="bias",
        prompt=f"{row.text('context').strip()}\nQuestion: {row.text('question').strip()}\nAnswer:",
        choices=tuple(f" {answer}" for answer in answers),
        answer=row.whole("label", 3),
        scoring="per-byte",
        bias=BiasFacts(
            context="ambiguous" if condition == "ambig" else "disambiguated",
            unknown=unknown,
            biased=target if polarity == "neg" else other,
        ),
    )


def _bbq_places(row: Row) -> tuple[int, int]:
    """The choices that say "unknown" and that name the stereotyped group.

    A choice is matched with the row's `stereotyped_groups` by its group tag first, and by its words
    where the tag is coarser (nationalities are tagged by region). Tags are written with and
    without capitals in the data.
    """
    information = row.fields.get("answer_info")
    metadata = row.fields.get("additional_metadata")
    try:
        marks = [[str(part).lower() for part in information[f"ans{i}"]] for i in range(3)]  # type: ignore[index]
        groups = [str(group).lower() for group in metadata["stereotyped_groups"]]  # type: ignore[index]
    except (KeyError, TypeError) as error:
        raise Fault("'answer_info' or 'stereotyped_groups' has not BBQ's shape.") from error
    unknown = [index for index, mark in enumerate(marks) if mark[-1] == "unknown"]
    if len(unknown) != 1:
        raise Fault("'answer_info' must mark exactly one answer as unknown.")
    people = [index for index in range(3) if index != unknown[0]]
    by_tag = [index for index in people if marks[index][-1] in groups]
    if len(by_tag) == 1:
        return unknown[0], by_tag[0]
    by_word = [
        index
        for index in people
        if any(group in f"{marks[index][0]} {row.text(f'ans{index}').lower()}" for group in groups)
    ]
    if len(by_word) != 1:
        raise Fault("the stereotyped group is not exactly one of the answers.")
    return unknown[0], by_word[0]


def _xstest(row: Row, wanted: str) -> Item | None:
    if row.one_of("label", ("safe", "unsafe")) != wanted:
        return None
    name = f"xstest-{wanted}"
    return GenerationItem(
        benchmark=name,
        id=row.text("id"),
        category=BENCHMARKS[name].category,
        prompt=ask(row.text("prompt")),
        limit=REFUSAL_TOKENS,
        check=RefusalCheck(refuse=wanted == "unsafe"),
    )


def _xstest_unsafe(row: Row, random: Random) -> Item | None:
    return _xstest(row, "unsafe")


def _xstest_safe(row: Row, random: Random) -> Item | None:
    return _xstest(row, "safe")


READERS: dict[str, Reader] = {
    "mmlu": _mmlu,
    "gsm8k": _gsm8k,
    "mgsm": _mgsm,
    "xcopa": _xcopa,
    "ifeval": _ifeval,
    "humaneval": _humaneval,
    "truthfulqa-mc1": _truthfulqa_mc1,
    "truthfulqa-mc2": _truthfulqa_mc2,
    "bbq": _bbq,
    "xstest-unsafe": _xstest_unsafe,
    "xstest-safe": _xstest_safe,
}
