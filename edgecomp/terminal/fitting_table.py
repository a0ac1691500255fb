"""A table that loses no figure where the terminal is narrow: first its headings break into lines,
then its columns move together."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

LONGEST_UNBROKEN = 16
"""Characters of a cell that is a figure or a name; a longer one is prose, which may wrap."""

UNLIMITED = 10_000


class FittingTable(Table):
    """A table without lines, with two blanks between columns, or one where two do not fit."""

    _figures: list[Column]
    """The columns whose cells are all short: no cell of theirs is ever broken."""

    def __init__(
        self, columns: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]]
    ) -> None:
        super().__init__(box=None, pad_edge=False)
        self._figures = []
        for index, (name, right) in enumerate(zip(columns, numeric, strict=True)):
            cells = [row[index] for row in rows]
            lengths = [len(text) for text in (*name.split(), *cells)]
            self.add_column(
                name,
                justify="right" if right else "left",
                min_width=max((n for n in lengths if n <= LONGEST_UNBROKEN), default=1),
            )
            if all(len(cell) <= LONGEST_UNBROKEN for cell in cells):
                self._figures.append(self.columns[-1])
        for row in rows:
            self.add_row(*(Text(cell) for cell in row))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for broken, collapsed in ((False, False), (True, False), (True, True)):
            for column in self._figures:
                column.max_width = column.min_width if broken else None
            self.collapse_padding = collapsed
            wanted = Measurement.get(console, options.update(max_width=UNLIMITED), self)
            if wanted.maximum <= options.max_width:
                break
        yield from super().__rich_console__(console, options)
