"""Some of the inputs of `make fuzz`, in the suite."""

from __future__ import annotations

from pathlib import Path

from fuzz.__main__ import carry_out, inputs
from fuzz.kinds import KINDS

INPUTS, SECONDS = 200, 60.0


def test_damaged_files_are_read_or_refused_in_a_paragraph(tmp_path: Path) -> None:  # A19
    counts, failures = carry_out(inputs(list(KINDS), 10**6, INPUTS), tmp_path, 1, SECONDS)
    assert failures == []
    assert sum(sum(row.values()) for row in counts.values()) == INPUTS
    assert set(counts) == set(KINDS)
