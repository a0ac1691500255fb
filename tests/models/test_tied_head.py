"""Whether the embedding is the head: by what is stored, not by the config alone (P1, P15)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import (
    OMITTED,
    Weights,
    copied_with_equal_head,
    llama_weights,
    written_llama,
)

from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT

HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


def equal_head() -> Weights:
    weights = llama_weights()
    return weights | {HEAD: weights[TABLE].copy()}


def test_a_head_that_differs_is_kept_whatever_the_flag_says(tmp_path: Path) -> None:  # P1
    model = read_model(written_llama(tmp_path, tie_word_embeddings=True))
    assert not model.tied_embeddings and model.head_name == OUTPUT
    assert OUTPUT in {tensor.name for tensor in model.tensors}
    (note,) = model.notes
    assert "tie_word_embeddings true" in note and HEAD in note


def test_a_head_that_differs_in_its_last_value_alone_is_kept(tmp_path: Path) -> None:  # P1
    weights = equal_head()
    weights[HEAD][-1, -1] += 1
    assert not read_model(
        written_llama(tmp_path, weights, tie_word_embeddings=True)
    ).tied_embeddings


def test_an_equal_head_is_tied_without_a_word(tmp_path: Path) -> None:  # P1
    model = read_model(written_llama(tmp_path, equal_head(), tie_word_embeddings=True))
    assert model.tied_embeddings and model.head_name == EMBEDDING and model.notes == ()
    assert OUTPUT not in {tensor.name for tensor in model.tensors}


@pytest.mark.parametrize("flag", [False, OMITTED], ids=["false", "missing"])
def test_an_equal_head_is_the_embedding_whatever_the_flag_says(  # A24
    tmp_path: Path, flag: object
) -> None:
    model = read_model(written_llama(tmp_path, equal_head(), tie_word_embeddings=flag))
    assert model.tied_embeddings and model.head_name == EMBEDDING
    assert OUTPUT not in {tensor.name for tensor in model.tensors}
    (note,) = model.notes
    assert note.startswith(f"{HEAD} is the embedding stored a second time") and "saves" in note


@pytest.mark.parametrize("row", [0, 1, -1])
def test_a_head_that_differs_in_one_value_is_kept_as_the_flag_says(  # A24
    tmp_path: Path, row: int
) -> None:
    weights = equal_head()
    weights[HEAD][row, -1] += 1
    model = read_model(written_llama(tmp_path, weights, tie_word_embeddings=False))
    assert not model.tied_embeddings and model.notes == ()


def test_two_matrices_of_zeros_are_not_taken_for_one(tmp_path: Path) -> None:  # A24
    weights = equal_head()
    weights[HEAD][:] = weights[TABLE][:] = 0
    model = read_model(written_llama(tmp_path, weights, tie_word_embeddings=False))
    assert not model.tied_embeddings


def test_a_family_that_llama_cpp_loads_with_its_head_alone_keeps_both(  # A24
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copied_with_equal_head(tiny_model("qwen2moe"), tmp_path / "m")
    assert not read_model(folder).tied_embeddings


def test_a_head_that_changes_on_disk_is_compared_anew(tmp_path: Path) -> None:  # P1
    written_llama(tmp_path, equal_head(), tie_word_embeddings=True)
    assert read_model(tmp_path).tied_embeddings
    written_llama(tmp_path, tie_word_embeddings=True)
    assert not read_model(tmp_path).tied_embeddings


@pytest.mark.parametrize("flag", [False, OMITTED], ids=["false", "missing"])
def test_without_a_stored_head_the_embedding_is_it(tmp_path: Path, flag: object) -> None:  # P15
    weights = llama_weights()
    del weights[HEAD]
    model = read_model(written_llama(tmp_path, weights, tie_word_embeddings=flag))
    assert model.tied_embeddings and model.head_name == EMBEDDING
    (note,) = model.notes
    assert "none is stored" in note


def test_headers_alone_follow_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # P1
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path))
    folder = tmp_path / "hub-headers" / "acme" / "tiny" / ("0" * 40)
    assert read_model(written_llama(folder, tie_word_embeddings=True)).tied_embeddings
