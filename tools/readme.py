"""Bring the README's generated parts up to date: the commands, a plan, and the summary of a run.

`make readme` runs it after `make demo`. With --check it changes nothing and fails where the table
of commands is stale, which a test uses.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import typer.main
from rich.console import Console, RenderableType

from edgecomp.cli import app
from edgecomp.devices.finding import find_device
from edgecomp.models.reading import read_model
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.constraints import Constraints
from edgecomp.terminal.plan_tables import plan_answer

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BUNDLE = ROOT / "demo-edge"
PLANNED_DEVICE, PLANNED_BYTES = "raspberry-pi-5-8gb", 80 * 10**6


def commands() -> str:
    """The commands and their one-line helps, from the program itself."""
    rows = ["| command | what it does |", "| --- | --- |"]
    group = typer.main.get_group(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        for inner_name, inner_command in (inner or {}).items():
            rows.append(f"| `edgecomp {name} {inner_name}` | {first_line(inner_command.help)} |")
        if not inner:
            rows.append(f"| `edgecomp {name}` | {first_line(command.help)} |")
    return "\n".join(rows)


def first_line(text: str | None) -> str:
    """The first line of a command's help."""
    return (text or "").strip().splitlines()[0]


def summary() -> str:
    """The summary of the demo's bundle as a terminal shows it."""
    from edgecomp.jobs.fit import Fitted
    from edgecomp.reporting.report import Report
    from edgecomp.terminal.report_tables import summary as rendered

    report = Report.model_validate_json((BUNDLE / "report.json").read_text(encoding="utf-8"))
    return captured(rendered(Fitted(folder=Path(BUNDLE.name), report=report)), width=100)


def plan() -> str:
    """What a plan under a limit says, in 80 columns."""
    made = make_plan(
        read_model("demo"), find_device(PLANNED_DEVICE), Constraints(max_size_bytes=PLANNED_BYTES)
    )
    return captured(plan_answer(made), width=80)


def captured(shown: RenderableType, width: int) -> str:
    """What a terminal of `width` columns shows, as a block of code."""
    console = Console(file=io.StringIO(), width=width, highlight=False, record=True)
    console.print(shown)
    text = "\n".join(line.rstrip() for line in console.export_text().splitlines())
    return f"```\n{text.strip()}\n```"


def replaced(text: str, name: str, content: str) -> str:
    """`text` with the part between the markers of `name` replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.S)


def main() -> None:
    """Rewrite the README, or check it."""
    old = README.read_text(encoding="utf-8")
    new = replaced(old, "commands", commands())
    if "--check" in sys.argv:
        raise SystemExit(0 if new == old else "README.md is stale: run `make readme`.")
    new = replaced(replaced(new, "plan", plan()), "summary", summary())
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
