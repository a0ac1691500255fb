"""Pick a model and see what its headers say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import DirectoryTree, Input, OptionList, Static
from textual.widgets.option_list import Option

from .choice_list import ChoiceList
from .cut import cut_middle
from .notice import Notice
from .page import Page

if TYPE_CHECKING:
    from edgecomp.models.spec import ModelSpec

LIST_WIDTH = 24


class ModelTree(DirectoryTree):
    """Folders and GGUF files only."""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path
            for path in paths
            if not path.name.startswith(".") and (path.suffix == ".gguf" or path.is_dir())
        ]


class ModelScreen(Page):
    """A list, a folder tree and a field on the left; the model on the right."""

    PAGE = "model"
    PURPOSE = (
        "Pick the model to fit: the demo, a recent one, a GGUF file or a Hugging Face folder. "
        "Only its headers are read."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "path", "Type a path", key_display="/"),
        Binding("escape", "list", "List", show=False),
    ]

    def body(self) -> Iterable[Widget]:
        with Horizontal():
            with Vertical(id="model-picker"):
                yield Input(placeholder="folder, file or hub id", id="model-path", compact=True)
                yield ChoiceList(Option("demo", id="demo"), id="model-list")
                yield ModelTree(".", id="model-tree")
            with VerticalScroll(id="model-facts"):
                yield Notice("model-notice")
                yield Static(id="model-bytes")
                yield Static(id="model-table")

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#model-list", OptionList))
        self.list_recent()

    def show_session(self) -> None:
        model = self.session.model
        if model:
            self.show_model(model)
        elif not self.query_one("#model-notice", Notice).display:
            self.query_one("#model-notice", Notice).say(
                "empty", "No model is chosen. Enter takes the highlighted one."
            )

    @work(thread=True, group="recent", exclusive=True)
    def list_recent(self) -> None:
        from .recent import read_recent

        names = [name for name in read_recent().models if name != "demo"]
        self.app.call_from_thread(self._add_recent, names)

    def _add_recent(self, names: list[str]) -> None:
        listed = self.query_one("#model-list", OptionList)
        listed.clear_options()
        listed.add_option(Option("demo", id="demo"))
        for name in names:
            listed.add_option(Option(cut_middle(name, LIST_WIDTH), id=name))
        listed.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.choose(event.option.id or "demo")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.choose(event.value.strip())

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        self.choose(str(event.path))

    def on_directory_tree_directory_selected(self, event: DirectoryTree.DirectorySelected) -> None:
        if (event.path / "config.json").is_file():
            self.choose(str(event.path))

    def action_path(self) -> None:
        self.set_focus(self.query_one("#model-path", Input))

    def action_list(self) -> None:
        self.set_focus(self.query_one("#model-list", OptionList))

    def choose(self, name: str) -> None:
        """Read the headers of `name`; the model shown so far stays chosen if that fails."""
        self.query_one("#model-notice", Notice).say("loading", f"Reading the headers of {name}")
        self.read(name)

    @work(thread=True, group="model", exclusive=True)
    def read(self, name: str) -> None:
        from edgecomp.common.errors import EdgecompError
        from edgecomp.models.reading import read_model

        from .recent import remember_model

        try:
            model = read_model(name)
        except (EdgecompError, OSError) as error:
            self.app.call_from_thread(self._fail, str(error))
            return
        remember_model(name)
        self.app.call_from_thread(self._take, name, model)

    def _fail(self, text: str) -> None:
        self.query_one("#model-table", Static).display = False
        self.query_one("#model-bytes", Static).display = False
        self.query_one("#model-notice", Notice).say("error", text)

    def _take(self, name: str, model: ModelSpec) -> None:
        self.session.model_name, self.session.model = name, model
        self.session.forget_plan()
        self.show_where()
        self.show_model(model)

    def show_model(self, model: ModelSpec) -> None:
        from edgecomp.terminal.tables import model_table

        from .model_bytes import bytes_by_group

        self.query_one("#model-notice", Notice).hide()
        table, groups = (
            self.query_one("#model-table", Static),
            self.query_one("#model-bytes", Static),
        )
        table.display = groups.display = True
        table.update(model_table(model))
        groups.update(bytes_by_group(model, 24 if self.app.size.width < 120 else 60))
