"""DeviceProfile: what a device is. Profiles are TOML files; this machine's is detected.

A profile says how much memory each pool has and how fast it is, what computes, and which weight
formats have kernels there. Every number in a file names its source. Quantities are written with
their unit ("24 GiB", "1008 GB/s", "82.6 TFLOPS") and held here in bytes and per second.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from edgecomp.common.errors import ProfileInvalid, UnitUnknown
from edgecomp.common.folders import config_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import OPERATIONS, RATES, SIZES, parse_quantity
from edgecomp.common.safe_text import one_line
from edgecomp.common.validation_text import format_validation_error
from edgecomp.devices.kernel_rates import KernelRates


def _in(units: dict[str, int]) -> BeforeValidator:
    def convert(value: object) -> object:
        if isinstance(value, str):
            try:
                return round(parse_quantity(value, units))
            except UnitUnknown as error:
                raise ValueError(str(error)) from error
        return value

    return BeforeValidator(convert)


Bytes = Annotated[int, _in(SIZES), Field(ge=0)]
BytesPerSecond = Annotated[int, _in(RATES), Field(gt=0)]
OperationsPerSecond = Annotated[int, _in(OPERATIONS), Field(gt=0)]

NumberType = Literal["fp32", "fp16", "bf16", "int8", "int4"]
Backend = Literal["cpu", "cuda", "rocm", "vulkan", "metal", "sycl", "opencl", "qnn", "coreml"]


class MemoryPool(FrozenModel):
    """One memory: `reserved` is what the system and the screen keep for themselves."""

    name: str
    kind: Literal["ram", "vram", "unified"]
    size: Bytes
    reserved: Bytes
    bandwidth: BytesPerSecond

    @model_validator(mode="after")
    def _check(self) -> MemoryPool:
        if self.reserved >= self.size:
            raise ValueError(f"pool {self.name!r} reserves {self.reserved} of {self.size} bytes")
        return self

    @property
    def usable_bytes(self) -> int:
        return self.size - self.reserved


class Processor(FrozenModel):
    """Something that computes, and the pool it works in at full speed."""

    name: str
    kind: Literal["cpu", "gpu", "npu"]
    pool: str
    backend: Backend
    cores: int = Field(gt=0)
    """Physical cores that inference should use (CPU), or compute units (GPU)."""

    vendor: Literal["intel"] | None = None
    """Where a backend's kernels are much slower on one vendor's chips than on the others'."""

    instruction_sets: tuple[str, ...] = ()
    peak: dict[NumberType, OperationsPerSecond] = Field(min_length=1)
    """Dense operations a second at each number type."""


class RuntimeSupport(FrozenModel):
    """A runtime that runs on the device, and the formats that have kernels there."""

    runtime: Literal["llama.cpp", "onnx", "transformers"]
    processor: str
    formats: tuple[str, ...]
    """Tensor types, or families: `float`, `legacy` (Q4_0…Q8_0), `k`, `iq`, `int4`, `int8`."""


class DeviceProfile(FrozenModel):
    """One device. The first pool and the first processor are the fastest."""

    schema_version: Literal[1]
    name: str
    title: str
    kind: Literal["gpu", "apple", "laptop", "desktop", "board", "phone"]
    pools: tuple[MemoryPool, ...] = Field(min_length=1)
    processors: tuple[Processor, ...] = Field(min_length=1)
    link: BytesPerSecond | None = None
    """Between the system's memory and a graphics card's."""

    runtimes: tuple[RuntimeSupport, ...] = ()
    thermal_note: str = ""
    sources: dict[str, str]
    """Where each number comes from, by its place in the file (`pools.vram.size`)."""

    kernel_rates: KernelRates | None = None

    @model_validator(mode="after")
    def _check(self) -> DeviceProfile:
        pools = {pool.name for pool in self.pools}
        processors = {processor.name for processor in self.processors}
        if len(pools) < len(self.pools) or len(processors) < len(self.processors):
            raise ValueError("two pools or two processors have the same name")
        for processor in self.processors:
            if processor.pool not in pools:
                raise ValueError(
                    f"processor {processor.name!r} works in unknown {processor.pool!r}"
                )
        for support in self.runtimes:
            if support.processor not in processors:
                raise ValueError(
                    f"runtime {support.runtime!r} runs on unknown {support.processor!r}"
                )
        if any(pool.kind == "vram" for pool in self.pools) and self.link is None:
            raise ValueError("a device with its own graphics memory needs `link`")
        return self

    def pool(self, name: str) -> MemoryPool:
        return self._pool_by_name[name]

    @cached_property
    def _pool_by_name(self) -> dict[str, MemoryPool]:
        return {pool.name: pool for pool in self.pools}

    def kernel_rates_in(self, runtime: str) -> KernelRates | None:
        """What was measured here in `runtime`; None where nothing was."""
        if self.kernel_rates is None or runtime != "onnx":
            return self.kernel_rates
        return self.kernel_rates.onnx

    @cached_property
    def cpu(self) -> Processor:
        return next(processor for processor in self.processors if processor.kind == "cpu")

    @cached_property
    def gpus(self) -> tuple[Processor, ...]:
        return tuple(processor for processor in self.processors if processor.kind == "gpu")

    @cached_property
    def system_pool(self) -> MemoryPool:
        """The memory that the CPU works in."""
        return self.pool(self.cpu.pool)


def own_profiles_folder() -> Path:
    """Where users keep profiles of their own."""
    return config_folder() / "devices"


def profile_paths() -> dict[str, Path]:
    """Every profile by name; a user's own wins over the one that ships."""
    import importlib.resources

    shipped = importlib.resources.files("edgecomp.device_profiles")
    found = {
        entry.name.removesuffix(".toml"): Path(str(entry))
        for entry in shipped.iterdir()
        if entry.name.endswith(".toml")
    }
    own = own_profiles_folder()
    if own.is_dir():
        found |= {path.stem: path for path in sorted(own.glob("*.toml"))}
    return dict(sorted(found.items()))


def load_profile(path: Path) -> DeviceProfile:
    """Read one profile. Raises ProfileInvalid, naming the field."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        profile = DeviceProfile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the profile"
        raise ProfileInvalid(path, f"{place}: {format_validation_error(first)}.") from error
    except (ValueError, RecursionError) as error:
        raise ProfileInvalid(path, f"it is no TOML ({one_line(str(error))}).") from error
    if profile.name != path.stem:
        raise ProfileInvalid(path, f"it is named {profile.name!r}, its file {path.stem!r}.")
    return profile
