"""Types of a KV cache: keys and values together or apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.tasks import KV_TYPES
from edgecomp.formats.cache_types import (
    CACHE_CHOICES,
    cache_types,
    expected_cache_loss,
    suits_heads,
)
from edgecomp.models.reading import read_model


def test_auto_chooses_from_what_can_be_named() -> None:
    assert set(CACHE_CHOICES) == set(KV_TYPES) - {"auto"}


@pytest.mark.parametrize(
    ("kv_type", "both"),
    [("F16", ("F16", "F16")), ("Q4_0", ("Q4_0", "Q4_0")), ("Q8_0/Q4_0", ("Q8_0", "Q4_0"))],
)
def test_one_name_is_for_both_and_a_slash_parts_them(kv_type: str, both: tuple[str, str]) -> None:
    assert cache_types(kv_type) == both


def test_fewer_bits_are_expected_to_lose_more(demo_gguf: Path) -> None:
    model = read_model(demo_gguf)
    losses = [expected_cache_loss(model, kind) for kind in CACHE_CHOICES]
    assert losses[0] == 0 and losses == sorted(losses) and len(set(losses)) == len(losses)


def test_heads_that_do_not_divide_by_a_block_take_float_types_only(demo_gguf: Path) -> None:
    odd = read_model(demo_gguf).model_copy(update={"key_length": 40})
    assert [kind for kind in CACHE_CHOICES if suits_heads(odd, kind)] == ["F16"]
