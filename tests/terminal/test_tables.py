"""What the command prints, on terminals of 80 columns and fewer."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from edgecomp.common.quantity import format_size
from edgecomp.devices.finding import find_device
from edgecomp.models.reading import read_model
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.constraints import Constraints
from edgecomp.reporting.sections import Section
from edgecomp.terminal.plan_tables import plan_answer, plan_table
from edgecomp.terminal.report_tables import section_table
from edgecomp.terminal.tables import device_table


def printed(renderable: object, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("device", ["rtx-4090", "raspberry-pi-5-8gb"])
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-30B-A3B"])
def test_a_plan_shows_every_figure_in_eighty_columns(
    header_only: Callable[[str], Path], name: str, device: str
) -> None:
    plan = make_plan(read_model(header_only(name)), find_device(device), Constraints(context=4096))
    text = printed(plan_table(plan), 80)
    assert "…" not in text
    for row in plan.candidates:
        if not row.rejections:
            peak = format_size(row.memory.total_bytes)
            loss = f"{row.expected_divergence_nats:.3f}"
            assert re.search(rf"^{row.format} .*{re.escape(peak)} .*{loss}", text, re.M)


def test_a_whole_table_has_contexts_as_columns(demo_gguf: Path) -> None:
    plan = make_plan(read_model(demo_gguf), find_device("office-laptop-ddr4"), Constraints())
    text = printed(plan_table(plan), 160)
    rows = [row for row in plan.candidates if row.format == "Q6_K"]
    assert len(rows) == 3
    (line,) = [line for line in text.splitlines() if line.startswith("Q6_K")]
    assert all(format_size(row.memory.total_bytes) in line for row in rows)


@pytest.mark.parametrize("device", ["rtx-4090", "raspberry-pi-5-8gb"])
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-30B-A3B"])
def test_the_answer_comes_first_and_fits_eighty_columns(
    header_only: Callable[[str], Path], name: str, device: str
) -> None:
    plan = make_plan(read_model(header_only(name)), find_device(device), Constraints())
    lines = printed(plan_answer(plan), 80).splitlines()
    assert "…" not in "".join(lines)
    if plan.chosen:
        assert lines[1].startswith(f"Chosen: {plan.chosen.name}, ")
    else:
        assert plan.nearest and lines[1].startswith("Nothing fits.")
    assert len(lines) < 30


CAPABILITIES = Section(
    title="Capabilities",
    columns=("capability", "items", "base %", "artifact %", "drop points", "95 % interval",
             "retention %", "resolved"),
    rows=(("over-refusal", "122", "100.0", "100.0", "+0.0", "-32.7 to +32.7", "100.0",
           "base at chance"),),
)  # fmt: skip


def test_headings_break_before_a_figure_does() -> None:
    text = printed(section_table(CAPABILITIES), 80)
    assert re.search(r"^over-refusal .*-32.7 to \+32.7 .* base at chance$", text, re.M), text


def test_a_wide_terminal_keeps_two_blanks_between_columns() -> None:
    lines = printed(section_table(CAPABILITIES), 120).splitlines()
    assert any(line.startswith("over-refusal    122   100.0") for line in lines)


def test_a_rate_is_never_written_with_an_exponent() -> None:
    shown = " ".join(printed(device_table(find_device("rtx-4090")), 200).split())
    assert "int4 1,3" in shown and "e+" not in shown
