"""Tuning after rounding: nearer to the float model, the same codes, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.blocks import walk
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.destination import Destination
from edgecomp.compress.distill_targets import TargetKind, Targets, cache_targets
from edgecomp.compress.gguf_scales import block_scales, dequantized, with_scales
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.head import HeadSolver
from edgecomp.compress.packed import read_packed, read_packed_index
from edgecomp.compress.rtn import rtn
from edgecomp.compress.tuning import Tuning, trainable, tune
from edgecomp.compress.whole_model import load_whole
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.recipes.tuning import TuningSettings

from .conftest import Save

SETTINGS = TuningSettings(
    passes=2, batch_rows=2, scale_rate=5e-3, norm_rate=5e-3, rated_nats=1e-9, top_k=64
)


@pytest.fixture
def text() -> Tensor:
    """Token ids int64 [24, 16]: counting with steps."""
    start = torch.arange(24)[:, None]
    return 3 + (start * 5 + torch.arange(16) * (1 + start % 3)) % 90


def rounded(checkpoint: Path, text: Tensor, folder: Path) -> Path:
    """Q4_0 to nearest, the head's codes by feedback."""
    grid = gguf_grid("Q4_0")
    head = HeadSolver(checkpoint, folder, "Q4_0", text.numel())
    method = rtn(lambda name: grid, use_importance=False)
    walk(
        checkpoint, text, method, destination=Destination(folder, "rtn", torch.float32), final=head
    )
    return folder


def tuning_of(checkpoint: Path, text: Tensor, folder: Path) -> Tuning:
    targets = cache_targets(checkpoint, text, folder / "targets", TargetKind(64))
    student = rounded(checkpoint, text, folder / "rounded")
    return Tuning(student, text, targets, folder / "tuned", SETTINGS)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "qwen3moe", "gpt2")]


@pytest.mark.parametrize("family", ["llama", "qwen2-sliding", *SLOW])
def test_it_comes_nearer_with_the_same_codes(
    family: str, save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    checkpoint, _ = save_model(family)
    tuning = tuning_of(checkpoint, text, tmp_path)
    tuned = tune(tuning)
    assert tuned.improved and len(tuned.points) == 1 + SETTINGS.passes
    before, after = read_packed_index(tuning.rounded), read_packed_index(tuning.destination)
    assert before is not None and before == after
    stored = stored_tensors(tuning.destination)
    changed = 0
    for entry in after.tensors.values():
        old, new = read_packed(tuning.rounded, entry), read_packed(tuning.destination, entry)
        changed += not torch.equal(old, new)
        if len(entry.shape) == 2:
            scales = block_scales(entry.type, old)
            assert torch.equal(with_scales(entry.type, new, scales), old)
            weight = read_tensor(stored[entry.tensor.partition(":")[2]])
            if not torch.equal(old, new):
                assert torch.equal(weight, dequantized(entry.type, new))
    assert family == "gpt2" or changed
    # What was measured is what is written.
    with torch.no_grad():
        packed = trainable(tuning.destination).model(text[:2]).logits
        loaded = load_whole(tuning.destination)(text[:2]).logits
    assert torch.equal(packed, loaded)


def test_the_same_tuning_gives_the_same_bytes_after_a_kill_too(
    save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    checkpoint, _ = save_model("qwen2-sliding")
    tuning = tuning_of(checkpoint, text[:12], tmp_path)
    tuning = tuning._replace(settings=SETTINGS.model_copy(update={"passes": 1}))
    assert tune(tuning).improved
    files = {p.name: p.read_bytes() for p in sorted(tuning.destination.rglob("*")) if p.is_file()}

    def killed(done: float, total: float) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tuning, progress=killed)
    tune(tuning)
    again = {p.name: p.read_bytes() for p in sorted(tuning.destination.rglob("*")) if p.is_file()}
    assert files == again


def test_a_tuning_towards_garbage_is_thrown_away(
    save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    """What is learnt from rows whose targets are another text's makes the held-out rows worse."""
    checkpoint, _ = save_model("llama")
    tuning = tuning_of(checkpoint, text, tmp_path)
    wrong = cache_targets(checkpoint, text.flip(0), tmp_path / "wrong", TargetKind(64))

    class Mixed(Targets):
        """Right where nothing is trained."""

        def batch(self, samples: Tensor) -> dict[str, Tensor]:
            right = int(samples[0]) in held_out
            return (tuning.targets if right else wrong).batch(samples)

    random = torch.Generator().manual_seed(SETTINGS.seed)
    held_out = torch.randperm(len(text), generator=random)[:3].tolist()
    found = tune(tuning._replace(targets=Mixed(wrong.folder)))
    assert not found.improved and found.best.step == 0
    assert not tuning.destination.exists()


def test_where_little_was_lost_steps_are_small(
    save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    checkpoint, _ = save_model("llama")
    tuning = tuning_of(checkpoint, text, tmp_path)
    moved = {}
    for rated in (1e-9, 1e9):
        settings = SETTINGS.model_copy(update={"rated_nats": rated, "passes": 1})
        first, last = tune(tuning._replace(settings=settings)).points
        moved[rated] = abs(last.divergence - first.divergence)
    assert moved[1e9] < 0.01 * moved[1e-9]


def test_too_few_rows_are_refused(save_model: Save, text: Tensor, tmp_path: Path) -> None:
    checkpoint, _ = save_model("llama")
    tuning = tuning_of(checkpoint, text, tmp_path)
    with pytest.raises(CompressionSettingsInvalid, match="1 rows are too few"):
        tune(tuning._replace(tokens=text[:1]))
