"""What can be known at the start is told before any stage, and before the machine is calibrated
(A7)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from canned_reports import canned_report, scores, write_canned_bundle

from edgecomp.bundles.bundle import bundle_place
from edgecomp.bundles.versions import versions
from edgecomp.common.errors import (
    ChatTemplateBroken,
    DataMalformed,
    DataMissing,
    DiskFull,
    EdgecompError,
    EvidenceTooNarrow,
    ModelIncomplete,
    NotWritable,
)
from edgecomp.common.events import Estimated, Event, StageStarted
from edgecomp.common.package_versions import package_version
from edgecomp.formats.exporting import find_exporter
from edgecomp.jobs.evaluation import EvaluationRequest, evaluate_artifact
from edgecomp.jobs.fit import FitRequest, fit, fit_recipe
from edgecomp.jobs.fit_several import fit_several
from edgecomp.jobs.improve import improve
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.models.reading import read_model
from edgecomp.pipeline.stage_cache import stages_folder
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, Recipe

Start = Callable[[Path, Path, Path | None], object]
"""A command's core: of a model, to a place, with a data folder."""


class Worked(Exception):
    """A stage was begun, or the machine calibrated."""


def listen(event: Event) -> None:
    """Hear of no work."""
    if isinstance(event, StageStarted):
        raise Worked(event.title)


def wanted(model: Path, data: Path | None) -> FitRequest:
    return FitRequest(
        model=str(model),
        device="auto",
        constraints=Constraints(context=256),
        evaluation=EvaluationSettings(items=2),
        data=data,
    )


def start_fit(model: Path, place: Path, data: Path | None) -> None:
    fit(wanted(model, data), place, listen)


def start_several(model: Path, place: Path, data: Path | None) -> None:
    fit_several(wanted(model, data), ("llama.cpp", "onnx"), place, listen)


def recipe_of(model: Path, format_name: str = "Q4_0", method: str = "gptq") -> Recipe:
    mix = preset_mix("general")
    return compression_recipe(
        CompressionRequest(model=str(model), method=method, format=format_name, calibration=mix)
    )


def start_run(model: Path, place: Path, data: Path | None) -> None:
    fit_recipe(recipe_of(model), place, data, listen)


def start_compress(model: Path, place: Path, data: Path | None) -> None:
    compress(recipe_of(model), place, data, listen)


def start_improve(model: Path, place: Path, data: Path | None) -> None:
    report = canned_report(read_model(model), "Q4_0", scores({"reasoning": 14.0}), kl=0.2)
    improve(write_canned_bundle(report, place), 2, data, listen)


def start_evaluate(model: Path, place: Path, data: Path | None) -> None:
    place.mkdir()
    file = place / "model.gguf"
    find_exporter("gguf").export(read_model(model), file, "F32")
    request = EvaluationRequest(artifact=str(file), base=str(file), data=data)
    evaluate_artifact(request, listen)


MAKING: dict[str, Start] = {
    "fit": start_fit, "several": start_several, "run": start_run, "compress": start_compress,
    "improve": start_improve,
}  # fmt: skip
JUDGING: dict[str, Start] = {
    name: start for name, start in MAKING.items() if name != "compress"
} | {"evaluate": start_evaluate}
WRITING: dict[str, Start] = {name: MAKING[name] for name in ("fit", "several", "run", "compress")}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache in which no stage begins, and no calibration of the machine."""
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGECOMP_CONFIG", str(tmp_path / "config"))
    yield
    assert not stages_folder().exists()


@pytest.fixture
def model(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


QUESTION = {"question": "Two?", "choices": ["1", "2"], "answer": 1, "subject": "numbers"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with nothing wrong in it."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mmlu.jsonl").write_text(f"{json.dumps(QUESTION)}\n" * 3)
    (folder / "wikitext2_test.txt").write_text("A sentence of a long text.\n" * 1000)
    (folder / "calib_wikitext.txt").write_text("A sentence to calibrate with.\n" * 100)
    return folder


@pytest.mark.parametrize("start", JUDGING.values(), ids=list(JUDGING))
def test_what_is_whole_is_begun(start: Start, model: Path, data: Path, tmp_path: Path) -> None:
    """The commands below end for the fault that they are given, and for no other."""
    with pytest.raises(Worked):
        start(model, tmp_path / "out", data)


@pytest.mark.parametrize("start", JUDGING.values(), ids=list(JUDGING))
@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("wikitext2_test.txt", b"caf\xe9 " * 2000, DataMalformed),
        ("wikitext2_test.txt", b"", DataMissing),
        ("wikitext2_test.txt", b"Some words only.", DataMissing),
        ("mmlu.jsonl", b'{"question": "caf\xe9"}\n', DataMalformed),
        ("mmlu.jsonl", b'{"question": "Two?"}\n', DataMalformed),
        ("mmlu.jsonl", b"no JSON\n", DataMalformed),
        ("mmlu.jsonl", b"\n", (DataMissing, EvidenceTooNarrow)),
    ],
    ids=["text not UTF-8", "no text", "short text", "rows not UTF-8", "field missing", "no JSON",
         "no rows"],
)  # fmt: skip
def test_data_that_cannot_be_judged_with_are_told_at_once(
    start: Start,
    file: str,
    content: bytes,
    fault: type[EdgecompError],
    model: Path,
    data: Path,
    tmp_path: Path,
) -> None:  # A7
    (data / file).write_bytes(content)
    with pytest.raises(fault, match=str(data)):
        start(model, tmp_path / "out", data)


@pytest.mark.parametrize("start", MAKING.values(), ids=list(MAKING))
@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("calib_wikitext.txt", b"caf\xe9 " * 100, DataMalformed),
        ("calib_wikitext.txt", b" \n", DataMissing),
        ("calib_gsm8k.jsonl", b'{"question": "Two?"}\n', DataMalformed),
    ],
    ids=["not UTF-8", "empty", "field missing"],
)
def test_text_that_cannot_be_calibrated_with_is_told_at_once(
    start: Start,
    file: str,
    content: bytes,
    fault: type[EdgecompError],
    model: Path,
    data: Path,
    tmp_path: Path,
) -> None:  # A7
    (data / file).write_bytes(content)
    with pytest.raises(fault, match=file):
        start(model, tmp_path / "out", data)


def test_calibration_text_is_not_asked_for_where_nothing_is_calibrated(
    model: Path, data: Path, tmp_path: Path
) -> None:  # A7, A31
    (data / "calib_wikitext.txt").write_bytes(b"\xff")
    with pytest.raises(Worked):
        compress(recipe_of(model, "Q8_0", "llama.cpp"), tmp_path / "out", data, listen)


@pytest.mark.parametrize("start", WRITING.values(), ids=list(WRITING))
@pytest.mark.parametrize("place", ["/proc/none/out", "a file", "a file/below"])
def test_a_place_that_cannot_be_written_is_told_at_once(
    start: Start, place: str, model: Path, tmp_path: Path
) -> None:  # A7
    (tmp_path / "a file").write_text("")
    with pytest.raises(NotWritable, match=place):
        start(model, tmp_path / place, None)


@pytest.mark.parametrize("place", [".", "..", "/", "~", "other/..", str(Path("/tmp"))])
def test_a_folder_that_a_bundle_cannot_replace_is_told_at_once(
    place: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    working = tmp_path / "work"
    (working / "other").mkdir(parents=True)
    monkeypatch.chdir(working)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NotWritable):
        start_fit(model, Path(place), None)
    assert [path.name for path in working.iterdir()] == ["other"]


def test_the_folder_one_is_in_is_not_replaced_though_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotWritable, match="you are in it"):
        bundle_place(Path("."))


def test_a_home_is_not_taken_for_a_folder_called_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert bundle_place(Path("~/out")) == tmp_path / "home" / "out"


def test_the_bundle_one_is_in_can_be_improved(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    report = canned_report(read_model(model), "Q4_0", scores({"reasoning": 14.0}), kl=0.2)
    monkeypatch.chdir(write_canned_bundle(report, tmp_path / "bundle"))
    with pytest.raises(Worked):
        improve(Path("."), 1, None, listen)


def test_a_later_rounds_place_is_looked_at_before_the_first_round(
    model: Path, tmp_path: Path
) -> None:  # A7
    (tmp_path / "out-round2").mkdir()
    (tmp_path / "out-round2" / "letter.txt").write_text("mine")
    with pytest.raises(NotWritable, match="out-round2"):
        start_improve(model, tmp_path / "out", None)


@pytest.mark.parametrize("start", MAKING.values(), ids=list(MAKING))
def test_a_model_without_a_tokenizer_is_told_at_once(
    start: Start, model: Path, tmp_path: Path
) -> None:  # A7
    source = Path(shutil.copytree(model, tmp_path / "model"))
    for file in source.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelIncomplete, match="tokenizer"):
        start(source, tmp_path / "out", None)


@pytest.mark.parametrize("start", MAKING.values(), ids=list(MAKING))
def test_a_template_that_cannot_be_rendered_is_told_at_once(
    start: Start, model: Path, tmp_path: Path
) -> None:  # A7
    source = Path(shutil.copytree(model, tmp_path / "model"))
    (source / "chat_template.jinja").write_text("{% for message in messages %}")
    with pytest.raises(ChatTemplateBroken):
        start(source, tmp_path / "out", None)


@pytest.mark.parametrize("start", (MAKING | JUDGING).values(), ids=list(MAKING | JUDGING))
def test_a_cache_that_cannot_be_written_is_told_at_once(
    start: Start, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    monkeypatch.setenv("EDGECOMP_CACHE", "/proc/none/cache")
    with pytest.raises(NotWritable, match=r"/proc/none/cache.*EDGECOMP_CACHE"):
        start(model, tmp_path / "out", None)


def test_a_calibration_that_could_not_be_kept_is_not_begun(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    monkeypatch.setenv("EDGECOMP_CONFIG", "/proc/none/config")
    with pytest.raises(NotWritable, match="EDGECOMP_CONFIG"):
        start_fit(model, tmp_path / "out", None)


@pytest.mark.parametrize("start", [start_run, start_compress], ids=["run", "compress"])
def test_a_disk_that_cannot_hold_the_result_is_told_at_once(
    start: Start, model: Path, tmp_path: Path
) -> None:  # A7
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")

    def stop(event: Event) -> None:
        assert not isinstance(event, Estimated | StageStarted)

    try:
        with pytest.raises(DiskFull, match=r"MB are needed|is full"):
            if start is start_run:
                recipe = recipe_of(model).model_copy(update={"device": "office-laptop-ddr4"})
                fit_recipe(recipe, disk / "out", None, listen)
            else:
                compress(recipe_of(model), disk / "out", None, stop)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_package_without_metadata_hinders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # A7
    damaged = tmp_path / "numpy-1.0.dist-info"
    damaged.mkdir()
    (damaged / "METADATA").write_text("Name: numpy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package_version("numpy") == "unknown"
    assert package_version("no-such-package-anywhere") == "unknown"
    assert versions()["numpy"] == "unknown"
