"""Families without a row here, written by llama.cpp's own converter and proven against
transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgecomp.checks.greedy_check import LearnedCheck, check_learned
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.errors import ArchitectureUnsupported, ExportRefused
from edgecomp.exporters.gguf import export
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.learned_layout import learn_layout
from edgecomp.models.llama_cpp_families import INDEX, converter_folder, llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.runtimes.llama_cpp.client import LlamaCpp

pytestmark = pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)

FAMILIES = [
    "olmo2",
    "lfm2",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("falcon", "mpt", "qwen3_5_text", "granitemoe", "qwen3_vl")
    ),
]
"""Dense; convolutions; Q, K and V in one; a class that transformers writes otherwise; recurrence;
fused experts; a text model beside a tower for pictures."""


def checked(folder: Path, file: Path) -> LearnedCheck:
    export(read_model(folder), file, "F32")
    return check_learned(folder, file, "F32", LlamaCpp())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_without_a_row_becomes_a_gguf_that_writes_what_it_writes(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = tiny_family(name)
    model = read_model(folder)
    assert model.layout == "learned"
    found = checked(folder, tmp_path / "made.gguf")
    assert found.result.passed, found.result.detail
    assert found.walks
    assert check_token_ids(model, tmp_path / "made.gguf", LlamaCpp()).passed
    header = read_gguf_header(tmp_path / "made.gguf")
    assert header.get("general.architecture") == model.architecture
    layout = learn_layout(folder, tmp_path / "made.gguf")
    blocks = [t.name for t in header.tensors if len(t.shape) == 2 and t.name.startswith("blk.")]
    assert set(blocks) - {name for name in blocks if "ssm_" in name} <= set(layout.tensors)


def changed_config(folder: Path, **entries: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def swap(folder: Path, first: str, second: str) -> None:
    """Exchange two tensors of equal shape."""
    tensors = load_file(folder / "model.safetensors")
    tensors[first], tensors[second] = tensors[second], tensors[first]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def reverse_rows(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


FAULTS: dict[str, Callable[[Path], None]] = {
    "olmo2": lambda folder: changed_config(folder, rms_norm_eps=0.5),
    "granite": lambda folder: changed_config(folder, residual_multiplier=0.6),
    "cohere": lambda folder: changed_config(folder, logit_scale=-1.0),
    "smollm3": lambda folder: swap(
        folder,
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
    ),
    "lfm2": reverse_rows,
}
"""One changed entry in a config, a swapped tensor, rows in another order."""


@pytest.mark.parametrize(
    "name",
    [
        "olmo2",
        "lfm2",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("granite", "cohere", "smollm3")),
    ],
)
def test_a_wrong_conversion_is_caught(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    source = tiny_family(name)
    spoilt = shutil.copytree(source, tmp_path / "spoilt")
    FAULTS[name](spoilt)
    export(read_model(spoilt), tmp_path / "made.gguf", "F32")
    found = check_learned(source, tmp_path / "made.gguf", "F32", LlamaCpp())
    assert not found.result.passed
    assert "the source prefers" in found.result.detail


def test_a_converter_that_fails_says_what_it_said(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_family("olmo2"), tmp_path / "folder")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rubbish.weight"] = torch.zeros(4, 4)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportRefused, match="rubbish"):
        export(read_model(folder), tmp_path / "made.gguf")
    assert not (tmp_path / "made.gguf").exists()


FAILING_CONVERTER = """
class ModelType:
    TEXT = 1

class ModelBase:
    load_hparams = staticmethod(lambda *rest, **named: {})

def get_model_class(name):
    return None

def get_model_architecture(entries, kind):
    assert "number_of_heads" in entries
"""


def test_a_bare_assertion_of_the_converters_is_told_with_its_line(
    tiny_family: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_family("olmo2")
    converter = tmp_path / "converter"
    (converter / "conversion").mkdir(parents=True)
    (converter / "conversion" / "__init__.py").write_text(FAILING_CONVERTER)
    shutil.copy(converter_folder() / INDEX, converter / INDEX)
    monkeypatch.setenv("EDGECOMP_CONVERTER", str(converter))
    with pytest.raises(ExportRefused) as caught:
        export(read_model(folder), tmp_path / "made.gguf")
    assert """AssertionError in `assert "number_of_heads" in entries`""" in str(caught.value)
    assert not (tmp_path / "made.gguf").exists()


def test_a_class_that_nobody_knows_is_refused_by_name(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_family("olmo2"), tmp_path / "folder")
    changed_config(folder, architectures=["NewbornForCausalLM"])
    assert read_model(folder).layout == "unknown"
    with pytest.raises(ArchitectureUnsupported, match="NewbornForCausalLM"):
        export(read_model(folder), tmp_path / "made.gguf")


def test_code_beside_the_weights_is_not_run(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_family("olmo2"), tmp_path / "folder")
    mark = tmp_path / "it-ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    auto = {"AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}
    changed_config(folder, auto_map=auto)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    written = json.dumps(settings | {"auto_map": auto})
    (folder / "tokenizer_config.json").write_text(written)
    export(read_model(folder), tmp_path / "made.gguf", "F32")
    assert not mark.exists()
