"""genai_config.json for execution providers, against golden files and the library's own parser.

The library is asked in processes of their own: it is native code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgecomp.exporters.onnx_config import configure, genai_config
from edgecomp.formats.execution_providers import PROVIDERS, execution_provider
from edgecomp.formats.exporting import ServedLimits
from edgecomp.models.onnx_folder import CONFIG

GOLDEN = Path(__file__).with_name("genai_configs")
BUILT = GOLDEN / "built.json"
"""What the builder (0.18) wrote for a model of two layers on the CPU."""

LIMITS = ServedLimits(context=128, sequences=1, chunk=64, threads=4)
LOADS = """
import sys, onnxruntime_genai
for folder in sys.argv[1:]:
    try:
        onnxruntime_genai.Model(onnxruntime_genai.Config(folder))
    except Exception as error:
        print(str(error).splitlines()[0])
"""


def folder_with(place: Path, config: object) -> Path:
    place.mkdir()
    (place / CONFIG).write_text(json.dumps(config))
    return place


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_the_configuration_of_a_provider_is_the_golden_one(name: str) -> None:
    built = json.loads(BUILT.read_text())
    written = genai_config(built, execution_provider(name), LIMITS)
    assert written == json.loads((GOLDEN / f"{name}.json").read_text())
    assert built == json.loads(BUILT.read_text()), "the builder's own is left as it was"


def test_the_library_knows_every_provider_and_lacks_all_but_the_cpus(tmp_path: Path) -> None:
    names = [*PROVIDERS, "coreml-misspelt"]
    folders = []
    for name in names:
        config = json.loads((GOLDEN / "cpu.json").read_text())
        if name in PROVIDERS:
            config = json.loads((GOLDEN / f"{name}.json").read_text())
        else:
            session = config["model"]["decoder"]["session_options"]
            session["provider_options"] = [{name: {}}]
        folders.append(str(folder_with(tmp_path / name, config)))
    said = subprocess.run(
        [sys.executable, "-c", LOADS, *folders], capture_output=True, text=True, timeout=120
    ).stdout.splitlines()
    answers = dict(zip(names, said, strict=True))
    assert "Unknown provider" in answers.pop("coreml-misspelt")
    # It comes as far as the graph, which is not there.
    assert "model.onnx" in answers.pop("cpu")
    for name, answer in answers.items():
        assert any(word in answer for word in ("not supported in this build", "not available",
                                               "not been built")), (name, answer)  # fmt: skip


def test_a_configuration_is_written_and_taken_by_the_parser(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "m", json.loads(BUILT.read_text()))
    assert configure(folder, "qnn", LIMITS) == ""
    assert json.loads((folder / CONFIG).read_text()) == json.loads(
        (GOLDEN / "qnn.json").read_text()
    )


def test_an_entry_that_the_library_does_not_know_is_told(tmp_path: Path) -> None:
    built = json.loads(BUILT.read_text())
    built["model"]["bogus"] = 1
    fault = configure(folder_with(tmp_path / "m", built), "cuda", LIMITS)
    assert "bogus" in fault


def test_a_context_longer_than_the_models_is_cut_to_it() -> None:
    built = json.loads(BUILT.read_text())
    long = LIMITS._replace(context=10**6)
    search = genai_config(built, execution_provider("cuda"), long)["search"]
    assert search["max_length"] == built["model"]["context_length"]


def test_several_sequences_read_their_prompts_at_once() -> None:
    several = LIMITS._replace(sequences=4)
    built = json.loads(BUILT.read_text())
    search = genai_config(built, execution_provider("cuda"), several)["search"]
    assert search["batch_size"] == 4
    assert "chunk_size" not in search
