"""Garbage is found, and a whole small model is left alone (R102, R103)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.coherence import (
    PROMPTS,
    answer_fixed_prompts,
    check_coherence,
    garbage_mark,
    loop_share,
)
from edgecomp.evaluate.divergence import summarise
from edgecomp.models.chat_template import read_chat_template
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Completion, DivergenceSamples, find_runtime


def completion(text: str, tokens: tuple[int, ...] | None = None, ended: bool = True) -> Completion:
    return Completion(
        tokens=tuple(range(len(text))) if tokens is None else tokens, text=text, ended=ended
    )


FINE = completion("A bridge lets people walk over a river.")
LOOP = completion("the the the", tokens=(7,) * 40)


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        (FINE, None),
        (completion("", tokens=()), "empty"),
        (completion(" \n ", tokens=(1, 2)), "empty"),
        (completion("!!!! ... ??"), "broken text"),
        (completion("A b\ufffdidge \ufffd\ufffd of st\ufffdne"), "broken text"),
        (completion("A café cut in two \ufffd", ended=False), None),
        (completion(' ---3-d., ---"-- and-d-Gif-S-D- andW"D and-Pd'), "broken text"),
        (completion("1. **Banana** - sweet\n2. **Lime** - sour\n3. **Plum** - both"), None),
        (LOOP, "repetition"),
        (completion("x", tokens=(1, 2, 3, 4, 5) * 8), "repetition"),
        (completion("Ein Brücke führt über Größe", tokens=(1, 2, 3, 4) * 2), None),
        (completion("A bridge это мост через реку и дорогу"), "language drift"),
    ],
)
def test_r102_each_mark_of_garbage_is_recognised(answer: Completion, mark: str | None) -> None:
    assert garbage_mark(answer) == mark


def test_a_list_with_a_common_pattern_is_no_loop() -> None:
    tokens = tuple(value for i in range(16) for value in (100, i, 101))
    assert loop_share(tokens) == 0.0


def test_one_stumble_is_allowed_and_three_are_not() -> None:
    fine = [FINE] * len(PROMPTS)
    assert check_coherence([LOOP, *fine[1:]]).coherent
    ruined = check_coherence([LOOP, LOOP, LOOP, *fine[3:]])
    assert not ruined.coherent
    assert {row.mark for row in ruined.findings} == {"repetition"}


def test_r103_the_remedy_is_eight_bits_or_thirty_percent() -> None:
    remedy = check_coherence([LOOP] * len(PROMPTS)).remedy
    assert remedy is not None and "8-bit" in remedy and "30 %" in remedy


def test_what_the_base_does_as_well_is_not_the_artifact_s_fault() -> None:
    looping = [LOOP] * len(PROMPTS)
    assert check_coherence(looping, base=looping).coherent


def test_r102_blown_up_perplexity_is_garbage_whatever_the_text_looks_like() -> None:
    divergence = summarise(
        DivergenceSamples(
            kl=((1.0, 1.0),),
            agree=((0.0, 1.0),),
            base_nll=((2.0, 2.0),),
            artifact_nll=((4.0, 4.0),),
        )
    )
    verdict = check_coherence([FINE] * len(PROMPTS), divergence=divergence)
    assert not verdict.coherent
    assert [row.mark for row in verdict.findings] == ["perplexity"]


@pytest.mark.demo
def test_the_demo_model_is_coherent(demo_gguf: Path) -> None:
    settings = RunSettings(context=2048, threads=1, sequences=8, outputs=64)
    template = read_chat_template(demo_gguf)
    answers = answer_fixed_prompts(
        AskedModel(
            runtime=find_runtime("llama.cpp"),
            artifact=demo_gguf,
            settings=settings,
            template=template,
        )
    )
    assert check_coherence(answers).coherent
