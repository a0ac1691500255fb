"""Where torch computes, and what becomes of a card whose memory does not suffice (A17)."""

from __future__ import annotations

import pytest
import torch

from edgecomp.compress import device
from edgecomp.compress.device import best_device, on_best_device


def test_the_card_with_most_free_memory_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [3, 9, 5]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (free[card], 10))
    assert best_device() == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == "cpu"


def test_the_processor_goes_on_where_a_cards_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "best_device", lambda: "cuda:0")
    tried = []

    def work(chosen: str) -> str:
        tried.append(chosen)
        if chosen != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert on_best_device(work) == "done" and tried == ["cuda:0", "cpu"]
    assert "too little memory" in capsys.readouterr().err


def test_the_processors_own_lack_of_memory_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "best_device", lambda: "cpu")

    def work(chosen: str) -> None:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        on_best_device(work)
