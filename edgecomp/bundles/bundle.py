"""A bundle: the artifact with its manifest, report, recipe and launchers, in one folder.

The folder appears whole or not at all. Every file but the manifest is listed in it with its hash;
`verify_bundle` hashes them again and loads the artifact in its runtime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from edgecomp.bundles.android_launcher import android_script, is_android, onnx_android_script
from edgecomp.bundles.checkpoint_launchers import sglang_script, vllm_script
from edgecomp.bundles.launchers import (
    llama_server_script,
    lm_studio_config,
    ollama_modelfile,
    systemd_script,
)
from edgecomp.bundles.onnx_launcher import genai_script
from edgecomp.common.atomic import (
    copy_file,
    copy_folder,
    replacing_folder,
    require_writable,
    restore_folder,
)
from edgecomp.common.digests import file_digest
from edgecomp.common.errors import BundleBroken, EdgecompError, NotWritable, RuntimeMissing
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.inside_folder import files_inside, path_inside
from edgecomp.common.safe_text import file_name
from edgecomp.devices.finding import find_device
from edgecomp.formats.execution_providers import execution_provider
from edgecomp.formats.onnx_formats import ONNX_FORMATS, judged_format
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.gguf.model import read_gguf
from edgecomp.recipes.artifact_name import PREFIX
from edgecomp.recipes.recipe import Recipe, write_recipe
from edgecomp.reporting.report import Report
from edgecomp.reporting.report_text import html_report, markdown_report
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.protocol import find_runtime

MANIFEST = "manifest.json"
EXECUTABLE = 0o755


class BundledFile(FrozenModel):
    """One file of a bundle."""

    size_bytes: int
    sha256: str


class Manifest(FrozenModel):
    """What a bundle holds, and how it was made."""

    schema_version: Literal[1] = 1
    artifact: str
    """The name of the artifact's file, or of its folder."""

    projector: str | None = None
    """The name of the file that reads pictures or sounds for it (llama.cpp's `mmproj`)."""

    package: str | None = None
    """The name of the folder for another execution provider of ONNX Runtime, which was not run."""

    files: dict[str, BundledFile]
    recipe: Recipe
    device: str
    source: str
    source_sha256: str
    calibration_sha256: str | None
    versions: dict[str, str]


class Verification(FrozenModel):
    """The outcome of `verify_bundle`."""

    schema_version: Literal[1] = 1
    folder: Path
    files: int
    size_bytes: int
    faults: tuple[str, ...]
    """Each names its file; empty: the bundle is whole and its artifact runs."""


def bundle_place(folder: Path) -> Path:
    """The absolute path of a bundle that may be written to `folder`. Raises NotWritable or DiskFull
    where it may not: a file, a folder of other things, or one that cannot be replaced."""
    place = folder.expanduser().resolve()
    require_writable(place)
    restore_folder(place)
    if place.is_dir() and any(place.iterdir()) and not (place / MANIFEST).is_file():
        raise NotWritable(folder, "it holds other files, which a bundle would replace")
    if Path.cwd().is_relative_to(place):
        raise NotWritable(folder, "you are in it, and a bundle replaces its whole folder")
    if place.is_mount():
        raise NotWritable(folder, "a disk is mounted there. Name a folder on it")
    require_writable(place.parent)
    return place


def write_bundle(report: Report, folder: Path) -> Manifest:
    """Write the bundle of a report to `folder`, in place of an earlier bundle there."""
    place = bundle_place(folder)
    with replacing_folder(place) as partial:
        manifest = _fill(report, partial)
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    return manifest


def _fill(report: Report, folder: Path) -> Manifest:
    artifact = report.artifact.file.path
    mixed = report.recipe.tensor_types and artifact.is_file()
    label = artifact.stem.removeprefix(PREFIX) if mixed else report.chosen.format
    if label in ONNX_FORMATS:
        label = judged_format(label)
    stem = file_name(report.model.name)
    name, beside, package = f"{stem}-{label}", None, None
    # A copy, not a link: whatever happens to the bundle must not reach the cache.
    if artifact.is_dir():
        copy_folder(artifact, folder / name)
        if report.artifact.package:
            package = f"{stem}-{report.chosen.format}-{report.artifact.package.provider}"
            copy_folder(report.artifact.package.file.path, folder / package)
        launchers = _folder_launchers(report, name, package)
    else:
        name += ".gguf"
        copy_file(artifact, folder / name)
        if report.artifact.projector:
            beside = f"{stem}-{report.artifact.projector.end}"
            copy_file(report.artifact.projector.file.path, folder / beside)
        launchers = _gguf_launchers(report, name, beside)
    if report.artifact.importance:
        copy_file(report.artifact.importance.path, folder / "importance.gguf")
    texts = {
        "report.json": report.model_dump_json(indent=2),
        "report.md": markdown_report(report),
        "report.html": html_report(report),
        **launchers,
    }
    for file, text in texts.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
        if file.endswith((".sh", ".py")):
            (folder / file).chmod(EXECUTABLE)
    write_recipe(folder / "recipe.yaml", report.recipe)
    calibration = report.artifact.calibration
    return Manifest(
        artifact=name,
        projector=beside,
        package=package,
        files={
            name: BundledFile(size_bytes=path.stat().st_size, sha256=file_digest(path))
            for name, path in files_inside(folder).items()
        },
        recipe=report.recipe,
        device=report.device_title,
        source=report.model.source,
        source_sha256=report.model.source_sha256,
        calibration_sha256=calibration.tokens_sha256 if calibration else None,
        versions=report.versions,
    )


def _folder_launchers(report: Report, name: str, package: str | None) -> dict[str, str]:
    """Launchers of the folder `name`, and of the `package` for another execution provider, by their
    own names."""
    settings = report.recipe.settings
    if report.recipe.runtime == "transformers":
        return {"vllm.sh": vllm_script(name, settings), "sglang.sh": sglang_script(name, settings)}
    launchers = {"chat.py": genai_script(name, settings)}
    shipped, source = name, report.artifact.file.path
    if package and report.artifact.package:
        provider = execution_provider(report.artifact.package.provider)
        launchers[f"chat-{provider.name}.py"] = genai_script(package, settings, provider)
        shipped, source = package, report.artifact.package.file.path
    if _for_android(report.recipe):
        digests = {inner: file_digest(path) for inner, path in files_inside(source).items()}
        launchers["android/run.sh"] = onnx_android_script(shipped, digests, settings)
    return launchers


def _for_android(recipe: Recipe) -> bool:
    return recipe.device != "auto" and is_android(find_device(recipe.device))


def _gguf_launchers(report: Report, name: str, beside: str | None) -> dict[str, str]:
    """Launchers of the GGUF file `name` and the projector `beside` it, by their own names."""
    file, settings = report.artifact.file, report.recipe.settings
    template = read_chat_template(file.path)
    peak_bytes = report.measurement.peak_memory_bytes
    projector = report.artifact.projector
    if projector:
        # It was not loaded when memory was measured.
        peak_bytes += projector.size_bytes + (projector.compute_bytes or 0)
    launchers = {
        "serve.sh": llama_server_script(name, settings, beside),
        "service.sh": systemd_script(report.model.name, peak_bytes),
        "Modelfile": ollama_modelfile(name, settings, template, beside),
        "lmstudio.json": lm_studio_config(settings, read_gguf(file.path).layers),
    }
    if _for_android(report.recipe):
        pushed = (beside, projector.file.sha256) if projector and beside else None
        launchers["android/run.sh"] = android_script(name, file.sha256, settings, pushed)
    return launchers


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle. Raises BundleBroken, and PathOutside where it lists a file that
    lies elsewhere."""
    restore_folder(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleBroken(f"{folder} is no bundle: it has no {MANIFEST}. Give a folder fit wrote.")
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise BundleBroken(
            f"{path} is damaged and lists nothing reliable. Make the bundle again."
        ) from error
    named = (manifest.artifact, *([manifest.projector] if manifest.projector else ()))
    for name in (*named, *manifest.files):
        path_inside(folder, name, path)
    return manifest


def verify_bundle(folder: Path, progress: Progress = ignore_progress) -> Verification:
    """Hash every file again, and load the artifact and have it write a few tokens.

    Raises BundleBroken, and PathOutside where the bundle holds a link that leads out of it.
    """
    manifest = read_manifest(folder)
    faults = []
    steps = len(manifest.files) + 1
    for index, (name, listed) in enumerate(manifest.files.items(), start=1):
        fault = _fault(folder / name, listed)
        if fault:
            faults.append(fault)
        progress(index, steps)
    extra = files_inside(folder).keys() - set(manifest.files) - {MANIFEST}
    faults += [f"{name} is not in the manifest." for name in sorted(extra)]
    if not faults:
        faults += _load_fault(folder / manifest.artifact, manifest)
        if manifest.projector:
            faults += _projector_fault(folder / manifest.projector, folder / manifest.artifact)
    progress(steps, steps)
    return Verification(
        folder=folder,
        files=len(manifest.files),
        size_bytes=sum(listed.size_bytes for listed in manifest.files.values()),
        faults=tuple(faults),
    )


def _fault(path: Path, listed: BundledFile) -> str | None:
    if not path.is_file():
        return f"{path.name} is missing."
    size = path.stat().st_size
    if size != listed.size_bytes:
        return f"{path.name} has {size:,} bytes instead of {listed.size_bytes:,}."
    if _fresh_digest(path) != listed.sha256:
        return f"{path.name} was changed: its SHA-256 is not the manifest's."
    return None


def _fresh_digest(path: Path) -> str:
    """SHA-256 of what the file holds now; a remembered hash would not see a flipped byte."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_fault(artifact: Path, manifest: Manifest) -> list[str]:
    try:
        runtime = find_runtime(manifest.recipe.runtime)
        settings = manifest.recipe.settings
        written = runtime.complete(artifact, settings, ["Hello"], [8])
    except EdgecompError as error:
        return [f"{artifact.name} does not load: {error}"]
    return [] if written else [f"{artifact.name} wrote nothing."]


def _projector_fault(projector: Path, artifact: Path) -> list[str]:
    try:
        LlamaCpp().load_projector(projector, artifact)
    except RuntimeMissing:
        return []  # This build of llama.cpp cannot tell.
    except EdgecompError as error:
        return [f"{projector.name} does not load: {error}"]
    return []
