"""One line with every screen and its key; a click goes there too."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from .pages import PAGES


class Navigation(Widget):
    """The eight screens; `here` is the one shown."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"navigation--here"}

    def __init__(self, here: str) -> None:
        super().__init__()
        self.auto_links = False
        self.here = here

    def render(self) -> Text:
        line = Text(no_wrap=True, end="")
        for number, (name, title) in enumerate(PAGES.items(), start=1):
            place = Text(str(number), style="bold").append(f" {title}", style="not bold")
            if name == self.here:
                place = Text(place.plain)
                place.stylize(self.get_component_rich_style("navigation--here"))
            place.stylize(Style(meta={"@click": f"app.show({name!r})"}))
            line.append(" ").append_text(place).append(" ")
        return line
