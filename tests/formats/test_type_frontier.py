"""The greedy frontier of types: within every budget, near the best, and full where that helps."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.formats.type_frontier import TypeFrontier, file_bytes, type_frontier
from edgecomp.models.spec import TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

KINDS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")


def tensor(index: int, rows: int) -> TensorSpec:
    name = f"blk.{index}.ffn_up.weight"
    return TensorSpec(name=name, source_name=name, shape=(rows, 256), dtype="F16", group="ffn")


def frontier_of(tensors: list[TensorSpec], worths: list[float]) -> TypeFrontier:
    worth = {t.name: w for t, w in zip(tensors, worths, strict=True)}
    return type_frontier(
        {t.name: KINDS for t in tensors},
        tensors,
        lambda t, kind: worth[t.name] * TENSOR_TYPES[kind].relative_error,
    )


def total(tensors: list[TensorSpec], types: dict[str, str]) -> int:
    return sum(file_bytes(t, types[t.name]) for t in tensors)


def loss(tensors: list[TensorSpec], worths: list[float], types: dict[str, str]) -> float:
    return sum(
        w * TENSOR_TYPES[types[t.name]].relative_error for t, w in zip(tensors, worths, strict=True)
    )


sizes = st.lists(st.integers(1, 64), min_size=2, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sizes, st.data())
def test_no_budget_is_passed_and_none_loses_much_more_than_the_best(
    rows: list[int], data: st.DataObject
) -> None:
    tensors = [tensor(i, n) for i, n in enumerate(rows)]
    worths = [data.draw(st.floats(0.1, 100.0)) for _ in rows]
    frontier = frontier_of(tensors, worths)
    budget = data.draw(st.integers(frontier.smallest_bytes, frontier.largest_bytes))
    types = frontier.within(budget)
    assert total(tensors, types) <= budget
    best = min(
        loss(tensors, worths, chosen)
        for kinds in product(KINDS, repeat=len(tensors))
        if total(tensors, chosen := dict(zip((t.name for t in tensors), kinds, strict=True)))
        <= budget
    )
    # The greedy choice may miss one step of one tensor: never more than the largest one saves.
    largest = max((step.saved_loss for step in frontier.steps), default=0.0)
    assert loss(tensors, worths, types) <= best + largest + 1e-12


def tried_one_by_one(frontier: TypeFrontier, budget: int) -> float:
    """The least loss within a budget: every type of the largest tensors, every step that fits."""
    least = float("inf")
    for options in product(*frontier.large.values()):
        left = budget - sum(option.size_bytes for option in options)
        left -= sum(option.size_bytes for option in frontier.smallest.values())
        lost = sum(o.loss for o in (*options, *frontier.smallest.values()))
        passed: set[str] = set()
        for step in frontier.steps if left >= 0 else ():
            if step.added_bytes > left or step.tensor in passed:
                passed.add(step.tensor)
            else:
                left, lost = left - step.added_bytes, lost - step.saved_loss
        least = min(least, lost) if left >= 0 else least
    return least


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=6, max_size=12), st.data())
def test_what_is_not_tried_could_not_have_lost_less(rows: list[int], data: st.DataObject) -> None:
    tensors = [tensor(i, n) for i, n in enumerate(rows)]
    worths = [data.draw(st.floats(0.1, 100.0)) for _ in rows]
    frontier = frontier_of(tensors, worths)
    budget = data.draw(st.integers(frontier.smallest_bytes, frontier.largest_bytes))
    found = loss(tensors, worths, frontier.within(budget))
    assert found == pytest.approx(tried_one_by_one(frontier, budget), rel=1e-9)


def test_many_tensors_fill_a_budget_to_the_last_step() -> None:
    tensors = [tensor(i, 100 + i) for i in range(60)]
    frontier = frontier_of(tensors, [1.0 + i % 7 for i in range(60)])
    for share in (0.1, 0.35, 0.5, 0.8, 0.95):
        span = frontier.largest_bytes - frontier.smallest_bytes
        budget = int(frontier.smallest_bytes + share * span)
        used = total(tensors, frontier.within(budget))
        assert 0.995 * budget < used <= budget


def test_more_bytes_never_lose_more() -> None:
    tensors = [tensor(0, 4000), *(tensor(i, 20 * i) for i in range(1, 12))]
    worths = [3.0 + i for i in range(12)]
    frontier = frontier_of(tensors, worths)
    budgets = range(frontier.smallest_bytes, frontier.largest_bytes, 997)
    losses = [loss(tensors, worths, frontier.within(budget)) for budget in budgets]
    # A step left out for want of room may come back a little later, at most one of them at a time.
    largest = max(step.saved_loss for step in frontier.steps)
    assert all(after <= before + largest for before, after in pairwise(losses))
    assert losses[-1] < losses[0] / 20


def test_below_the_smallest_types_those_are_given() -> None:
    tensors = [tensor(i, 8) for i in range(4)]
    types = frontier_of(tensors, [1.0] * 4).within(0)
    assert set(types.values()) == {"Q2_K"}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_type_without_loss_is_never_left_for_a_larger_one(share: float) -> None:
    tensors = [tensor(i, 30) for i in range(5)]
    frontier = type_frontier(
        {t.name: KINDS for t in tensors},
        tensors,
        lambda t, kind: 0.0 if kind == "Q4_K" else TENSOR_TYPES[kind].relative_error,
    )
    span = 2 * frontier.largest_bytes - frontier.smallest_bytes
    types = frontier.within(int(frontier.smallest_bytes + share * span))
    allowed = {"Q2_K", "Q3_K", "Q4_K"}
    assert set(types.values()) <= allowed
