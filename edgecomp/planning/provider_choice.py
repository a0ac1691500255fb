"""Which processor of a device an execution provider computes on, and which provider fits it."""

from __future__ import annotations

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.devices.profile import DeviceProfile, Processor
from edgecomp.formats.execution_providers import execution_provider

AUTO = "auto"
"""`--provider auto`: the one that fits the device."""

BACKENDS: dict[str, frozenset[str]] = {
    "cuda": frozenset({"cuda"}),
    "dml": frozenset({"cuda", "rocm", "vulkan", "sycl"}),
    "webgpu": frozenset({"cuda", "rocm", "vulkan", "sycl", "metal"}),
    "qnn": frozenset({"opencl", "qnn"}),
    "coreml": frozenset({"coreml"}),
}
"""How device profiles call the processors that a provider computes on. Adreno, in Qualcomm's chips,
is the only one that they call opencl. Those not named here compute on the CPU."""


def provider_processor(name: str, device: DeviceProfile) -> Processor:
    """The first processor of `device` that a provider computes on.

    Raises CompressionSettingsInvalid for a provider that is none, or for which the device has none.
    """
    provider = execution_provider(name)
    backends = BACKENDS.get(name)
    if backends is None:
        return device.cpu
    for processor in device.processors:
        if processor.backend in backends:
            return processor
    fitting = fitting_provider(device)
    raise CompressionSettingsInvalid(
        f"{device.title} has nothing that {provider.title} computes on: it is for "
        f"{provider.runs_on}. Choose --provider {fitting}, or name another --device."
    )


def fitting_provider(device: DeviceProfile) -> str:
    """The provider made for the device's fastest processors; `cpu` where none is."""
    backends = {processor.backend for processor in device.processors}
    for name in ("cuda", "coreml", "qnn"):
        if backends & BACKENDS[name]:
            return name
    runs = {row.processor for row in device.runtimes if row.runtime == "onnx"}
    return "dml" if any(gpu.name in runs for gpu in device.gpus) else "cpu"


def chosen_provider(name: str, device: DeviceProfile) -> str:
    """What `--provider` says, `auto` resolved. Raises CompressionSettingsInvalid."""
    return fitting_provider(device) if name == AUTO else execution_provider(name).name


def fitting_notice(name: str, device: DeviceProfile) -> tuple[str, ...]:
    """That a device has a provider of its own, where it is planned for the CPU."""
    fitting = fitting_provider(device)
    if name != "cpu" or fitting == "cpu":
        return ()
    provider = execution_provider(fitting)
    return (
        f"ONNX Runtime's {provider.title} provider fits this device: --provider {fitting} plans "
        "and writes for it.",
    )
