"""Calibration mixes: what they hold, where they are refused, and that they repeat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.calibration.calibration import calibration_texts, make_calibration, pack
from edgecomp.calibration.training_text import make_training_rows
from edgecomp.common.errors import CalibrationRefused, DataMalformed, DataMissing, RecipeInvalid
from edgecomp.common.tasks import TASKS, Task
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.recipes.calibration_mix import (
    FEWEST_SAMPLES,
    MIXES,
    MOST_SAMPLES,
    CalibrationMix,
    check_mix,
    preset_mix,
    read_mix,
)
from edgecomp.runtimes.llama_cpp import runtime

PLAIN = ChatTemplate(source=None)
GENERIC = CalibrationMix(samples={"text": 128})


@pytest.mark.parametrize("task", TASKS)
def test_r31_every_preset_has_128_to_512_samples_that_match_its_task(task: Task) -> None:
    mix = preset_mix(task)
    assert FEWEST_SAMPLES <= mix.total <= MOST_SAMPLES
    assert check_mix(mix, task) == ()


@pytest.mark.parametrize("task", ["code", "reasoning"])
def test_r35_generic_text_alone_is_refused_for_code_and_reasoning(task: Task) -> None:
    with pytest.raises(CalibrationRefused, match=f"matches the task {task}"):
        check_mix(GENERIC, task)
    assert check_mix(GENERIC, task, override=True)


def test_r21_generic_text_for_another_task_is_warned_about() -> None:
    (warning,) = check_mix(GENERIC, "instruction")
    assert "Add instructions" in warning


def test_too_few_samples_are_warned_about() -> None:
    """R31."""
    (warning,) = check_mix(CalibrationMix(samples={"math": 5}), "reasoning")
    assert "5 calibration samples are outside" in warning


@pytest.mark.parametrize("task", TASKS)
def test_own_texts_fill_every_preset_and_are_always_the_same(task: Task) -> None:
    texts, origins = calibration_texts(preset_mix(task), PLAIN, None)
    assert len(texts) == preset_mix(task).total
    assert set(origins.values()) == {"ships with edgecomp"}
    assert texts == calibration_texts(preset_mix(task), PLAIN, None)[0]
    assert texts != calibration_texts(preset_mix(task, seed=1), PLAIN, None)[0]


def test_a_data_folders_files_are_used_where_it_has_them(data_folder: Path) -> None:
    texts, origins = calibration_texts(preset_mix("general"), PLAIN, data_folder)
    assert origins == {
        "math": "calib_gsm8k.jsonl",
        "instructions": "calib_instructions.jsonl",
        "text": "calib_wikitext.txt",
    }
    assert all(texts)


def test_r32_math_samples_show_the_reasoning_before_the_answer(data_folder: Path) -> None:
    mix = CalibrationMix(samples={"math": 16})
    for folder in (None, data_folder):
        texts, _ = calibration_texts(mix, PLAIN, folder)
        assert all("=" in text for text in texts)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2"),
        ('{"question": ' + 5000 * "1" + "}", "line 2"),
        ('{"instruction": "x", "instances": ["y"]}', "line 2"),
        ('{"question": "x"}', "line 2"),
        ("[]", "line 2"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "calib_gsm8k.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n' + row + "\n")
    with pytest.raises(DataMalformed, match=said) as caught:
        calibration_texts(CalibrationMix(samples={"math": 2}), PLAIN, tmp_path)
    assert "calib_gsm8k.jsonl" in str(caught.value)


def test_a_row_that_is_no_text_is_named_by_file_and_line(tmp_path: Path) -> None:
    row = b'{"question": "1+1?", "answer": "2"}\n'
    (tmp_path / "calib_gsm8k.jsonl").write_bytes(row + b"\xff\xfe\n")
    with pytest.raises(DataMalformed, match=r"calib_gsm8k\.jsonl, line 2: it is not UTF-8"):
        calibration_texts(CalibrationMix(samples={"math": 2}), PLAIN, tmp_path)


def test_a_rows_own_line_separators_do_not_end_it(tmp_path: Path) -> None:
    row = '{"question": "one\u2028two?", "answer": "2\x85"}\n'
    (tmp_path / "calib_gsm8k.jsonl").write_text(row, encoding="utf-8")
    texts, _ = calibration_texts(CalibrationMix(samples={"math": 1}), PLAIN, tmp_path)
    assert texts == ["one\u2028two?\n2\x85\n"]


def test_fewer_samples_than_none_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text("row_tokens: 64\nsamples:\n  text: -3\n")
    with pytest.raises(RecipeInvalid, match="line 3"):
        read_mix(path)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "calib_gsm8k.jsonl").touch()
    with pytest.raises(DataMissing, match=r"calib_gsm8k\.jsonl"):
        calibration_texts(CalibrationMix(samples={"math": 2}), PLAIN, tmp_path)


def test_what_ships_serves_where_the_data_folder_lacks_a_source_with_a_word(  # A31
    demo_gguf: Path, tmp_path: Path
) -> None:
    row = '{"question": "1+1?", "answer": "2"}\n'
    (tmp_path / "calib_gsm8k.jsonl").write_text(row)
    mix = CalibrationMix(samples={"math": 64, "text": 64}, row_tokens=16)
    _, record = make_calibration(mix, demo_gguf, PLAIN, runtime, tmp_path)
    assert record.origins == {"math": "calib_gsm8k.jsonl", "text": "ships with edgecomp"}
    (warning,) = record.warnings
    assert "lacks calibration text for text (calib_wikitext.txt)" in warning


def test_a_text_too_long_for_what_is_left_does_not_end_its_source(  # A18
    demo_gguf: Path, tmp_path: Path
) -> None:
    rows = [
        {"question": f"Number {n}", "answer": "so " * (2000 if n % 2 else 20)} for n in range(60)
    ]
    path = tmp_path / "calib_gsm8k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mix = CalibrationMix(samples={"math": 1}, row_tokens=16)
    found = make_training_rows(mix, 480, demo_gguf, PLAIN, runtime, tmp_path)
    assert 420 <= found.size <= 480


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=40), min_size=1, max_size=12),
    st.integers(1, 30),
)
def test_packing_keeps_the_tokens_in_order_and_drops_only_a_short_rest(
    rows: Sequence[Sequence[int]], length: int
) -> None:
    joined = [token for row in rows for token in row]
    if len(joined) < length:
        with pytest.raises(CalibrationRefused):
            pack(rows, length)
        return
    packed = pack(rows, length)
    assert packed.shape == (len(joined) // length, length) and packed.dtype == np.int64
    assert packed.ravel().tolist() == joined[: packed.size]


def test_r106_samples_are_tokenized_and_templated_as_the_deployed_model_is(
    demo_gguf: Path,
) -> None:
    """R55: the record is enough to repeat it."""
    template = read_chat_template(demo_gguf)
    mix = CalibrationMix(samples={"instructions": 8}, row_tokens=64)
    rows, record = make_calibration(mix, demo_gguf, template, runtime, None)
    texts, _ = calibration_texts(mix, template, None)
    wanted = runtime.tokenize(demo_gguf, texts, add_special=True, parse_special=True)
    assert rows.ravel().tolist() == [t for row in wanted for t in row][: rows.size]
    assert all(text.startswith("<|im_start|>") for text in texts)
    again, same = make_calibration(mix, demo_gguf, template, runtime, None)
    assert (again == rows).all() and same == record and record.template_sha256


def test_the_presets_name_only_sources_that_exist() -> None:
    for mix in MIXES.values():
        assert calibration_texts(CalibrationMix(samples=dict.fromkeys(mix, 1)), PLAIN, None)
