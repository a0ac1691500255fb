"""The main job once for each runtime, and the bundles beside each other."""

from __future__ import annotations

from pathlib import Path

from edgecomp.bundles.bundle import bundle_place
from edgecomp.bundles.compare import BundleComparison, compare_bundles
from edgecomp.bundles.compare_report import write_comparison
from edgecomp.common.events import Listener
from edgecomp.jobs.fit import FitRequest, fit, refuse_experts
from edgecomp.models.model_name import result_folder
from edgecomp.models.reading import read_model

RUNTIMES = ("llama.cpp", "onnx")


def fit_both(wanted: FitRequest, output: Path | None, listen: Listener) -> BundleComparison:
    """Fit the model for llama.cpp and for ONNX Runtime, into folders of these names below
    `output`, and compare the two bundles; `output/comparison.html` shows it.

    Each artifact is judged against the float export of its own runtime. Raises what `fit` raises.
    """
    folder = output or result_folder(wanted.model)
    for runtime in RUNTIMES:
        bundle_place(folder / runtime)
    refuse_experts(read_model(wanted.model), "onnx")  # before the first of two runs, not after it
    folders = [
        fit(wanted.model_copy(update={"runtime": runtime}), folder / runtime, listen).folder
        for runtime in RUNTIMES
    ]
    comparison = compare_bundles(folders)
    write_comparison(comparison, folder / "comparison.html")
    return comparison
