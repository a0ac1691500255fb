"""Draw with matplotlib into an SVG element that stands inside a page."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes


def svg_plot(draw: Callable[[Axes], None], height_inches: float = 3.6) -> str:
    """The SVG element of what `draw` puts on the axes."""
    # Same values, same bytes: matplotlib otherwise draws its element names at random.
    with pyplot.rc_context({"svg.hashsalt": "edgecomp", "svg.fonttype": "path"}):
        figure, axes = pyplot.subplots(figsize=(7.2, height_inches), layout="constrained")
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
