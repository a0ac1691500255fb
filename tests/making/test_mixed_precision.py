"""Mixed types: the file fills its size to within a block, and the recipe keeps what was chosen."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.bundles.artifact_argument import find_artifact
from edgecomp.common.errors import CompressionSettingsInvalid, ConstraintsImpossible
from edgecomp.common.events import Event, Noted, ignore
from edgecomp.common.tasks import Mix
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import RuntimeSupport
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.expected_loss import TOLERATED_NATS
from edgecomp.formats.gguf_file_type import FILE_TYPE
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.presets import PRESETS
from edgecomp.jobs.evaluation_stages import divergence, evaluation_subjects
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.making.gguf import make_artifact
from edgecomp.making.mixed_precision import (
    ENDS,
    candidate_with_types,
    file_bytes,
    fill_budget,
    speed_weighted,
)
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.planning.memory import estimate_memory
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, read_recipe

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)
CONTEXT = 256
SLACK_BYTES = 512
"""The next larger type of the smallest matrix here, and padding."""


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama-deep")


def made(
    source: Path,
    folder: Path,
    max_size_bytes: int | None,
    mix: Mix,
    max_memory_bytes: int | None = None,
) -> Compressed:
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="gptq",
            format="Q4_0",
            calibration=MIX,
            mix=mix,
            constraints=Constraints(
                max_size_bytes=max_size_bytes, max_memory_bytes=max_memory_bytes, context=CONTEXT
            ),
        )
    )
    return compress(recipe, folder, None, ignore)


def memory_of(made: Compressed) -> int:
    """What the finished file is predicted to need, from its own header."""
    recipe = read_recipe(made.folder / "recipe.yaml")
    model = read_model(made.folder / made.file)
    rates = find_device(recipe.device).kernel_rates
    weights = layered_weights(model, made.types).stored_bytes
    worker = rates.worker_bytes if rates else None
    return estimate_memory(model, weights, recipe.settings, worker).total_bytes


def test_the_best_mix_fills_the_size_and_makes_the_same_file_again(
    source: Path, tmp_path: Path
) -> None:
    limit = 210_000
    result = made(source, tmp_path / "out", limit, "optimal")
    assert limit - SLACK_BYTES < result.size_bytes <= limit
    mixture = result.mixture
    assert mixture is not None and mixture.sensitivities is not None
    assert len({*mixture.types.values()}) > 1
    assert {name: result.types[name] for name in mixture.types} == mixture.types
    recipe = read_recipe(result.folder / "recipe.yaml")
    assert recipe.tensor_types == mixture.types
    again = compress(recipe, tmp_path / "again", None, ignore)
    assert again.mixture is None
    first, second = (r.folder / r.file for r in (result, again))
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name


def test_a_mixture_is_called_by_what_it_is_and_not_by_a_preset(  # A28
    source: Path, tmp_path: Path
) -> None:
    """Two of them lie in one folder, each known by its own recipe alone."""
    files = {limit: made(source, tmp_path, limit, "optimal") for limit in (210_000, 230_000)}
    names = [result.file for result in files.values()]
    for result in files.values():
        held: Counter[str] = Counter()
        header = read_gguf_header(tmp_path / result.file)
        for tensor in header.tensors:
            held[tensor.type.name] += tensor.size_bytes
        bits = 8 * sum(held.values()) / sum(math.prod(t.shape) for t in header.tensors)
        assert re.fullmatch(rf"model-mix-{bits:.1f}bpw-[0-9a-f]{{8}}\.gguf", result.file)
        (most, _), *_ = held.most_common(1)
        said = [row.base for row in PRESETS.values() if row.ftype == header.get(FILE_TYPE)]
        assert said == [most]
    assert len({*names}) == 2 and {*names} <= {path.name for path in tmp_path.iterdir()}
    assert find_artifact(str(tmp_path / names[0])).recipe is None
    assert find_artifact(str(tmp_path / names[1])).recipe == read_recipe(tmp_path / "recipe.yaml")


def test_without_a_limit_a_mix_is_as_large_as_its_format(source: Path, tmp_path: Path) -> None:
    plain = compression_recipe(
        CompressionRequest(model=str(source), method="gptq", format="Q4_0", calibration=MIX)
    )
    size = compress(plain, tmp_path / "plain", None, ignore).size_bytes
    assert size - SLACK_BYTES < made(source, tmp_path / "mix", None, "optimal").size_bytes <= size


def test_the_best_mix_fills_the_memory_at_its_context(source: Path, tmp_path: Path) -> None:
    plain = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="rtn",
            format="Q4_0",
            calibration=MIX,
            constraints=Constraints(context=CONTEXT),
        )
    )
    limit = memory_of(compress(plain, tmp_path / "plain", None, ignore)) + 20_000
    result = made(source, tmp_path / "mix", None, "optimal", limit)
    assert limit - SLACK_BYTES < memory_of(result) <= limit
    both = made(source, tmp_path / "both", result.size_bytes - 10_000, "optimal", limit)
    assert both.size_bytes <= result.size_bytes - 10_000


@pytest.mark.parametrize("family", ["llama-deep", "llama-tied-llama3-rope"])
def test_embedding_and_head_are_weighed_with_the_blocks_and_less_is_lost(
    family: str, tiny_model: Callable[..., Path]
) -> None:
    source = tiny_model(family)
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source), method="rtn", format="Q4_0", calibration=MIX, mix="optimal"
        )
    )
    run = Run(read_model(source), recipe, None, ignore)
    made = make_artifact(run)
    assert made.mixture is not None and made.mixture.sensitivities is not None
    model = read_model(made.base.path)
    limit = file_bytes(model, recipe, {})
    assert limit - SLACK_BYTES < made.size_bytes <= limit
    assert {name: made.types[name] for name in made.mixture.types} == made.mixture.types
    everywhere = made.mixture.sensitivities
    assert {row.name for row in everywhere.tensors} >= {
        t.name for t in model.tensors if t.name in ENDS
    }
    inside = [row for row in everywhere.tensors if row.name.startswith("blk.")]
    types = fill_budget(model, recipe, Sensitivities(tensors=tuple(inside)))
    assert not {*types} & {*ENDS}
    only_inside = run.following(recipe.model_copy(update={"tensor_types": types}))
    windows = EvaluationSettings(windows=4, window_tokens=128)
    apart = [
        divergence(*evaluation_subjects(each, artifact), divergence_text(), windows).kl_mean
        for each, artifact in ((run, made), (only_inside, make_artifact(only_inside)))
    ]
    assert apart[0] < apart[1]


def test_a_mix_of_the_same_size_leaves_the_rest_of_the_limit_free(
    source: Path, tmp_path: Path
) -> None:
    plain = compression_recipe(
        CompressionRequest(model=str(source), method="gptq", format="Q4_0", calibration=MIX)
    )
    size = file_bytes(read_model(source), plain, {})
    result = made(source, tmp_path / "mix", size + 50_000, "same-size")
    assert result.size_bytes <= size
    assert len({*result.types.values()}) > 2


def test_a_format_keeps_its_types_where_the_plan_would_not_take_the_mixture(source: Path) -> None:
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source), method="gptq", format="Q4_0", calibration=MIX, mix="same-size"
        )
    )
    wanted = recipe.constraints.model_copy(update={"min_decode_tokens_per_second": 1e12})
    said: list[Event] = []
    run = Run(
        read_model(source), recipe.model_copy(update={"constraints": wanted}), None, said.append
    )
    plain = recipe.model_copy(update={"mix": None})
    assert make_artifact(run).types == make_artifact(run.following(plain)).types
    assert any(
        "unmixed: It decodes about" in event.text for event in said if isinstance(event, Noted)
    )


@pytest.mark.parametrize("mix", ["optimal", "attention-8-ffn-4", None])
def test_a_memory_too_small_for_any_mix_is_refused_before_any_work(
    source: Path, tmp_path: Path, mix: Mix
) -> None:
    with pytest.raises(ConstraintsImpossible, match="256 tokens of context"):
        made(source, tmp_path / "out", None, mix, 10**6)
    assert not (tmp_path / "out").exists()


def test_memory_is_llama_cpps() -> None:
    with pytest.raises(CompressionSettingsInvalid, match="--max-memory"):
        compression_recipe(
            CompressionRequest(
                model="demo",
                method="gptq",
                format="gptq-int4-g64",
                calibration=MIX,
                constraints=Constraints(max_memory_bytes=10**9),
            )
        )


def test_r71_a_named_mix_is_carried_out(source: Path, tmp_path: Path) -> None:
    result = made(source, tmp_path / "out", None, "attention-8-ffn-4")
    assert result.types["blk.0.attn_q.weight"] == "Q8_0"
    assert result.types["blk.0.ffn_up.weight"] == "Q4_0"


@pytest.mark.parametrize("mix", ["optimal", "attention-8-ffn-4"])
def test_a_size_too_small_for_any_mix_names_the_smallest(
    source: Path, tmp_path: Path, mix: Mix
) -> None:
    with pytest.raises(ConstraintsImpossible, match="its smallest file has"):
        made(source, tmp_path / "out", 60_000, mix)


def test_a_size_that_the_format_exceeds_is_refused_before_any_work(
    source: Path, tmp_path: Path
) -> None:
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source),
            method="gptq",
            format="Q8_0",
            calibration=MIX,
            constraints=Constraints(max_size_bytes=60_000),
        )
    )
    with pytest.raises(ConstraintsImpossible, match="--mix optimal"):
        compress(recipe, tmp_path / "out", None, ignore)


def test_a_format_that_rounds_nothing_cannot_be_mixed() -> None:
    with pytest.raises(CompressionSettingsInvalid, match="F16 rounds nothing"):
        compression_recipe(
            CompressionRequest(
                model="demo", method="gptq", format="F16", calibration=MIX, mix="optimal"
            )
        )


def test_types_without_kernels_on_the_device_are_not_mixed_in(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = find_device("auto")
    known = RuntimeSupport(runtime="llama.cpp", processor=here.cpu.name, formats=("Q4_0", "Q8_0"))
    poor = here.model_copy(update={"runtimes": (known,)})
    monkeypatch.setattr("edgecomp.making.mixed_precision.find_device", lambda name: poor)
    result = made(source, tmp_path / "mix", None, "same-size")
    assert result.mixture is not None
    assert {*result.mixture.types.values()} <= {"Q4_0", "Q8_0"}


def test_all_that_the_task_tolerates_buys_a_doubling_of_the_speed(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = compression_recipe(
        CompressionRequest(
            model=str(source), method="gptq", format="Q4_0", calibration=MIX, mix="same-size"
        )
    )
    model = read_model(source)
    matrix = next(t for t in model.tensors if t.name == "blk.0.ffn_down.weight")
    quick, slow = "Q5_0", "Q5_1"
    losses = Sensitivities(
        tensors=(
            TensorSensitivity(
                name=matrix.name, elements=matrix.elements, losses={quick: 0.01, slow: 0.0}
            ),
        )
    )
    seconds = {quick: (0.0, 0.0), slow: (0.01, 0.01)}
    monkeypatch.setattr(
        "edgecomp.making.mixed_precision.cpu_seconds", lambda kind, *_: seconds[kind]
    )
    (weighed,) = speed_weighted(model, recipe, losses).tensors
    speed = candidate_with_types(model, recipe, {}).speed
    tokens = speed.decode_tokens_per_second + speed.prefill_tokens_per_second
    worth = TOLERATED_NATS["general"] * 0.01 * tokens / (2 * math.log(2))
    assert weighed.losses == pytest.approx({quick: 0.01, slow: worth})
