"""Names out of downloaded files stay inside their folder (A8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import PathOutside
from edgecomp.common.inside_folder import path_inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside.gguf").write_bytes(b"secret")
    made = tmp_path / "bundle"
    (made / "onnx").mkdir(parents=True)
    (made / "model.gguf").write_bytes(b"weights")
    (made / "onnx" / "model.onnx").write_bytes(b"weights")
    return made


@pytest.mark.parametrize("name", ["model.gguf", "onnx/model.onnx", "onnx", "not-there-yet.gguf"])
def test_a_name_inside_is_a_path_inside(folder: Path, name: str) -> None:
    assert path_inside(folder, name, folder / "manifest.json") == folder / name


@pytest.mark.parametrize(
    "name",
    [
        "../outside.gguf", "onnx/../../outside.gguf", "/etc/hostname", "..", ".", "", "a\0b",
        "x" * 5000, "\ud800", "..\\outside.gguf", "C:\\outside.gguf", "\\\\host\\share",
    ],
    ids=repr,
)  # fmt: skip
def test_a_name_that_leaves_its_folder_is_refused(folder: Path, name: str) -> None:  # A8
    with pytest.raises(PathOutside, match="no file inside") as refused:
        path_inside(folder, name, folder / "manifest.json")
    assert len(str(refused.value)) < 1000


def test_a_link_that_leaves_its_folder_is_refused(folder: Path) -> None:  # A8
    (folder / "link.gguf").symlink_to(folder.parent / "outside.gguf")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    for name in ("link.gguf", "up/outside.gguf", "loop"):
        with pytest.raises(PathOutside):
            path_inside(folder, name, folder / "manifest.json")


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "same.gguf").symlink_to("model.gguf")
    assert path_inside(folder, "same.gguf", folder / "manifest.json").read_bytes() == b"weights"


def test_the_hub_s_cache_may_link_into_the_model_s_own_blobs_alone(tmp_path: Path) -> None:
    mine, other = tmp_path / "models--acme--tiny", tmp_path / "models--acme--other"
    for repository in (mine, other):
        (repository / "blobs").mkdir(parents=True)
        (repository / "blobs" / "abc").write_bytes(b"weights")
    snapshot = mine / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    (snapshot / "other.safetensors").symlink_to("../../../models--acme--other/blobs/abc")
    index = snapshot / "model.safetensors.index.json"
    assert path_inside(snapshot, "model.safetensors", index).read_bytes() == b"weights"
    with pytest.raises(PathOutside):
        path_inside(snapshot, "other.safetensors", index)
