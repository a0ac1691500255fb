"""The main job once for each of several runtimes, and the bundles beside each other.

What no runtime has a part in is done once, since stages are kept by what goes into them: the float
checkpoint and the calibration's tokens for all, and what is pruned, distilled or rounded to the
same types.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecomp.bundles.bundle import bundle_place
from edgecomp.bundles.compare import BundleComparison, compare_bundles
from edgecomp.bundles.compare_report import write_comparison
from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.events import Listener
from edgecomp.jobs.fit import FitRequest, fit, refuse_experts
from edgecomp.models.model_name import result_folder
from edgecomp.models.reading import read_model
from edgecomp.runtimes.protocol import find_runtime

BOTH = ("llama.cpp", "onnx")


def named_runtimes(text: str) -> tuple[str, ...]:
    """The runtimes that a text names: one, several between commas, or `both` for llama.cpp and
    ONNX Runtime. Raises CompressionSettingsInvalid for one that is named twice, RuntimeMissing for
    one that is none."""
    names = BOTH if text == "both" else tuple(name.strip() for name in text.split(","))
    for name in names:
        find_runtime(name)
        if names.count(name) > 1:
            raise CompressionSettingsInvalid(
                f"The runtime {name} is named twice in {text!r}: each makes one artifact."
            )
    return names


def fit_several(
    wanted: FitRequest, runtimes: Sequence[str], output: Path | None, listen: Listener
) -> BundleComparison:
    """Fit the model for each of `runtimes`, into folders of these names below `output`, and compare
    the bundles; `output/comparison.html` shows it.

    Each artifact is judged by the same questions, against the float model in its own runtime.
    Raises what `fit` raises.
    """
    folder, model = output or result_folder(wanted.model), read_model(wanted.model)
    for runtime in runtimes:  # before the first run, not after it
        bundle_place(folder / runtime)
        refuse_experts(model, runtime)
    folders = [
        fit(wanted.model_copy(update={"runtime": runtime}), folder / runtime, listen).folder
        for runtime in runtimes
    ]
    comparison = compare_bundles(folders)
    write_comparison(comparison, folder / "comparison.html")
    return comparison
