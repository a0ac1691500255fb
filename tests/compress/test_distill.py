"""Distillation: the student comes closer to the teacher, resumes exactly, and stops in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress import distill as distillation
from edgecomp.compress.distill import Training, distill, processes
from edgecomp.compress.distill_loss import divergence
from edgecomp.compress.distill_targets import TargetKind, cache_targets
from edgecomp.compress.structured import measure_importance, prune
from edgecomp.models.reading import read_model
from edgecomp.recipes.distillation import Distillation, History, check_share, training_flops
from edgecomp.recipes.smaller_model import Sizes

from .conftest import Save

SETTINGS = Distillation(steps=80, batch_samples=4, learning_rate=3e-3, evaluate_every=10)


@pytest.fixture
def text() -> Tensor:
    """Token ids int64 [24, 16]: counting with steps, so that there is something to learn."""
    start = torch.arange(24)[:, None]
    return 3 + (start * 5 + torch.arange(16) * (1 + start % 3)) % 90


def test_with_all_tokens_kept_the_divergence_is_the_full_kl() -> None:
    random = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 5, 97, generator=random)
    log_teacher = teacher.log_softmax(-1)
    expected = (log_teacher.exp() * (log_teacher - student.log_softmax(-1))).sum(-1)
    best = log_teacher.topk(97)
    torch.testing.assert_close(divergence(student, best.indices, best.values), expected)


@pytest.mark.parametrize("k", [1, 8, 64])
def test_with_few_tokens_kept_the_divergence_is_a_lower_bound_that_grows_with_k(k: int) -> None:
    random = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 50, 97, generator=random)
    log_teacher = teacher.log_softmax(-1)
    full = (log_teacher.exp() * (log_teacher - student.log_softmax(-1))).sum(-1)
    few, more = log_teacher.topk(k), log_teacher.topk(k + 30)
    apart = divergence(student, few.indices, few.values)
    closer = divergence(student, more.indices, more.values)
    assert (apart >= -1e-6).all() and (apart <= closer + 1e-6).all()
    assert (closer <= full + 1e-5).all()


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_cached_targets_are_the_teachers_own(
    family: str, temperature: float, save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    targets = cache_targets(
        folder, text, tmp_path / "cache", TargetKind(top_k=8, temperature=temperature)
    )
    with torch.no_grad():
        output = model(text[3:5], output_hidden_states=True)
    best = (output.logits / temperature).log_softmax(-1).topk(8)
    found = targets.batch(torch.tensor([3, 4]))
    torch.testing.assert_close(found["log_probabilities"], best.values, rtol=1e-3, atol=1e-3)
    assert (found["ids"] == best.indices).float().mean() > 0.99  # equal ones may change places
    torch.testing.assert_close(found["last"], output.hidden_states[-1], rtol=2e-3, atol=2e-3)
    middle = output.hidden_states[(len(output.hidden_states) - 1) // 2]
    torch.testing.assert_close(found["middle"], middle, rtol=2e-3, atol=2e-3)


def pruned(folder: Path, text: Tensor, out: Path, sizes: Sizes) -> Path:
    prune(folder, out, measure_importance(folder, text), sizes)
    return out


@pytest.mark.parametrize(
    "sizes",
    [Sizes(blocks=2), pytest.param(Sizes(blocks=2, channels=48), marks=pytest.mark.slow)],
)
def test_r42_held_out_divergence_falls_by_more_than_half(
    sizes: Sizes, save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    student = pruned(folder, text, tmp_path / "student", sizes)
    targets = cache_targets(folder, text, tmp_path / "cache", TargetKind(top_k=32))
    history = distill(Training(student, text, targets, tmp_path / "out", SETTINGS))
    best = min(history.points, key=lambda point: point.divergence)
    assert best.divergence < 0.5 * history.points[0].divergence
    # What was written is the best model that was measured.
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    held_out = torch.arange(22, 24)
    wanted = targets.batch(held_out)
    with torch.no_grad():
        apart = divergence(model(text[held_out]).logits, wanted["ids"], wanted["log_probabilities"])
    assert float(apart.mean()) == pytest.approx(best.divergence, rel=1e-4)


def test_a_checkpoint_of_the_bare_decoder_is_written_with_its_own_names(  # A6
    save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    """GPT-2 as the hub has it: `h.0…`, without the model's prefix."""
    folder, _ = save_model("gpt2")
    prefix = "transformer."
    bare = {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    targets = cache_targets(folder, text, tmp_path / "cache", TargetKind(top_k=8))
    settings = SETTINGS.model_copy(update={"steps": 2, "evaluate_every": 1})
    distill(Training(folder, text, targets, tmp_path / "out", settings))
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == bare.keys() and "h.0.attn.c_attn.weight" in written
    assert {name: t.shape for name, t in written.items()} == {n: t.shape for n, t in bare.items()}


def test_a_killed_distillation_goes_on_and_ends_with_the_same_bytes(
    save_model: Save, text: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = save_model("llama")
    student = pruned(folder, text, tmp_path / "student", Sizes(blocks=2))
    targets = cache_targets(folder, text, tmp_path / "cache", TargetKind(top_k=32))
    distill(Training(student, text, targets, tmp_path / "whole", SETTINGS))

    def killed(done: float, total: float) -> None:
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(
            Training(student, text, targets, tmp_path / "resumed", SETTINGS),
            progress=killed,
        )
    steps: list[float] = []
    distill(
        Training(student, text, targets, tmp_path / "resumed", SETTINGS),
        progress=lambda done, total: steps.append(done),
    )
    assert steps[0] == 20
    whole, resumed = (load_file(tmp_path / d / "model.safetensors") for d in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


TRAINING = """
import sys
from pathlib import Path
import numpy, torch
from edgecomp.compress.distill import Training, distill
from edgecomp.compress.distill_targets import Targets
from edgecomp.recipes.distillation import Distillation

student, text, targets, out, settings, last = sys.argv[1:]

def progress(done, total):
    if done == int(last):
        raise SystemExit(3)

training = Training(
    Path(student), torch.from_numpy(numpy.load(text)), Targets(Path(targets)), Path(out),
    Distillation.model_validate_json(settings),
)
distill(training, devices=2, progress=progress)
"""


@pytest.mark.parametrize(
    "sizes",
    [Sizes(blocks=2), pytest.param(Sizes(blocks=2, channels=48), marks=pytest.mark.slow)],
)
def test_two_processes_take_the_steps_of_one_and_go_on_after_a_kill(
    sizes: Sizes, save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    student = pruned(folder, text, tmp_path / "student", sizes)
    targets = cache_targets(folder, text, tmp_path / "cache", TargetKind(top_k=32))
    changes = {"steps": 30, "batch_samples": 3, "accumulation": 2, "cross_entropy_weight": 0.1}
    settings = SETTINGS.model_copy(update=changes)
    alone = distill(Training(student, text, targets, tmp_path / "alone", settings))
    np.save(tmp_path / "text.npy", text.numpy())
    command = [
        sys.executable, "-c", TRAINING, str(student), str(tmp_path / "text.npy"),
        str(targets.folder), str(tmp_path / "shared"), settings.model_dump_json(),
    ]  # fmt: skip
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([*command, "15"], capture_output=True, text=True, env=one_thread)
    assert killed.returncode == 3, killed.stderr
    done = subprocess.run([*command, "-1"], capture_output=True, text=True, env=one_thread)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "shared/distillation.json").read_text())
    shared = History.model_validate(said["history"])
    assert [point.step for point in shared.points] == [0, 10, 20, 30]
    for mine, theirs in zip(alone.points, shared.points, strict=True):
        assert theirs.divergence == pytest.approx(mine.divergence, rel=1e-3)
    ours, theirs_ = (load_file(tmp_path / d / "model.safetensors") for d in ("alone", "shared"))
    for name, weight in ours.items():
        torch.testing.assert_close(theirs_[name], weight, rtol=1e-3, atol=1e-4)


def test_as_many_devices_train_as_share_a_steps_samples_evenly() -> None:
    settings = SETTINGS.model_copy(update={"batch_samples": 3, "accumulation": 2})
    assert [processes(settings, devices) for devices in (0, 1, 2, 3, 4, 8)] == [1, 1, 2, 3, 3, 6]


def test_training_stops_when_the_held_out_divergence_no_longer_falls(
    save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    targets = cache_targets(folder, text, tmp_path / "cache", TargetKind(top_k=32))
    settings = SETTINGS.model_copy(update={"evaluate_every": 2, "patience": 2})
    # The student is the teacher: it can only get worse.
    history = distill(Training(folder, text, targets, tmp_path / "out", settings))
    assert history.stopped_early
    assert len(history.points) == 3
    teacher = load_file(folder / "model.safetensors")
    written = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(teacher[name], written[name]) for name in teacher)


def test_r41_a_student_must_have_40_to_60_percent_of_the_teachers_parameters(
    save_model: Save, text: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    teacher = read_model(folder)
    with pytest.raises(CompressionSettingsInvalid, match="40 to 60 %"):
        check_share(teacher, teacher)
    student = read_model(pruned(folder, text, tmp_path / "student", Sizes(blocks=1)))
    check_share(teacher, student)
    with pytest.raises(CompressionSettingsInvalid, match="one tokenizer"):
        check_share(teacher, student.model_copy(update={"vocabulary": 5}))


def test_the_cost_is_six_operations_a_parameter_and_token(save_model: Save) -> None:
    folder, _ = save_model("llama")
    spec = read_model(folder)
    assert training_flops(spec, SETTINGS, length=16) == 6 * spec.parameters * 80 * 4 * 16


def test_too_few_samples_are_refused(save_model: Save, text: Tensor, tmp_path: Path) -> None:
    folder, _ = save_model("llama")
    targets = cache_targets(folder, text[:1], tmp_path / "cache", TargetKind(top_k=8))
    with pytest.raises(CompressionSettingsInvalid, match="too few"):
        distillation.distill(
            Training(
                student=folder,
                tokens=text[:1],
                targets=targets,
                destination=tmp_path / "out",
                settings=SETTINGS,
            )
        )
