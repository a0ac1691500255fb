"""Devices by name: the profiles that ship, a user's own, and this machine."""

from __future__ import annotations

import difflib
from typing import Literal

from edgecomp.common.errors import DeviceUnknown
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.profile import DeviceProfile, load_profile, profile_paths


class DeviceList(FrozenModel):
    """The names and titles of all profiles."""

    schema_version: Literal[1] = 1
    devices: dict[str, str]

    def lines(self) -> list[str]:
        width = max((len(name) for name in self.devices), default=0)
        return [f"{name:{width}}  {title}" for name, title in self.devices.items()]


def device_list() -> DeviceList:
    """Every profile that can be named, this machine's first."""
    titles = {name: load_profile(path).title for name, path in profile_paths().items()}
    return DeviceList(devices={"auto": "this machine, detected", **titles})


def find_device(name: str) -> DeviceProfile:
    """The profile called `name`; `auto` is this machine, calibrated where it has been.

    Raises DeviceUnknown with the nearest names, or ProfileInvalid.
    """
    if name == "auto":
        from edgecomp.devices.detect import detect_device

        return detect_device()
    paths = profile_paths()
    if name not in paths:
        nearest = difflib.get_close_matches(name.lower(), paths, n=2, cutoff=0.5)
        raise DeviceUnknown(name, nearest, list(paths))
    return load_profile(paths[name])
