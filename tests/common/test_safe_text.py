"""Text from a model reaches files, scripts and terminals as plain text only (A3)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.common.errors import ChatTemplateBroken
from edgecomp.common.safe_text import LONGEST_FILE_NAME, file_name, one_line, printable_lines
from edgecomp.models.chat_template import ChatTemplate

NASTY = st.text(st.sampled_from("\n\r\t\x00\x1b[31m\u202e\u2028$`'\"\\%/.-ab ü中"), max_size=300)


@given(NASTY | st.text())
def test_a_line_is_one_short_printable_line(text: str) -> None:
    line = one_line(text, 50)
    assert line.isprintable() and len(line) <= 50 and line == line.strip()


def test_a_plain_name_stays_as_it_is() -> None:
    name = "Größe 中文 (v2.5), 100 % `new`"
    assert one_line(name) == name
    assert one_line("a\nUNIT\n\x1b[31mb\u202ec") == "a UNIT [31mbc"
    assert one_line("abcdef", 4) == "abc…"


@given(NASTY | st.text())
def test_a_file_name_stays_in_its_folder_and_needs_no_quotes(text: str) -> None:
    name = file_name(text)
    assert Path(name).name == name and len(name) <= LONGEST_FILE_NAME
    assert all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    assert name[0] not in "-." and file_name(name) == name


@given(NASTY | st.text())
def test_printable_lines_keep_nothing_but_text_and_line_ends(text: str) -> None:
    kept = printable_lines(text)
    assert all(c.isprintable() or c == "\n" for c in kept)
    assert kept.count("\n") == text.count("\n")


def test_a_templates_own_error_text_is_one_line() -> None:
    template = ChatTemplate(source="{{ raise_exception('no\n\x1b[2Jroot#') }}")
    with pytest.raises(ChatTemplateBroken, match=r"no \[2Jroot#") as broken:
        template.render([{"role": "user", "content": "Hello"}])
    assert "\n" not in str(broken.value)


def test_an_error_reaches_the_terminal_without_its_codes(tmp_path: Path) -> None:
    """A model's file name is part of the message."""
    model = tmp_path / "a\x1b[2Jb.gguf"
    model.write_bytes(b"no model")
    done = subprocess.run(
        [sys.executable, "-c", "from edgecomp.cli import main; main()", "inspect", str(model)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "a[2Jb.gguf" in done.stderr and "\x1b" not in done.stderr
