"""Pruning: SparseGPT, Wanda and magnitude against slow, obvious transcriptions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.blocks import Method, walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.ldl_factor import ldl_factor
from edgecomp.compress.magnitude import magnitude, magnitude_method
from edgecomp.compress.sparsegpt import sparsegpt, sparsegpt_method
from edgecomp.compress.wanda import wanda, wanda_method
from edgecomp.recipes.sparsity import Sparsity, parse_sparsity

from .conftest import Save
from .test_gptq import hessian_of, loss, weights
from .test_packed_triangle import triangle_of

PATTERNS = ["0.5", "30%", "2:4", "4:8", "1:4"]


def paper_sparsegpt(weight: Tensor, hessian: Tensor, sparsity: Sparsity) -> Tensor:
    """Algorithm 1 of arXiv 2301.00774 (B_s = 128, or M for N:M), in float64."""
    w, h = weight.double().clone(), hessian.double().clone()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    span = sparsity.of or 128
    for start in range(0, w.shape[1], span):
        part = slice(start, min(start + span, w.shape[1]))
        scores = w[:, part].square() / u.diagonal()[part].square()
        mask = torch.zeros_like(scores, dtype=torch.bool)
        if sparsity.of and sparsity.kept:
            for row in range(len(w)):
                mask[row, scores[row].argsort()[: sparsity.of - sparsity.kept]] = True
        else:
            count = round(scores.numel() * sparsity.ratio)
            mask.view(-1)[scores.flatten().argsort()[:count]] = True
        for i in range(part.start, part.stop):
            error = torch.where(mask[:, i - start], w[:, i] / u[i, i], 0)
            w[:, i:] -= error[:, None] * u[i, i:][None]
            w[mask[:, i - start], i] = 0
    return w


@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_sparsegpt_equals_the_papers_algorithm(kind: str, pattern: str) -> None:
    weight, hessian = weights(256), hessian_of(kind, 256)
    sparsity = parse_sparsity(pattern)
    expected = paper_sparsegpt(weight, hessian, sparsity)
    # In float64, so that no score falls on the other side of a mask by rounding.
    factor = ldl_factor(triangle_of(hessian.double()), "layer")
    pruned = sparsegpt(weight.double(), factor, sparsity)
    assert torch.equal(pruned == 0, expected == 0)
    torch.testing.assert_close(pruned, expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_wanda_removes_the_smallest_products_of_weight_and_input_norm_in_each_row(
    pattern: str,
) -> None:
    weight, means = weights(), hessian_of("correlated").diagonal()
    sparsity = parse_sparsity(pattern)
    expected = weight.clone()
    span = sparsity.of or weight.shape[1]
    removed = (
        sparsity.of - sparsity.kept
        if sparsity.of and sparsity.kept
        else round(span * sparsity.ratio)
    )
    for row in range(len(weight)):
        for start in range(0, weight.shape[1], span):
            scores = [
                (float(weight[row, j].abs() * means[j] ** 0.5), j)
                for j in range(start, start + span)
            ]
            for _, j in sorted(scores)[:removed]:
                expected[row, j] = 0
    assert torch.equal(wanda(weight, means, sparsity), expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_method_prunes_exactly_what_was_asked(pattern: str) -> None:
    weight, hessian = weights(256), hessian_of("correlated", 256)
    sparsity = parse_sparsity(pattern)
    for pruned in (
        magnitude(weight, sparsity),
        wanda(weight, hessian.diagonal(), sparsity),
        sparsegpt(weight, ldl_factor(triangle_of(hessian), "layer"), sparsity),
    ):
        assert (pruned == 0).float().mean() == pytest.approx(sparsity.ratio, abs=1 / 256)
        if sparsity.of:
            zeros = (pruned.unflatten(1, (-1, sparsity.of)) == 0).sum(dim=2)
            assert (zeros == sparsity.of - (sparsity.kept or 0)).all()


@pytest.mark.parametrize("pattern", ["0.5", "2:4"])
def test_layer_error_falls_from_magnitude_to_wanda_to_sparsegpt(pattern: str) -> None:
    weight, hessian = weights(256), hessian_of("correlated", 256)
    sparsity = parse_sparsity(pattern)
    by_magnitude = loss(weight, magnitude(weight, sparsity), hessian)
    by_wanda = loss(weight, wanda(weight, hessian.diagonal(), sparsity), hessian)
    by_sparsegpt = loss(
        weight, sparsegpt(weight, ldl_factor(triangle_of(hessian), "layer"), sparsity), hessian
    )
    assert by_sparsegpt < by_wanda < by_magnitude


def test_equal_scores_still_prune_the_exact_share() -> None:
    assert (magnitude(torch.ones(4, 10), parse_sparsity("0.5")) == 0).sum() == 20


@pytest.mark.parametrize("text", ["0", "1", "1.5", "-0.5", "100%", "4:4", "5:4", "0:4", "half", ""])
def test_a_sparsity_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CompressionSettingsInvalid, match="2:4"):
        parse_sparsity(text)


def test_a_pattern_that_does_not_divide_the_columns_is_refused_by_name() -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"layer\.2 has 126 columns.*2:4"):
        wanda(torch.ones(2, 126), torch.ones(126), parse_sparsity("2:4"), "layer.2")


@pytest.mark.parametrize(
    "method",
    [magnitude_method, wanda_method, sparsegpt_method],
    ids=["magnitude", "wanda", "sparsegpt"],
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_whole_checkpoint_is_pruned(
    method: object, family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model(family)
    make: Method = method(parse_sparsity("2:4"))  # type: ignore[operator]
    walk(folder, tokens, make, destination=Destination(folder=tmp_path / "out"))
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, weight in written.items():
        if ".layers." in name and name.endswith("_proj.weight"):
            assert ((weight.view(-1, 4) == 0).sum(dim=1) == 2).all(), name
