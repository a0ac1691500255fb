"""Where a device is reached: `ssh://user@host:port` or `adb://SERIAL`."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field

from edgecomp.common.errors import AddressInvalid
from edgecomp.common.frozen_model import FrozenModel


class SshAddress(FrozenModel):
    """A host with an ssh server; what is None here, the user's own ssh configuration says."""

    host: str = Field(min_length=1)
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{self.host}" + (f":{self.port}" if self.port else "")


class AdbAddress(FrozenModel):
    """An Android device by the serial that `adb devices` lists."""

    serial: str = Field(min_length=1)

    def __str__(self) -> str:
        return f"adb://{self.serial}"


def parse_address(text: str) -> SshAddress | AdbAddress:
    """Raises AddressInvalid."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise AddressInvalid(text) from error
    more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme == "ssh" and parts.hostname and not more and not parts.password:
        return SshAddress(host=parts.hostname, user=parts.username, port=port)
    # An adb serial may itself be HOST:PORT.
    if parts.scheme == "adb" and parts.netloc and not more:
        return AdbAddress(serial=parts.netloc)
    raise AddressInvalid(text)
