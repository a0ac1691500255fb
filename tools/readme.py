"""Bring the README's generated parts up to date: the table of commands and the captured summary.

`make readme` runs it after `make demo`. With --check it changes nothing and fails where the table
of commands is stale, which a test uses.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import typer.main
from rich.console import Console

from edgecomp.cli import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BUNDLE = ROOT / "demo-edge"


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
    console = Console(file=io.StringIO(), width=100, highlight=False, record=True)
    console.print(rendered(Fitted(folder=Path(BUNDLE.name), report=report)))
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
    README.write_text(replaced(new, "summary", summary()), encoding="utf-8")


if __name__ == "__main__":
    main()
