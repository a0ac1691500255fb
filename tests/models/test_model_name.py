"""What a model is called, and where its results go (P22)."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import written_llama

from edgecomp.models.model_name import result_folder
from edgecomp.models.reading import read_model


@pytest.mark.parametrize("name", ["Llama-3.2-1B", "Llama-3.2-3B-Instruct", "Qwen2.5-0.5B"])
def test_a_point_in_a_folder_s_name_cuts_nothing_off(tmp_path: Path, name: str) -> None:  # P22
    folder = written_llama(tmp_path / name)
    assert read_model(folder).name == name
    assert result_folder(str(folder)) == Path(f"{name}-edge")


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("demo", "demo-edge"),
        ("acme/Tiny-1.5B", "Tiny-1.5B-edge"),
        ("somewhere/mimo-v2.5.gguf", "mimo-v2.5-edge"),
        ("somewhere/mimo-v2.5", "mimo-v2.5-edge"),
    ],
)
def test_results_go_to_a_folder_of_the_model_s_name(model: str, folder: str) -> None:  # P22
    assert result_folder(model) == Path(folder)


def test_a_snapshot_of_the_hub_is_called_by_owner_and_name(tmp_path: Path) -> None:  # P22
    folder = tmp_path / "models--acme--Tiny-1.5B" / "snapshots" / ("0123456789" * 4)
    written_llama(folder)
    assert read_model(folder).name == "acme/Tiny-1.5B"
    assert result_folder(str(folder)) == Path("Tiny-1.5B-edge")


def test_fetched_headers_are_called_by_owner_and_name(tmp_path: Path) -> None:  # P22
    folder = written_llama(tmp_path / "hub-headers" / "acme" / "Tiny-1.5B" / ("0" * 40))
    assert read_model(folder).name == "acme/Tiny-1.5B"


def test_a_path_of_someone_else_s_is_no_name(tmp_path: Path) -> None:  # P22
    folder = written_llama(tmp_path / "mine", _name_or_path="/home/someone/outputs/checkpoint-500")
    assert read_model(folder).name == "mine"
