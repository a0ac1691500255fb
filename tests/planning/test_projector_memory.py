"""What reads pictures or sounds counts: in memory, in the size that is shipped, and on a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.devices.finding import find_device
from edgecomp.models.projector import Projector
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.plan import Candidate, Plan
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints

PROJECTOR_BYTES = 850 * 10**6
KNOWN = Projector(towers=("vision",), file_bytes=PROJECTOR_BYTES)


@pytest.fixture(scope="module")
def plain(header_only: Callable[[str], Path]) -> ModelSpec:
    return read_model(header_only("Llama-3.1-8B"))


@pytest.fixture(scope="module")
def seeing(plain: ModelSpec) -> ModelSpec:
    return plain.model_copy(update={"projector": KNOWN})


def planned(model: ModelSpec, device: str, **limits: object) -> Plan:
    return make_plan(model, find_device(device), Constraints.model_validate(limits))


def row(plan: Plan, name: str, *, on_cards: bool = False) -> Candidate:
    return next(
        candidate
        for candidate in plan.candidates
        if candidate.format == name and bool(candidate.placement.gpus) == on_cards
    )


def test_memory_holds_the_projector_beside_the_text_model(
    plain: ModelSpec, seeing: ModelSpec
) -> None:
    plans = [planned(model, "office-laptop-ddr4", context=2048) for model in (plain, seeing)]
    without, beside = (row(plan, "Q4_K_M") for plan in plans)
    assert beside.memory.projector_bytes == PROJECTOR_BYTES
    assert beside.memory.total_bytes - without.memory.total_bytes == PROJECTOR_BYTES
    assert beside.file_bytes == without.file_bytes
    assert sum(beside.pool_bytes.values()) - sum(without.pool_bytes.values()) == PROJECTOR_BYTES


def test_a_limit_of_size_is_that_of_both_files(plain: ModelSpec, seeing: ModelSpec) -> None:
    size = row(planned(plain, "office-laptop-ddr4", context=2048), "Q4_K_M").file_bytes
    limits = {"context": 2048, "max_size_bytes": size + PROJECTOR_BYTES}
    kept = row(planned(seeing, "office-laptop-ddr4", **limits), "Q4_K_M")
    assert "size" not in {reason.cause for reason in kept.rejections}
    limits["max_size_bytes"] -= 1
    plan = planned(seeing, "office-laptop-ddr4", **limits)
    out = next(r for r in row(plan, "Q4_K_M").rejections if r.cause == "size")
    assert "projector of 850 MB" in out.text
    mixture = next(candidate for candidate in plan.candidates if candidate.types)
    assert mixture.file_bytes + PROJECTOR_BYTES <= limits["max_size_bytes"]


def test_it_lies_on_the_first_card(plain: ModelSpec, seeing: ModelSpec) -> None:
    plans = [planned(model, "rtx-4090", context=2048) for model in (plain, seeing)]
    without, beside = (row(plan, "Q4_K_M", on_cards=True) for plan in plans)
    card = next(iter(beside.pool_bytes))
    assert beside.placement == without.placement
    assert beside.pool_bytes[card] - without.pool_bytes[card] == PROJECTOR_BYTES
    others = [name for name in beside.pool_bytes if name != card]
    assert all(beside.pool_bytes[name] == without.pool_bytes[name] for name in others)


def test_a_card_gets_fewer_layers_where_it_holds_the_projector(seeing: ModelSpec) -> None:
    large = seeing.model_copy(update={"projector": KNOWN.model_copy(update={
        "file_bytes": 12 * 10**9
    })})  # fmt: skip
    plan = planned(large, "rtx-4090", context=2048)
    device = find_device("rtx-4090")
    for candidate in plan.candidates:
        if not candidate.rejections:
            for name, used in candidate.pool_bytes.items():
                assert used <= device.pool(name).usable_bytes
    assert row(plan, "F16", on_cards=True).placement.gpu_layers < large.layers + 1


def test_onnx_artifacts_have_none(seeing: ModelSpec, plain: ModelSpec) -> None:
    device, limits = find_device("office-laptop-ddr4"), Constraints(context=2048)
    plans = [
        make_plan(model, device, limits, choices=Choices(runtime="onnx"))
        for model in (plain, seeing)
    ]
    assert plans[0].candidates == plans[1].candidates


def test_what_cannot_be_made_takes_no_memory(plain: ModelSpec, seeing: ModelSpec) -> None:
    lacking = KNOWN.model_copy(update={"lacking": "Nothing writes it."})
    model = plain.model_copy(update={"projector": lacking})
    plans = [planned(m, "office-laptop-ddr4", context=2048).candidates for m in (plain, model)]
    assert plans[0] == plans[1]


def test_the_job_is_said_to_write_it(plain: ModelSpec, seeing: ModelSpec) -> None:
    jobs = [planned(model, "office-laptop-ddr4", context=2048).job for model in (plain, seeing)]
    assert jobs[0] and jobs[1]
    assert "projector" in {stage.stage for stage in jobs[1].stages}
    assert "projector" not in {stage.stage for stage in jobs[0].stages}
