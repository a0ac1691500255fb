"""A bundle carries what reads pictures beside its text model, starts it, and verifies both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from canned_reports import canned_report, scores

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.bundles.bundle import Manifest, verify_bundle, write_bundle
from edgecomp.common.digests import file_digest
from edgecomp.common.events import ignore_progress
from edgecomp.exporters.gguf import export, export_projector
from edgecomp.making.artifact import ProjectorFile
from edgecomp.models.llama_cpp_families import llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.reporting.report import Report
from edgecomp.reporting.report_text import markdown_report

pytestmark = pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)


@pytest.fixture(scope="module")
def report(tiny_family: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report of gemma3's float text model with its projector."""
    folder, model = tmp_path_factory.mktemp("made"), read_model(tiny_family("gemma3"))
    text = export(model, folder / "model-F16.gguf", "F16").path
    projector = export_projector(model, folder / "projector.gguf", ignore_progress).path
    found = canned_report(read_model(text), "source", scores({}), device_name="pixel-9")
    made = ProjectorFile(
        file=StoredFile(path=projector, sha256=file_digest(projector)),
        type="F16",
        size_bytes=projector.stat().st_size,
        compute_bytes=10**6,
        checks=(),
    )
    file = StoredFile(path=text, sha256=file_digest(text))
    artifact = found.artifact.model_copy(update={"file": file, "projector": made})
    return found.model_copy(update={"artifact": artifact})


@pytest.fixture
def bundle(report: Report, tmp_path: Path) -> tuple[Path, Manifest]:
    return tmp_path / "bundle", write_bundle(report, tmp_path / "bundle")


def test_both_files_are_listed_and_started(bundle: tuple[Path, Manifest], report: Report) -> None:
    folder, manifest = bundle
    name = manifest.projector
    assert name and name.endswith("-mmproj-F16.gguf")
    assert manifest.files[name].sha256 == file_digest(folder / name)
    for launcher in ("serve.sh", "Modelfile", "android/run.sh"):
        assert name in (folder / launcher).read_text(), launcher
    projector = report.artifact.projector
    assert projector
    most = report.measurement.peak_memory_bytes + projector.size_bytes + 10**6
    assert f"MemoryMax={most * 3 // 2}" in (folder / "service.sh").read_text()
    assert "in a file of its own (mmproj)" in markdown_report(report)


def test_a_bundle_is_named_by_its_text_model_and_takes_its_projector_on(
    bundle: tuple[Path, Manifest],
) -> None:
    folder, manifest = bundle
    found = find_artifact(str(folder))
    assert found.path.name == manifest.artifact
    beside = read_model(found.path).projector
    assert beside and beside.path and beside.path.name == manifest.projector


def test_a_projector_that_is_gone_changed_or_broken_is_a_fault(
    bundle: tuple[Path, Manifest],
) -> None:
    folder, manifest = bundle
    assert verify_bundle(folder).faults == ()
    assert manifest.projector
    file = folder / manifest.projector
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "SHA-256" in verify_bundle(folder).faults[0]
    broken = whole.replace(b"mm.input_projection.weight", b"mm.input_projectiom.weight")
    file.write_bytes(broken)
    listed = manifest.files[manifest.projector].model_copy(update={"sha256": file_digest(file)})
    told = manifest.model_copy(update={"files": manifest.files | {manifest.projector: listed}})
    (folder / "manifest.json").write_text(told.model_dump_json())
    (fault,) = verify_bundle(folder).faults
    assert "does not load" in fault and "mm.input_projection.weight" in fault
    file.unlink()
    assert f"{manifest.projector} is missing." in verify_bundle(folder).faults
