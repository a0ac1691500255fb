"""What a bundle's manifest, and the files of an ONNX artifact, may name (A8)."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import onnx
import pytest
from fuzz.kinds import KINDS

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.bundles.bundle import MANIFEST, Manifest, read_manifest, verify_bundle
from edgecomp.common.errors import PathOutside
from edgecomp.models.onnx_folder import CONFIG, DATA, GRAPH, TOKENIZER, read_onnx_folder
from edgecomp.remote.ssh_measure import files_of


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


def test_a_bundle_with_an_unlisted_link_that_leaves_it_is_refused(bundle: Path) -> None:  # A8
    link = bundle / "docs"
    for target in (bundle.parent, bundle.parent / "outside.gguf", bundle.parent / "nowhere"):
        link.symlink_to(target)
        with pytest.raises(PathOutside, match="docs"):
            verify_bundle(bundle)
        with pytest.raises(PathOutside, match="docs"):
            files_of(bundle)  # nothing else of this machine is copied to a device
        link.unlink()
    link.symlink_to(bundle / "model.gguf")
    assert files_of(bundle)["bundle/docs"] == link


def onnx_folder(folder: Path, location: str, filename: str) -> Path:
    """A graph with one weight in `location`, whose configuration loads `filename`."""
    folder.mkdir(exist_ok=True)
    weight = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, dims=[2])
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        weight.external_data.add(key=key, value=value)
    node = onnx.helper.make_node("Identity", ["weight"], ["out"])
    past = [f"past_key_values.0.{part}" for part in ("key", "value")]
    inputs, outputs = (
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
        for names in (
            ["input_ids", "attention_mask", *past],
            ["logits", *(name.replace("past_key_values", "present") for name in past)],
        )
    )
    graph = onnx.helper.make_graph([node], "graph", inputs, outputs, [weight])
    onnx.save(onnx.helper.make_model(graph), folder / GRAPH)
    (folder / DATA).write_bytes(bytes(8))
    (folder / TOKENIZER).write_text("{}")
    decoder = {
        "filename": filename, "num_hidden_layers": 1, "num_key_value_heads": 1, "head_size": 2,
    }  # fmt: skip
    config = {
        "model": {"decoder": decoder, "context_length": 8, "eos_token_id": 0},
        "search": {"past_present_share_buffer": False},
    }
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", ["..", "../outside.gguf", "/etc/hostname", "link"])
def test_an_onnx_folder_that_names_a_file_elsewhere_is_refused(  # A8
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "outside.gguf").write_bytes(bytes(8))
    folder = onnx_folder(tmp_path / "onnx", DATA, GRAPH)
    assert read_onnx_folder(folder).layers == 1
    (folder / "link").symlink_to(tmp_path / "outside.gguf")
    with pytest.raises(PathOutside, match=r"model\.onnx is not followed"):
        read_onnx_folder(onnx_folder(folder, name, GRAPH))
    with pytest.raises(PathOutside, match=r"genai_config\.json is not followed"):
        read_onnx_folder(onnx_folder(folder, DATA, name))
