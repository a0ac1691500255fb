"""ggml's allocator: what lies where, and how long the buffer becomes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecomp.planning.graph_memory import ALIGNMENT, Graph, Value, buffer_bytes

FLOATS = ALIGNMENT // 4
"""Values of a place as small as places are."""


def value(places: int, *sources: Value, over: bool = False) -> Value:
    return Value((places * FLOATS,), sources, over=over)


def places_of(*results: Value) -> int:
    graph = Graph()
    for result in results:
        graph.expand(result)
    return buffer_bytes(graph) // ALIGNMENT


def test_a_place_is_free_again_once_all_readers_have_run() -> None:
    first = value(1)
    second = value(1, first)
    third = value(1, second)
    assert places_of(value(1, third)) == 2
    first = value(1)
    second = value(1, first)
    assert places_of(value(1, second, first)) == 3


def test_the_smallest_place_that_holds_a_value_is_taken_and_the_end_grows_last() -> None:
    wide, after, narrow, last = value(3), value(1), value(1), value(1)
    leaves = value(1, wide, after, narrow, last)
    begun = value(1, wide, narrow)  # Then the places of wide and narrow are free.
    small = value(1, begun)
    large = value(3, small, after, last)
    graph = Graph()
    for leaf in leaves.sources:
        graph.expand(leaf)
    graph.expand(large)
    assert buffer_bytes(graph) // ALIGNMENT == 7
    assert (large.place, begun.place) == (0, None)


def test_what_may_takes_its_last_operands_place_if_it_has_the_same_shape() -> None:
    first = value(2)
    assert places_of(value(2, first, over=True)) == 2
    first = value(2)
    assert places_of(value(1, first, over=True)) == 3
    first = value(2)
    again = value(2, first, over=True)
    assert places_of(value(2, again, first, over=True)) == 4


def test_a_view_takes_no_place_and_is_not_written_over() -> None:
    first = value(2)
    view = Value((2 * FLOATS,), (first,), view_of=first)
    assert places_of(value(2, view, over=True)) == 4
    first = value(2)
    view = Value((FLOATS,), (first,), view_of=first)
    further = value(2, view)
    assert places_of(value(2, further)) == 4


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.lists(st.integers(0, 30), max_size=3), st.booleans()),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_the_buffer_holds_what_lives_at_once_and_never_more_than_everything(
    rows: list[tuple[int, list[int], bool]],
) -> None:
    values: list[Value] = []
    for places, sources, over in rows:
        read = [values[at % len(values)] for at in sources] if values else []
        values.append(value(places, *dict.fromkeys(read), over=over))
    graph = Graph()
    for result in values:
        graph.expand(result)
    most = max(result.size + sum(s.size for s in result.sources if not result.over)
               for result in values)  # fmt: skip
    total = sum(result.size for result in values)
    assert most <= buffer_bytes(graph) <= total
