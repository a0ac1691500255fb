"""Which quantized checkpoints transformers itself loads here, and what each kind needs for it.

Source: transformers' `quantizers/quantizer_*.py`, whose `validate_environment` names the packages.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple


class Kernels(NamedTuple):
    """What runs the codes of one kind of quantized checkpoint."""

    packages: dict[str, str]
    """All that are needed: each by the name it is installed by, and the module that shows it."""

    extra: str | None = None
    """The extra of edgecomp that installs them; None where there is none."""

    any_float: bool = False
    """They compute in whatever float type is asked for; others in the one of config.json."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return tuple(name for name, module in self.packages.items() if find_spec(module) is None)

    @property
    def cure(self) -> str:
        """How to install them."""
        wanted = f"'edgecomp[{self.extra}]'" if self.extra else " ".join(self.packages)
        return f"`pip install {wanted}`"


KERNELS = {
    "gptq": Kernels({"gptqmodel": "gptqmodel", "optimum": "optimum"}, "gptq"),
    "awq": Kernels({"gptqmodel": "gptqmodel"}, "gptq"),
    "compressed-tensors": Kernels(
        {"compressed-tensors": "compressed_tensors"}, "compressed-tensors", any_float=True
    ),
    "bitsandbytes": Kernels({"bitsandbytes": "bitsandbytes"}),
    "mxfp4": Kernels({"kernels": "kernels"}),
}
"""By `quant_method`; a method that is not here needs nothing beside transformers, or is unknown."""
