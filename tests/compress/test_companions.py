"""What goes beside the weights of a made checkpoint, and what does not (P24)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import PathOutside
from edgecomp.compress.checkpoint import copy_companions

COMPANIONS = ("config.json", "tokenizer.json", "merges.txt", "tokenizer.model", "LICENSE")
WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5",
    "flax_model.msgpack", "model.Q4_0.gguf", "model.onnx", "model.onnx_data", "rust_model.ot",
)  # fmt: skip


def test_weights_of_other_frameworks_are_no_companions(tmp_path: Path) -> None:  # P24
    source, made = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    for name in (*COMPANIONS, *WEIGHTS):
        (source / name).write_text("{}")
    copy_companions(source, made, None)
    assert {file.name for file in made.iterdir()} == set(COMPANIONS)


def test_a_companion_that_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:  # A8
    source, made = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    (source / "config.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    (source / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(PathOutside, match=r"notes\.txt"):
        copy_companions(source, made, None)
    assert not list(made.iterdir())
