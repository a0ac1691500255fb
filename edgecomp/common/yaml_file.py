"""Values as YAML files: written whole, and refused by line and field where they are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import RecipeInvalid
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.safe_text import one_line
from edgecomp.common.validation_text import format_validation_error

Kind = TypeVar("Kind", bound=FrozenModel)


def write_yaml(path: Path, value: FrozenModel) -> None:
    """Write a value as YAML, fields in their order."""
    text: str = yaml.safe_dump(value.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, text)


def read_yaml(path: Path, kind: type[Kind], what: str) -> Kind:
    """Read a value of `kind`, which messages call `what`. Raises RecipeInvalid, naming the line
    and the field."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        value = kind.model_validate(yaml.safe_load(text))
        value.model_dump_json()
        return value
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RecipeInvalid(
            f"The {what} {path} cannot be read: {reason}. Give the path of a YAML file with one."
        ) from error
    except PydanticSerializationError as error:
        raise RecipeInvalid(f"The {what} {path} holds half of a character.") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise RecipeInvalid(f"The {what} {path}{line} is not valid YAML: {problem}.") from error
    except ValidationError as error:
        # A misspelt field is also a missing one; the misspelling is what the reader can see.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        place = [str(part) for part in first["loc"]]
        number = _line_of(text, place)
        where = f", line {number}" if number else ""
        field = ".".join(place) or "the whole"
        fault = format_validation_error(first, kind.model_fields if len(place) == 1 else ())
        raise RecipeInvalid(f"The {what} {path}{where}: {field} is refused: {fault}.") from error
    except ValueError as error:
        # A number or a date that YAML's own types cannot hold.
        fault = one_line(str(error)).rstrip(".")
        raise RecipeInvalid(f"The {what} {path} holds a value that is none: {fault}.") from error


def _line_of(text: str, place: list[str]) -> int | None:
    """The line (from 1) of the deepest part of `place` that the file holds."""
    node: Any = yaml.compose(text)
    line = None
    for part in place:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next((pair for pair in node.value if pair[0].value == part), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
