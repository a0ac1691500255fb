"""What was kept of a base's predictions tells of an artifact what both read together tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import ignore_progress
from edgecomp.evaluate.divergence import summarise
from edgecomp.formats.kept_predictions import kept_bytes
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes import predictions
from edgecomp.runtimes.divergence import Figures, Logits, Reader, compare, log_probabilities
from edgecomp.runtimes.predictions import compare_kept, keep, scored_rows
from edgecomp.runtimes.protocol import Windows, find_runtime

STEP = 3
WINDOWS = [list(range(10)), list(range(5, 15))]
SCORED = 2 * 4
LARGE = 151_936
TEXT = " ".join(f"the quick brown fox number {i} jumps" for i in range(40))
SETTINGS = RunSettings(context=32, outputs=8, threads=1)


class TableOfLogits:
    """A session whose logits are rows of a table, by token."""

    def __init__(self, logits: Logits) -> None:
        self.logits = logits
        self.vocabulary = logits.shape[1]

    def start(self, tokens: Sequence[int]) -> None:
        """Nothing is to be remembered."""

    def rows(self, window: Sequence[int], begin: int, end: int) -> Logits:
        return log_probabilities(self.logits[list(window[begin:end])])


READER = Reader(TableOfLogits.start, TableOfLogits.rows)


def both_ways(base: Logits, artifact: Logits, folder: Path) -> tuple[Figures, Figures]:
    """The figures of both read together, and from what was kept of the base."""
    first, second = TableOfLogits(base), TableOfLogits(artifact)
    direct = compare(first, second, WINDOWS, READER, STEP, ignore_progress)
    assert keep(first, WINDOWS, READER, STEP, folder / "kept", ignore_progress)
    return direct, compare_kept(folder / "kept", second, READER, STEP, ignore_progress)


def require_same(direct: Figures, kept: Figures) -> None:
    """All but the divergence is exact; that is within 1e-5 nats or a thousandth, of each token."""
    for name in ("agree", "base_nll", "artifact_nll"):
        assert kept[name] == direct[name]
    for found, wanted in zip(kept["kl"], direct["kl"], strict=True):
        assert found == pytest.approx(wanted, abs=1e-5, rel=1e-3)


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("noise", [0.0, 0.03, 0.3, 1.0])
def test_a_large_vocabulary_is_kept_closely(spread: float, noise: float, tmp_path: Path) -> None:
    source = np.random.default_rng(5)
    base = source.normal(0, spread, (15, LARGE)).astype(np.float32)
    artifact = base + source.normal(0, noise, base.shape).astype(np.float32)
    direct, kept = both_ways(base, artifact, tmp_path)
    require_same(direct, kept)
    assert noise == 0.0 or np.mean(kept["kl"]) > 1e-4
    size = sum(file.stat().st_size for file in (tmp_path / "kept").iterdir())
    assert size == pytest.approx(kept_bytes(LARGE, scored_rows(WINDOWS)), rel=1e-2)
    assert size < SCORED * LARGE * 1.3


def test_an_artifact_that_is_flatter_everywhere_is_told_as_closely(tmp_path: Path) -> None:
    base = np.random.default_rng(6).normal(0, 2, (15, LARGE)).astype(np.float32)
    require_same(*both_ways(base, 0.9 * base, tmp_path))


def test_a_small_vocabulary_is_kept_exactly(tmp_path: Path) -> None:
    source = np.random.default_rng(7)
    base, artifact = (source.normal(0, 3, (15, 512)).astype(np.float32) for _ in "pq")
    direct, kept = both_ways(base, artifact, tmp_path)
    assert kept["kl"] == [pytest.approx(row, rel=1e-6) for row in direct["kl"]]


@pytest.mark.parametrize("vocabulary", [512, 20_000])
def test_what_is_ruled_out_or_no_number_is_told_as_directly(
    vocabulary: int, tmp_path: Path
) -> None:
    source = np.random.default_rng(8)
    base, artifact = (source.normal(0, 2, (15, vocabulary)).astype(np.float32) for _ in "pq")
    base[:, ::3] = -np.inf
    artifact[:, ::9] = -np.inf
    direct, kept = both_ways(base, artifact, tmp_path / "base rules out more")
    assert np.isfinite(kept["kl"]).all()
    require_same(direct, kept)
    direct, kept = both_ways(artifact, base, tmp_path / "artifact rules out more")
    assert np.isinf(kept["kl"]).all()
    require_same(direct, kept)
    direct, kept = both_ways(base, np.full_like(base, np.nan), tmp_path / "artifact is no number")
    assert np.isnan(kept["kl"]).all() and np.sum(kept["agree"]) == 0
    direct, kept = both_ways(np.full_like(base, np.nan), base, tmp_path / "base is no number")
    assert np.isnan(kept["kl"]).all() and np.isnan(direct["kl"]).all()


def test_a_row_with_a_single_possible_token_is_kept(tmp_path: Path) -> None:
    base = np.full((15, 20_000), -np.inf, np.float32)
    base[:, 7] = 0.0
    artifact = np.random.default_rng(9).normal(0, 1, base.shape).astype(np.float32)
    require_same(*both_ways(base, artifact, tmp_path))


def test_more_than_the_most_bytes_is_not_kept_and_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = TableOfLogits(np.zeros((15, 512), np.float32))
    monkeypatch.setattr(predictions, "MOST_BYTES", kept_bytes(512, scored_rows(WINDOWS)) - 1)
    monkeypatch.setattr(session, "logits", None)
    assert not keep(session, WINDOWS, READER, STEP, tmp_path / "kept", ignore_progress)
    assert not list(tmp_path.iterdir())


def test_a_base_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    class Failing(TableOfLogits):
        def rows(self, window: Sequence[int], begin: int, end: int) -> Logits:
            if window is WINDOWS[1]:
                raise RuntimeRefused("the context is full")
            return super().rows(window, begin, end)

    reader = Reader(Failing.start, Failing.rows)
    with pytest.raises(RuntimeRefused, match="full"):
        session = Failing(np.zeros((15, 512), np.float32))
        keep(session, WINDOWS, reader, STEP, tmp_path / "kept", ignore_progress)
    assert not list(tmp_path.iterdir())


def test_llama_cpp_tells_the_same_from_kept_predictions(demo_gguf: Path, tmp_path: Path) -> None:
    runtime, windows = find_runtime("llama.cpp"), Windows(tokens=32, number=2)
    # The artifact's own cache is coarse, the base's stays exact.
    coarse = SETTINGS.model_copy(update={"kv_type": "Q4_0"})
    direct = runtime.compare(demo_gguf, demo_gguf, coarse, TEXT, windows=windows)
    folder = tmp_path / "kept"
    assert runtime.keep_predictions(demo_gguf, coarse, TEXT, windows=windows, folder=folder)
    kept = runtime.compare_kept(folder, demo_gguf, coarse)
    require_same(direct.model_dump(), kept.model_dump())
    found, wanted = summarise(kept), summarise(direct)
    assert wanted.kl_mean > 1e-4
    assert found.kl_mean == pytest.approx(wanted.kl_mean, abs=1e-5, rel=1e-3)
    assert runtime.compare_kept(folder, demo_gguf, SETTINGS).kl != kept.kl
