"""Greedy answers one at a time and together, in both runtimes, in one run.

    python benchmarks/answers_together.py DATA [ITEMS]

The demo model answers GSM8K questions, chat-templated, then the same questions as plain text after
eight others with their answers. DATA is the evaluation data.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.benchmarks import BENCHMARKS
from edgecomp.evaluate.datasets import read_benchmark
from edgecomp.evaluate.evaluate import render
from edgecomp.evaluate.items import GenerationItem, Item, NumberCheck
from edgecomp.formats.exporting import find_exporter, find_onnx_exporter
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.reading import demo_model_path, read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime as llama_cpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.onnx import runtime as onnx
from edgecomp.runtimes.protocol import Runtime

DEFAULT_ITEMS, EXAMPLES, ANSWER_TOKENS, TOGETHER = 32, 8, 160, 32
STOPS = ("Question:",)


def main() -> None:
    """Print a line for each runtime and kind of prompt."""
    data = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else DEFAULT_ITEMS
    items = read_benchmark(BENCHMARKS["gsm8k"], data, limit=EXAMPLES + count)
    with tempfile.TemporaryDirectory(prefix="edgecomp-answers-") as scratch:
        folder = Path(scratch)
        source = read_model(demo_model_path())
        find_exporter("gguf").export(source, folder / "base.gguf", "F16")
        llama_cpp.quantize(
            folder / "base.gguf",
            folder / "demo.gguf",
            Types(preset="Q8_0"),
            threads=physical_cores(),
        )
        find_onnx_exporter().export_format(source, folder / "onnx", "onnx-int4-32")
        template = read_chat_template(folder / "demo.gguf")
        plain = [render(item.prompt, template) for item in items[EXAMPLES:]]
        examples = "".join(map(example, items[:EXAMPLES]))
        shots = [f"{examples}Question: {text(item)}\nAnswer:" for item in items[EXAMPLES:]]
        for runtime, file in ((llama_cpp, "demo.gguf"), (onnx, "onnx")):
            for title, prompts in (("no examples", plain), (f"{EXAMPLES} examples", shots)):
                print(f"{runtime.name}, {len(prompts)} questions, {title}")
                compare(runtime, folder / file, prompts)


def text(item: Item) -> str:
    return item.prompt[-1].content


def example(item: Item) -> str:
    assert isinstance(item, GenerationItem) and isinstance(item.check, NumberCheck)
    return f"Question: {text(item)}\nAnswer: It is {item.check.answer}.\n\n"


def compare(runtime: Runtime, file: Path, prompts: Sequence[str]) -> None:
    """Print the seconds of all answers: one at a time, together, and together to their stops."""
    alone = RunSettings(context=8192, outputs=64, threads=physical_cores())
    together = alone.model_copy(update={"sequences": TOGETHER})
    limits = [ANSWER_TOKENS] * len(prompts)
    for title, settings, stops in (
        ("one at a time", alone, ()),
        ("together", together, ()),
        ("together, to a stop", together, STOPS),
    ):
        began = time.perf_counter()
        answers = runtime.complete(file, settings, prompts, limits, stops=[stops] * len(prompts))
        seconds = time.perf_counter() - began
        tokens = sum(len(answer.tokens) for answer in answers)
        print(f"  {title:20} {seconds:6.1f} s, {tokens} tokens")


if __name__ == "__main__":
    main()
