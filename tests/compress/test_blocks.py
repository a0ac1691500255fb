"""The block walker: what flows through it, what it writes, and how it goes on after a kill."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from edgecomp.common.errors import (
    ActivationsNotFinite,
    ArchitectureUnsupported,
    CalibrationUnusable,
    DiskFull,
    NotWritable,
)
from edgecomp.compress import blocks, in_order
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.grids import integer_grid

from .conftest import FAMILIES, Save


def leave(block: Block) -> None:
    """Change nothing."""


def halve(block: Block) -> None:
    for linear in block.linears.values():
        linear.weight.mul_(0.5)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("family", FAMILIES)
def test_walked_logits_equal_the_plain_models(
    family: str, save_model: Save, tokens: torch.Tensor
) -> None:
    folder, model = save_model(family)
    states: list[torch.Tensor] = []
    walk(folder, tokens, leave, final=states.append)
    with torch.no_grad():
        logits = model.get_output_embeddings()(torch.cat(states)).view(*tokens.shape, -1)
        cap = getattr(model.config, "final_logit_softcapping", None)
        logits = cap * torch.tanh(logits / cap) if cap else logits
        torch.testing.assert_close(logits, model(tokens).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unchanged_walk_writes_an_equal_checkpoint(
    family: str, save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    walk(folder, tokens, leave, destination=Destination(folder=tmp_path / "out"))
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(written[name], weight), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_next_block_sees_the_compressed_blocks_outputs(
    family: str, save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model(family)
    states: list[torch.Tensor] = []
    walk(
        folder, tokens, halve, destination=Destination(folder=tmp_path / "out"), final=states.append
    )
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected = written.base_model(tokens).last_hidden_state
    torch.testing.assert_close(torch.cat(states).view_as(expected), expected)


def test_a_bfloat16_source_is_run_with_the_weights_that_are_written(
    save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, model = save_model("llama")
    model.bfloat16().save_pretrained(folder)

    def scale(block: Block) -> None:
        for linear in block.linears.values():
            linear.weight.mul_(1.2345)  # not a bfloat16 number

    states: list[torch.Tensor] = []
    walk(
        folder, tokens, scale, destination=Destination(folder=tmp_path / "out"), final=states.append
    )
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16).float()
    with torch.no_grad():
        expected = written.base_model(tokens).last_hidden_state
    torch.testing.assert_close(torch.cat(states).view_as(expected), expected)
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_a_killed_walk_goes_on_after_the_last_finished_block_with_the_same_bytes(
    finished: int, save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    seen: list[int] = []

    def centre(block: Block) -> None:
        """Depends on the inputs, so that a wrong resumption changes bytes."""
        means: dict[str, torch.Tensor] = {}
        block.observe({n: lambda x, n=n: means.__setitem__(n, x.mean()) for n in block.linears})
        for name, linear in block.linears.items():
            linear.weight.mul_(1 + means[name])
        seen.append(block.index)

    def killed(block: Block) -> None:
        if block.index == finished:
            raise KeyboardInterrupt
        centre(block)

    walk(folder, tokens, centre, destination=Destination(folder=tmp_path / "whole", job="centre"))
    with pytest.raises(KeyboardInterrupt):
        if finished == 3:
            raise KeyboardInterrupt
        walk(
            folder,
            tokens,
            killed,
            destination=Destination(folder=tmp_path / "resumed", job="centre"),
        )
    seen.clear()
    walk(folder, tokens, centre, destination=Destination(folder=tmp_path / "resumed", job="centre"))
    assert seen == list(range(finished if finished < 3 else 0, 3))
    assert folder_bytes(tmp_path / "resumed") == folder_bytes(tmp_path / "whole")
    walk(folder, tokens, centre, destination=Destination(folder=tmp_path / "resumed", job="centre"))
    assert seen == list(range(finished if finished < 3 else 0, 3))  # nothing was left to do


def test_another_job_in_the_same_folder_starts_anew(
    save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, model = save_model("llama")
    walk(folder, tokens, leave, destination=Destination(folder=tmp_path / "out", job="leave"))
    walk(folder, tokens, halve, destination=Destination(folder=tmp_path / "out", job="halve"))
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    name = "model.layers.2.mlp.down_proj.weight"
    assert torch.equal(written[name], model.state_dict()[name] / 2)


def test_a_folder_that_holds_another_model_is_not_overwritten(
    save_model: Save, tokens: torch.Tensor
) -> None:
    folder, _ = save_model("llama")
    with pytest.raises(NotWritable, match="already holds a model"):
        walk(folder, tokens, leave, destination=Destination(folder=folder))
    assert (folder / "model.safetensors").is_file()


def test_hidden_states_too_large_for_memory_live_in_a_file_and_give_the_same_bytes(
    save_model: Save, tokens: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = save_model("llama")
    walk(folder, tokens, halve, destination=Destination(folder=tmp_path / "memory"))
    monkeypatch.setattr(blocks, "available_memory_bytes", lambda: 0)
    walk(folder, tokens, halve, destination=Destination(folder=tmp_path / "file"))
    assert folder_bytes(tmp_path / "file") == folder_bytes(tmp_path / "memory")


def test_scratch_that_would_take_memory_is_not_written(  # A9
    save_model: Save, tokens: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = save_model("llama")
    monkeypatch.setattr(blocks, "available_memory_bytes", lambda: 0)
    monkeypatch.setattr(blocks, "in_memory", lambda folder: True)
    monkeypatch.setattr(blocks, "_map_file", lambda file, elements: pytest.fail("written"))
    walk(folder, tokens, leave)


def test_scratch_on_a_full_disk_is_an_explained_error(tmp_path: Path) -> None:  # A9
    """And no bus error at the page that finds no room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mounted, capture_output=True).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("no small disk can be mounted here")
    try:
        with pytest.raises(DiskFull):
            blocks._map_file(disk / "states", 2**20)
        assert not list(disk.iterdir())
        blocks._map_file(disk / "states", 2**10).fill_(1.0)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_linears_that_read_one_tensor_are_grouped_in_the_order_they_run(
    save_model: Save, tokens: torch.Tensor
) -> None:
    folder, _ = save_model("llama")
    groups: list[Any] = []
    walk(folder, tokens, lambda block: groups.append(block.shared_inputs()))
    assert groups[0] == [
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ("self_attn.o_proj",),
        ("mlp.gate_proj", "mlp.up_proj"),
        ("mlp.down_proj",),
    ]


def test_infinite_activations_name_their_layer(save_model: Save, tokens: torch.Tensor) -> None:
    folder, _ = save_model("llama")

    def break_one(block: Block) -> None:
        if block.index == 1:
            block.linears["mlp.up_proj"].weight[3, 5] = float("inf")

    with pytest.raises(ActivationsNotFinite, match=r"model\.layers\.1\.mlp\.up_proj"):
        walk(folder, tokens, break_one)


@pytest.mark.parametrize(
    "bad",
    [torch.full((2, 8), 97), torch.full((2, 8), -1), torch.zeros(0, 8).long(), torch.zeros(2, 8)],
)
def test_unusable_calibration_is_refused(bad: torch.Tensor, save_model: Save) -> None:
    folder, _ = save_model("llama")
    with pytest.raises(CalibrationUnusable):
        walk(folder, bad, leave)


def test_a_checkpoint_without_a_needed_tensor_is_refused_by_name(
    save_model: Save, tokens: torch.Tensor
) -> None:
    folder, _ = save_model("llama")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file)
    with pytest.raises(ArchitectureUnsupported, match=r"layers\.1\.mlp\.up_proj"):
        walk(folder, tokens, leave)


def test_a_checkpoint_saved_from_the_bare_decoder_is_walked(
    save_model: Save, tokens: torch.Tensor
) -> None:
    folder, model = save_model("gpt2")
    states: list[torch.Tensor] = []
    save_file(
        {
            n.removeprefix("transformer."): t
            for n, t in load_file(folder / "model.safetensors").items()
        },
        folder / "model.safetensors",
    )
    walk(folder, tokens, leave, final=states.append)
    with torch.no_grad():
        expected = model.base_model(tokens).last_hidden_state
    torch.testing.assert_close(torch.cat(states).view_as(expected), expected)


def test_tokenizer_and_template_travel_unchanged_but_records_of_old_weights_do_not(
    save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    (folder / "tokenizer.json").write_bytes(b"\x00 any bytes \xff")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "packed.json").write_text("codes of weights that are about to change")
    walk(folder, tokens, halve, destination=Destination(folder=tmp_path / "out"))
    assert (tmp_path / "out/tokenizer.json").read_bytes() == b"\x00 any bytes \xff"
    assert (tmp_path / "out/chat_template.jinja").read_text() == "{{ messages }}"
    assert not (tmp_path / "out/packed.json").exists()


@pytest.mark.parametrize("waiting_bytes", [0, 2**40])
def test_a_wide_block_reports_while_it_is_read_and_solved(  # A2
    save_model: Save, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch, waiting_bytes: int
) -> None:
    """In one pass through the block, and in one pass before."""
    folder, _ = save_model("llama")
    monkeypatch.setattr(blocks, "TOKENS_PER_BATCH", tokens.shape[1])
    monkeypatch.setattr(in_order, "WAITING_BYTES", waiting_bytes)
    reported: list[float] = []
    walk(
        folder, tokens, gptq_method(lambda name: integer_grid(4, 32, symmetric=False)),
        progress=lambda done, total: reported.append(done),
    )  # fmt: skip
    inside = [done for done in reported if 0 < done < 1]
    assert len(set(inside)) > len(tokens) and reported == sorted(reported)
    assert max(inside) > 0.8 and reported[-1] == 3
