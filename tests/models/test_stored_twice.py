"""A GGUF file that holds its embedding a second time, as the head (A24)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import gguf
import numpy as np
import pytest
from ggml_rounding import ggml_rounded, ggml_values
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.exporters import gguf as gguf_exporter
from edgecomp.formats.format_facts import format_facts, tensor_types_of
from edgecomp.formats.presets import SOURCE
from edgecomp.models.architectures import ARCHITECTURES
from edgecomp.models.gguf.stored_twice import LARGEST_LIMIT, are_roundings_of_one
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import find_runtime

STORED = (
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0",
    "IQ4_NL", "IQ4_XS", "MXFP4", "Q3_K", "IQ3_S",
)  # fmt: skip
"""Types that embeddings and heads come in."""

WIDTH = 256


def random_matrix(seed: int, rows: int = 64) -> np.ndarray:
    """Rows of sizes that differ, with some large values, as embeddings have."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, WIDTH)) * random.uniform(0.3, 3, (rows, 1))
    matrix[:, random.integers(0, WIDTH, 3)] *= 3
    return (0.02 * matrix).astype(np.float32)


def resembling(matrix: np.ndarray, cosine: float, seed: int) -> np.ndarray:
    """A matrix whose rows have about this cosine with those of `matrix`."""
    other = random_matrix(seed + 1)
    other *= np.linalg.norm(matrix, axis=1, keepdims=True)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (cosine * matrix + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def are_one(one: np.ndarray, kind: str, other: np.ndarray, other_kind: str) -> bool:
    return are_roundings_of_one(
        ggml_values(ggml_rounded(one, kind), kind),
        ggml_values(ggml_rounded(other, other_kind), other_kind),
        TENSOR_TYPES[kind].relative_error + TENSOR_TYPES[other_kind].relative_error,
    )


@pytest.mark.parametrize(("kind", "other"), combinations_with_replacement(STORED, 2))
@given(seed=st.integers(0, 2**32 - 2))
@settings(max_examples=5)
def test_two_roundings_of_one_matrix_are_known_and_matrices_alike_are_not_taken_for_one(
    kind: str, other: str, seed: int
) -> None:
    matrix = random_matrix(seed)
    # Two types of three bits come so near to the largest limit that a row in thousands passes it.
    if sum(TENSOR_TYPES[name].relative_error for name in (kind, other)) <= LARGEST_LIMIT / 2:
        assert are_one(matrix, kind, matrix, other)
    for cosine in (0.9, 0.5, 0.0):
        assert not are_one(matrix, kind, resembling(matrix, cosine, seed), other)


@pytest.mark.parametrize("kind", ["Q2_K", "IQ2_XXS"])
def test_types_too_coarse_to_tell_are_taken_for_two_matrices(kind: str) -> None:
    matrix = random_matrix(0)
    assert not are_one(matrix, kind, resembling(matrix, 0.9, 0), kind)
    assert not are_one(matrix, "Q8_0", resembling(matrix, 0.9, 0), kind)


@pytest.mark.parametrize("rows", [1, 64])
def test_one_row_of_its_own_makes_another_matrix(rows: int) -> None:
    matrix = random_matrix(1)
    other = matrix.copy()
    other[-rows:] = random_matrix(2)[-rows:]
    assert not are_one(matrix, "Q5_0", other, "Q8_0")


def test_rows_that_are_all_but_zero_tell_nothing() -> None:
    matrix, zeros = random_matrix(3), np.zeros((64, WIDTH), np.float32)
    assert not are_roundings_of_one(zeros, zeros, 1e-3)
    unused = matrix.copy()
    unused[40:] *= 1e-9
    assert are_one(unused, "Q4_0", unused, "Q8_0")
    unused[5:] = 0
    assert not are_one(unused, "Q4_0", unused, "Q8_0")


def test_damaged_numbers_are_no_match() -> None:
    matrix = random_matrix(4)
    matrix[3, 3] = np.nan
    assert not are_roundings_of_one(matrix, matrix, 1e-3)


def written(
    path: Path,
    embedding: tuple[np.ndarray, str],
    head: tuple[np.ndarray, str],
    architecture: str = "llama",
) -> Path:
    """A model of one layer whose embedding and head are of these types."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(4)
    writer.add_feed_forward_length(WIDTH)
    writer.add_context_length(128)
    for name, (matrix, kind) in ((EMBEDDING, embedding), (OUTPUT, head)):
        number = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, ggml_rounded(matrix, kind), raw_dtype=number)
    writer.add_tensor("blk.0.attn_q.weight", random_matrix(9, WIDTH))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("embedding", "head", "kept", "kept_type"),
    [
        ("Q5_0", "Q8_0", OUTPUT, "Q8_0"),
        ("Q4_K", "Q6_K", OUTPUT, "Q6_K"),
        ("F16", "Q8_0", EMBEDDING, "F16"),
        ("F16", "F16", EMBEDDING, "F16"),
        ("Q4_0", "IQ4_NL", OUTPUT, "IQ4_NL"),
    ],
)
def test_the_better_copy_is_the_embedding_of_a_tied_model(
    tmp_path: Path, embedding: str, head: str, kept: str, kept_type: str
) -> None:
    matrix = random_matrix(5, rows=512)
    model = read_model(written(tmp_path / "m.gguf", (matrix, embedding), (matrix, head)))
    assert model.tied_embeddings and model.head_name == EMBEDDING
    assert [tensor.name for tensor in model.tensors if tensor.layer is None] == [EMBEDDING]
    found = next(tensor for tensor in model.tensors if tensor.name == EMBEDDING)
    assert (found.source_name, found.dtype, found.group) == (kept, kept_type, "embedding")
    (note,) = model.notes
    assert note.startswith("The head is the embedding stored a second time")
    assert f"{kept_type} copy" in note


def test_the_source_as_it_is_keeps_both(tmp_path: Path) -> None:
    matrix = random_matrix(5, rows=512)
    model = read_model(written(tmp_path / "m.gguf", (matrix, "Q5_0"), (matrix, "Q8_0")))
    types = tensor_types_of(model, SOURCE)
    assert (types[EMBEDDING], types[OUTPUT]) == ("Q5_0", "Q8_0")
    source = next(row for row in format_facts(model) if row.name == SOURCE)
    assert source.file_bytes == model.file_bytes
    assert source.expected_divergence_nats == 0
    copies = sum(TENSOR_TYPES[kind].size_bytes(matrix.size) for kind in ("Q5_0", "Q8_0"))
    assert source.weights.stored_bytes == copies + 4 * WIDTH * WIDTH
    assert model.as_stored.as_stored == model.as_stored and not model.as_stored.tied_embeddings


def test_a_head_of_its_own_is_kept(tmp_path: Path) -> None:
    matrix = random_matrix(5, rows=512)
    for head in (random_matrix(6, rows=512), np.zeros_like(matrix)):
        model = read_model(written(tmp_path / "m.gguf", (matrix, "Q5_0"), (head, "Q8_0")))
        assert not model.tied_embeddings and model.head_name == OUTPUT
        assert model.notes == () and model.as_stored == model
    zeros = np.zeros_like(matrix)
    model = read_model(written(tmp_path / "z.gguf", (zeros, "Q5_0"), (zeros, "Q8_0")))
    assert not model.tied_embeddings


def test_families_that_need_a_head_keep_both(tmp_path: Path) -> None:
    matrix = random_matrix(5, rows=512)
    for family in ("qwen2moe", "unheard-of"):
        made = written(tmp_path / "m.gguf", (matrix, "Q5_0"), (matrix, "Q8_0"), family)
        assert not read_model(made).tied_embeddings


def test_a_file_that_is_written_anew_is_compared_anew(tmp_path: Path) -> None:
    matrix, path = random_matrix(5, rows=512), tmp_path / "m.gguf"
    assert read_model(written(path, (matrix, "Q5_0"), (matrix, "Q8_0"))).tied_embeddings
    other = random_matrix(6, rows=512)
    assert not read_model(written(path, (matrix, "Q5_0"), (other, "Q8_0"))).tied_embeddings


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe", "phi3"])
def test_llama_cpp_loads_a_family_without_a_head_where_the_table_says_so(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    row = next(row for row in ARCHITECTURES if row.gguf_name == family)
    whole = gguf_exporter.export(read_model(tiny_model(family)), tmp_path / "whole.gguf").path
    model = read_model(whole)
    assert not model.tied_embeddings
    tensors = tuple(tensor for tensor in model.tensors if tensor.name != OUTPUT)
    tied = model.model_copy(update={"tensors": tensors, "tied_embeddings": True})
    made = gguf_exporter.export(tied, tmp_path / "tied.gguf").path
    settings = RunSettings(context=256, micro_batch=256, threads=1)
    runtime = find_runtime("llama.cpp")
    if row.needs_head:
        with pytest.raises(Exception, match=r"output\.weight' not found"):
            runtime.complete(made, settings, ["hello"], [2])
    else:
        (answer,) = runtime.complete(made, settings, ["hello"], [2])
        assert answer.tokens or answer.ended
