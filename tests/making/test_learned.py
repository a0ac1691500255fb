"""Artifacts of families without a row here: by a learned layout, importance by llama.cpp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import torch
from quantized_checkpoints import block_fp8_parts, write_mxfp4, write_small_codes

from edgecomp.common.events import Event, Noted, StageFinished, Warned
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_types import grids_of_types
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.packed_triangle import PackedTriangle
from edgecomp.compress.rtn import rtn
from edgecomp.exporters.gguf import export, insert_codes
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.making.learned import losses_of_tensors, types_of_weights
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.huggingface.model import gguf_names, shared_name, stored_tensors
from edgecomp.models.learned_layout import LearnedLayout, RowsOfWeight, learn_layout
from edgecomp.models.llama_cpp_families import llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)

pytestmark = pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)


@pytest.mark.parametrize("name", ["olmo2", "phi", "olmoe", "granitemoe"])
def test_codes_go_where_the_rows_went(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = tiny_family(name)
    base = export(read_model(folder), tmp_path / "base.gguf", "F32").path
    layout = learn_layout(folder, base)
    blocks = {n: "Q4_K" for n in layout.tensors if n.startswith("blk.") and "_inp" not in n}
    weights = {w: k for w, k in types_of_weights(layout, blocks, gguf_names(folder)).items() if k}
    tokens = torch.from_numpy(np.random.default_rng(0).integers(5, 500, (2, 32)))
    rounded = tmp_path / "rounded"
    method = rtn(grids_of_types(folder, weights), use_importance=True)
    walk(folder, tokens, method, destination=Destination(rounded, "rtn", torch.float32))
    made = tmp_path / "made.gguf"
    LlamaCpp().quantize(base, made, Types(preset="Q8_0", overrides=blocks), threads=1)
    inserted = insert_codes(made, rounded, layout)
    assert set(inserted) == set(blocks)
    header, stored = read_gguf_header(made), stored_tensors(rounded)
    for tensor in header.tensors:
        if tensor.name in inserted:
            values = np.concatenate(list(float32_pieces(header, tensor)))
            parts = [
                read_tensor(stored[part.weight])
                .flatten(0, -2)
                .numpy()[list(part.rows) if part.rows else ...]
                for part in layout.tensors[tensor.name]
            ]
            assert np.array_equal(values, np.concatenate(parts)), tensor.name


def experts_of(file: Path) -> dict[str, torch.Tensor]:
    """The expert tensors of a GGUF file, float32 [experts, rows, columns]."""
    header = read_gguf_header(file)
    return {
        t.name: torch.from_numpy(np.concatenate(list(float32_pieces(header, t))).reshape(t.shape))
        for t in header.tensors
        if "_exps.weight" in t.name
    }


@pytest.mark.parametrize("name", ["granitemoe", "gpt_oss", "llama4_text"])
def test_fused_experts_lose_less_by_gptq_than_by_llama_cpps_rounding(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """In one type, with importance of the calibration that GPTQ reads."""
    folder = tiny_family(name)
    base = export(read_model(folder), tmp_path / "base.gguf", "F32").path
    tokens = np.random.default_rng(0).integers(5, 500, (4, 32))
    np.save(tmp_path / "tokens.npy", tokens)
    importance = tmp_path / "importance.gguf"
    LlamaCpp().importance(base, tmp_path / "tokens.npy", importance, datasets=["ours"], threads=1)
    layout = learn_layout(folder, base)
    kinds = {n: "Q4_0" for n in experts_of(base)}
    types = Types(preset="Q8_0", overrides=kinds, importance=importance)
    LlamaCpp().quantize(base, tmp_path / "theirs.gguf", types, threads=1)
    copyfile(tmp_path / "theirs.gguf", tmp_path / "ours.gguf")
    weights = {w: k for w, k in types_of_weights(layout, kinds, gguf_names(folder)).items() if k}
    ids = torch.from_numpy(tokens)
    rounded = Destination(tmp_path / "rounded", "gptq", torch.float32)
    walk(folder, ids, gptq_method(grids_of_types(folder, weights)), destination=rounded)
    inserted = insert_codes(tmp_path / "ours.gguf", rounded.folder, layout)
    assert set(inserted) == set(kinds)

    hessians: dict[tuple[int, int, str], PackedTriangle] = {}

    def gather(block: Block) -> None:
        for (linear, *_), hessian in gather_hessians(block):
            if ".experts." in linear:
                *_, number, role = linear.split(".")
                hessians[block.index, int(number), role] = hessian

    walk(folder, ids, gather)
    wanted, theirs, ours = (
        experts_of(tmp_path / f"{which}.gguf") for which in ("base", "theirs", "ours")
    )
    assert len(hessians) == 2 * 4 * 2
    for tensor, values in wanted.items():
        layer, role = int(tensor.split(".")[1]), "down" if "down" in tensor else "gate_up"
        for expert, value in enumerate(values):
            hessian = hessians[layer, expert, f"{role}_proj"]
            error, other = (
                hessian.quadratic(file[tensor][expert] - value) for file in (ours, theirs)
            )
            assert 0 < error < 0.9 * other, (tensor, expert)


def test_a_weight_that_went_into_tensors_of_two_types_is_left_alone() -> None:
    layout = LearnedLayout(
        tensors={
            "q": (RowsOfWeight(weight="qkv", rows=(0, 1)),),
            "v": (RowsOfWeight(weight="qkv", rows=(2, 3)),),
            "up": (
                RowsOfWeight(weight="mlp.experts.0.up"),
                RowsOfWeight(weight="mlp.experts.1.up"),
            ),
        }
    )
    same = types_of_weights(layout, {"q": "Q4_K", "v": "Q4_K", "up": "Q6_K"}, shared_name)
    assert same == {"qkv": "Q4_K", "mlp.experts.up": "Q6_K"}
    apart = types_of_weights(layout, {"q": "Q4_K", "v": "Q6_K", "up": "Q6_K"}, shared_name)
    assert apart == {"mlp.experts.up": "Q6_K"}


def test_a_cut_weights_loss_is_shared_by_rows(tiny_model: Callable[..., Path]) -> None:
    model = read_model(tiny_model("llama"))
    first = next(t for t in model.tensors if t.name == "blk.0.ffn_down.weight")
    other = next(t for t in model.tensors if t.name == "blk.1.ffn_down.weight")
    layout = LearnedLayout(
        tensors={
            first.name: (RowsOfWeight(weight="both", rows=tuple(range(64))),),
            other.name: (RowsOfWeight(weight="both", rows=tuple(range(64, 128))),),
        }
    )
    whole = TensorSensitivity(
        name="both", elements=first.elements + other.elements, losses={"Q4_0": 0.5}
    )
    found = losses_of_tensors(Sensitivities(tensors=(whole,)), layout, model, shared_name)
    assert [(row.name, row.losses["Q4_0"]) for row in found.tensors] == [
        (first.name, 0.25),
        (other.name, 0.25),
    ]


def made_of(model: Path, folder: Path, **request: object) -> tuple[Path, list[Event]]:
    wanted = CompressionRequest.model_validate(
        {
            "model": str(model),
            "format": "Q4_K_M",
            "calibration": MIX,
            "any_calibration": True,
            **request,
        }
    )
    heard: list[Event] = []
    found = compress(compression_recipe(wanted), folder, None, heard.append)
    assert all(check.passed for check in found.checks)
    return folder / found.file, heard


def test_a_family_is_compressed_by_our_codes_and_says_what_awq_lacks(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    _, heard = made_of(tiny_family("lfm2"), tmp_path / "out", effort="best")
    assert any(isinstance(e, Noted) and "rounded by GPTQ" in e.text for e in heard)
    assert any(isinstance(e, Warned) and "Not tuned" in e.text for e in heard)


def test_a_gguf_file_of_a_family_without_a_row_is_rounded_by_importance(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    source = tmp_path / "source.gguf"
    export(read_model(tiny_family("lfm2")), source, "F32")
    file, heard = made_of(source, tmp_path / "out", method="llama.cpp")
    assert any(isinstance(e, Noted) and "block by block" in e.text for e in heard)
    plain = tmp_path / "plain.gguf"
    base = export(read_model(source), tmp_path / "f16.gguf", "F16").path
    LlamaCpp().quantize(base, plain, Types(preset="Q4_K_M"), threads=1)
    assert plain.read_bytes() != file.read_bytes()


def tensors_of(file: Path) -> dict[str, tuple[str, bytes]]:
    header, raw = read_gguf_header(file), file.read_bytes()
    starts = {tensor.name: header.data_start + tensor.offset for tensor in header.tensors}
    return {
        tensor.name: (tensor.type.name, raw[starts[tensor.name] :][: tensor.size_bytes])
        for tensor in header.tensors
    }


@pytest.mark.slow
def test_mxfp4_experts_keep_their_exact_values(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mxfp4"
    write_mxfp4(tiny_family("gpt_oss"), folder)
    model = read_model(folder)
    assert (model.layout, model.quantization) == ("learned", "mxfp4 MXFP4")
    source = export(model, tmp_path / "source.gguf").path
    wanted = {name: row for name, row in tensors_of(source).items() if row[0] == "MXFP4"}
    assert len(wanted) == 6
    file, heard = made_of(folder, tmp_path / "out", format="MXFP4_MOE", method="llama.cpp")
    assert wanted.items() <= tensors_of(file).items()
    assert any(isinstance(event, Warned) and "mxfp4" in event.text for event in heard)


def test_fp8_weights_of_a_family_without_a_row_take_our_codes(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "fp8"
    said = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    write_small_codes(tiny_family("olmo2"), folder, said, block_fp8_parts)
    model = read_model(folder)
    assert (model.layout, model.quantization) == ("learned", "fp8 F8_E4M3")
    _, heard = made_of(folder, tmp_path / "out")
    stages = [event.stage for event in heard if isinstance(event, StageFinished)]
    assert {"checkpoint", "layout", "rounding"} <= set(stages) and "convert" not in stages
    assert any(isinstance(e, Warned) and "fp8" in e.text for e in heard)
