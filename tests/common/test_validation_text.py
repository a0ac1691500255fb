"""What is wrong in a file is told in its writer's words, not in the library's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import ProfileInvalid, RecipeInvalid
from edgecomp.devices.profile import load_profile, profile_paths
from edgecomp.recipes.calibration_mix import read_mix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampels: {text: 3}\n", "line 1: sampels is refused: there is no such field; samples is"),
        ("row_tokens: 64\n", "samples is refused: it is missing."),
        ("- text\n", "the whole is refused: fields and their values are expected here."),
        ("samples: 3\n", "samples is refused: fields and their values are expected here."),
    ],
)
def test_a_broken_mix(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    with pytest.raises(RecipeInvalid) as caught:
        read_mix(path)
    assert said in str(caught.value)


def test_a_quantity_that_is_none_in_a_profile(tmp_path: Path) -> None:
    text = profile_paths()["rtx-4090"].read_text(encoding="utf-8")
    size = next(line for line in text.splitlines() if line.startswith("size"))
    path = tmp_path / "rtx-4090.toml"
    path.write_text(text.replace(size, 'size = "8 bananas"', 1))
    with pytest.raises(ProfileInvalid, match="'8 bananas' is no quantity") as caught:
        load_profile(path)
    assert "Value error" not in str(caught.value)
    assert ".." not in str(caught.value)
