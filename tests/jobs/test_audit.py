"""Auditing anyone's files beside their base, in the real runtime, on tiny models."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from rich.console import Console
from safetensors.torch import load_file, save_file

from edgecomp.common.errors import FileTruncated, ModelNotFound
from edgecomp.common.events import Event, Warned, ignore
from edgecomp.formats.exporting import find_exporter
from edgecomp.jobs.audit import Audit, AuditRequest, audit, save_logits
from edgecomp.models.reading import read_model
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.terminal.result_tables import audit_table


def exported(source: Path, path: Path) -> Path:
    find_exporter("gguf").export(read_model(source), path, "F16", lambda done, total: None)
    return path


@pytest.fixture(scope="module")
def files(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A base, its 8 and 4 bits, a copy, one with NaN, another fine-tune's 8 bits, one with another
    template, and another model."""
    folder = tmp_path_factory.mktemp("audit")
    source = tiny_model("llama")
    made = {"base": exported(source, folder / "base.gguf")}
    for name, preset in (("eight", "Q8_0"), ("four", "Q4_0")):
        made[name] = folder / f"{name}.gguf"
        LlamaCpp().quantize(made["base"], made[name], Types(preset=preset), threads=1)
    made["copy"] = Path(shutil.copy(made["eight"], folder / "copy.gguf"))
    made["nan"] = Path(shutil.copy(made["base"], folder / "nan.gguf"))
    reader = GGUFReader(made["nan"], "r+")
    broken = next(row for row in reader.tensors if row.name.endswith("ffn_down.weight"))
    broken.data.view(np.uint16)[:] = 0x7E00
    reader.data.flush()
    tuned = shutil.copytree(source, folder / "tuned")
    weights = load_file(tuned / "model.safetensors")
    weights["model.norm.weight"] *= 1.02
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    made["tuned"] = exported(tuned, folder / "tuned.gguf")
    untold = shutil.copytree(source, folder / "untold")
    settings = json.loads((untold / "tokenizer_config.json").read_text())
    settings["chat_template"] += "{# another #}"
    (untold / "tokenizer_config.json").write_text(json.dumps(settings))
    made["untold"] = exported(untold, folder / "untold.gguf")
    made["other"] = exported(tiny_model("qwen2"), folder / "other.gguf")
    return made


@pytest.fixture(scope="module")
def found(files: dict[str, Path]) -> Audit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecomp.jobs.evaluation.physical_cores", lambda: 1)
        names = ("four", "other", "eight", "copy", "nan", "tuned", "untold")
        return audited(files, *names)


def audited(files: dict[str, Path], *names: str, listen: Callable[[Event], None] = ignore) -> Audit:
    paths = tuple(str(files[name]) for name in names)
    return audit(AuditRequest(files=paths, base=str(files["base"]), limit=1), listen)


def failed(found: Audit, name: str) -> set[str]:
    (row,) = (file for file in found.files if file.path.stem == name)
    return {check.name for check in row.checks if not check.passed}


@pytest.mark.slow
def test_every_file_is_told_with_its_types_its_bits_and_its_divergence(found: Audit) -> None:
    rows = {file.path.stem: file for file in found.files}
    assert rows["eight"].bits_per_weight < 10 and "Q8_0" in rows["eight"].types
    eight, four = rows["eight"].divergence, rows["four"].divergence
    assert eight and four and eight.kl_mean < four.kl_mean
    assert eight.kl_p999 is not None and eight.kl_median <= eight.kl_p99 <= eight.kl_p999
    assert failed(found, "eight") == failed(found, "four") == set()


@pytest.mark.slow
def test_files_that_are_no_version_of_the_base_come_last_with_the_cause(found: Audit) -> None:
    assert {file.path.stem for file in found.files[-2:]} == {"other", "nan"}
    assert failed(found, "other") & {"shape", "token ids"} and failed(found, "nan") == {
        "finite weights"
    }
    for file in found.files[-2:]:
        assert file.level == "do not ship" and file.evaluation is None
    assert "NaN" in next(file.why for file in found.files if file.path.stem == "nan")


@pytest.mark.slow
def test_the_same_bytes_are_asked_once_and_said(found: Audit) -> None:
    copy = next(file for file in found.files if file.path.stem == "copy")
    assert copy.same_as is not None and copy.same_as.stem == "eight"
    assert any("the same bytes" in text for text in found.apart)


@pytest.mark.slow
def test_a_base_that_is_another_fine_tune_is_suspected_aloud(files: dict[str, Path]) -> None:
    heard: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Warned):
            heard.append(event.text)

    found = audited(files, "tuned", listen=listen)
    assert failed(found, "tuned") == {"same checkpoint"}
    assert any("another fine-tune" in text for text in heard)
    assert "another fine-tune" in found.files[0].why


@pytest.mark.slow
def test_another_template_is_named(found: Audit) -> None:
    assert failed(found, "untold") == {"chat template"}


@pytest.mark.slow
def test_the_table_tells_the_best_first(found: Audit) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(audit_table(found))
    text = console.export_text()
    assert text.index("eight.gguf") < text.index("other.gguf")
    assert ("p99.9" in text and "not separable" in text) or "nats" in text


def test_files_are_compared_with_llama_cpps_own_logits(
    files: dict[str, Path], tmp_path: Path
) -> None:
    logits = tmp_path / "base.kld"
    save_logits(str(files["base"]), None, logits)
    request = AuditRequest(files=(str(files["four"]), str(files["eight"])), base=str(logits))
    found = audit(request, ignore)
    assert [file.path.stem for file in found.files] == ["eight", "four"]
    assert all(file.level is None and file.divergence for file in found.files)
    logits.write_bytes(logits.read_bytes()[:-100])
    with pytest.raises(FileTruncated):
        audit(request, ignore)


def test_what_is_no_gguf_file_is_refused_before_any_work(
    files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFound):
        audited({**files, "missing": tmp_path / "missing.gguf"}, "eight", "missing", listen=worked)


def worked(event: Event) -> None:
    raise AssertionError(event)
