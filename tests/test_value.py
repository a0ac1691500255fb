"""Values: frozen, closed, and copied without what was derived from other fields."""

from __future__ import annotations

from edgecomp.model import TensorSpec


def test_a_changed_copy_derives_its_properties_anew() -> None:
    tensor = TensorSpec(
        name="blk.3.ffn_up.weight", source_name="up", shape=(4, 8), dtype="F32", group="ffn"
    )
    assert (tensor.elements, tensor.layer) == (32, 3)
    changed = tensor.model_copy(update={"shape": (2, 8), "name": "output.weight"})
    assert (changed.elements, changed.layer) == (16, None)
    assert tensor.model_copy() == tensor
