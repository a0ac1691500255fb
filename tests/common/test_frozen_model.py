"""Values: frozen, closed, and copied without what was derived from other fields."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

import edgecomp
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.json_schema import json_schema
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.models.spec import TensorSpec
from edgecomp.runtimes.protocol import DivergenceSamples


def test_a_changed_copy_derives_its_properties_anew() -> None:
    tensor = TensorSpec(
        name="blk.3.ffn_up.weight", source_name="up", shape=(4, 8), dtype="F32", group="ffn"
    )
    assert (tensor.elements, tensor.layer) == (32, 3)
    changed = tensor.model_copy(update={"shape": (2, 8), "name": "output.weight"})
    assert (changed.elements, changed.layer) == (16, None)
    assert tensor.model_copy() == tensor


def float_fields() -> Iterator[tuple[str, Any]]:
    """Every field of every Value that is a number, with its own constraints."""
    for module in pkgutil.walk_packages(edgecomp.__path__, "edgecomp."):
        if module.name.endswith("__main__") or ".tui" in module.name:
            continue
        importlib.import_module(module.name)
    kinds = [FrozenModel]
    for kind in kinds:
        kinds += [child for child in kind.__subclasses__() if child not in kinds]
        for name, field in kind.model_fields.items():
            if field.annotation in (float, float | None) and name in kind.__annotations__:
                annotation = field.annotation
                for constraint in field.metadata:
                    annotation = Annotated[annotation, constraint]
                yield f"{kind.__module__}.{kind.__name__}.{name}", (kind, annotation)


def test_every_float_field_that_takes_nan_or_infinity_gives_it_back() -> None:  # A5
    fields = dict(float_fields())
    assert len(fields) > 100
    for name, (kind, annotation) in fields.items():
        adapter = TypeAdapter(annotation, config=kind.model_config)
        for number in (math.nan, math.inf, -math.inf):
            try:
                value = adapter.validate_python(number)
            except ValidationError:
                continue  # refused when it is made, not when it is read back
            read = adapter.validate_json(adapter.dump_json(value))
            assert isinstance(read, float) and repr(read) == repr(number), name


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_a_ruined_models_figures_are_strict_json_and_read_back() -> None:  # A5
    nan, inf = math.nan, math.inf
    summary = summarise(
        DivergenceSamples(
            kl=((nan, 1.0), (inf, 0.1)),
            agree=((0.0, 1.0),) * 2,
            base_nll=((1.0, 2.0),) * 2,
            artifact_nll=((nan, 2.0), (inf, 3.0)),
        )
    )
    text = summary.model_dump_json()
    assert json.loads(text, parse_constant=refuse)["kl_mean"] == "NaN"
    read = DivergenceSummary.model_validate_json(text)
    assert repr(read) == repr(summary)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_the_schema_names_the_numbers_that_are_strings(number: str) -> None:  # A5
    field = json_schema(DivergenceSummary)["properties"]["kl_mean"]
    assert field["anyOf"][0] == {"type": "number"}
    assert number in field["anyOf"][1]["enum"]
