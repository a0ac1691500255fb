"""What a bundle's manifest may list (A8)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz.kinds import KINDS

from edgecomp.artifact_argument import find_artifact
from edgecomp.bundle import MANIFEST, Manifest, read_manifest, verify_bundle
from edgecomp.errors import PathOutside


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose files are listed with other hashes than theirs."""
    (tmp_path / "outside.gguf").write_bytes(b"GGUF")
    folder = tmp_path / "bundle"
    folder.mkdir()
    KINDS["manifest"].example(folder, Random(0))
    return folder


def change(bundle: Path, **fields: object) -> None:
    manifest = Manifest.model_validate_json((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(manifest.model_copy(update=fields).model_dump_json())


def test_a_manifest_of_files_inside_is_read(bundle: Path) -> None:
    assert read_manifest(bundle).artifact == "model.gguf"
    assert len(verify_bundle(bundle).faults) == 2


@pytest.mark.parametrize("name", ["../outside.gguf", "/etc/hostname", "x" * 5000, "."])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(bundle: Path, name: str) -> None:  # A8
    files = read_manifest(bundle).files
    change(bundle, artifact=name)
    with pytest.raises(PathOutside, match=r"manifest\.json is not followed"):
        find_artifact(str(bundle))
    change(bundle, artifact="model.gguf", files=files | {name: files["model.gguf"]})
    with pytest.raises(PathOutside, match=r"manifest\.json is not followed"):
        verify_bundle(bundle)


def test_an_artifact_that_is_a_link_to_elsewhere_is_refused(bundle: Path) -> None:  # A8
    (bundle / "model.gguf").unlink()
    (bundle / "model.gguf").symlink_to(bundle.parent / "outside.gguf")
    with pytest.raises(PathOutside):
        find_artifact(str(bundle))
