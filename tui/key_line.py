"""The keys that work now, in one line; a click on one presses it.

Textual's Footer makes a widget of each key and makes them all anew each time the focus moves, which
took more than half of the time to answer a key. This is one widget that draws one line.
"""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget


class KeyLine(Widget):
    """The screen's keys on the left, the command palette's on the right."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--edge"}

    def __init__(self) -> None:
        super().__init__()
        # What a key does is no link to be underlined.
        self.auto_links = False
        self._keys: list[Binding] = []
        self._palette: Binding | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self.show_keys)

    def show_keys(self, screen: Screen[None]) -> None:
        """Take over the keys of what has the focus, one for each action."""
        keys: dict[str, Binding] = {}
        palette = None
        for key, active in screen.active_bindings.items():
            if key == self.app.COMMAND_PALETTE_BINDING:
                palette = active.binding
            elif active.binding.show:
                keys.setdefault(active.binding.action, active.binding)
        shown = list(keys.values())
        if (shown, palette) != (self._keys, self._palette):
            self._keys, self._palette = shown, palette
            self.refresh()

    def render(self) -> Text:
        line = Text(" ", no_wrap=True, end="").join(self._key(binding) for binding in self._keys)
        if self._palette:
            edge = self.get_component_rich_style("key-line--edge", partial=True)
            right = Text.assemble(("▏", edge), self._key(self._palette))
            line.truncate(max(self.size.width - right.cell_len, 0), pad=True)
            line.append_text(right)
        return line

    def _key(self, binding: Binding) -> Text:
        key_style = self.get_component_rich_style("key-line--key", partial=True)
        text = Text.assemble(
            (self.app.get_key_display(binding), key_style), f" {binding.description}"
        )
        text.stylize(Style(meta={"@click": f"app.simulate_key({binding.key!r})"}))
        return text
