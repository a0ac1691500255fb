"""Addresses of devices are read, or refused with what to write instead."""

from __future__ import annotations

import pytest

from edgecomp.common.errors import AddressInvalid
from edgecomp.remote.address import AdbAddress, SshAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@10.0.0.2:2222", SshAddress(host="10.0.0.2", user="pi", port=2222)),
        ("ssh://board", SshAddress(host="board")),
        ("ssh://pi@[fe80::1]:22", SshAddress(host="fe80::1", user="pi", port=22)),
        ("adb://R5CT1234", AdbAddress(serial="R5CT1234")),
        ("adb://192.168.1.5:5555", AdbAddress(serial="192.168.1.5:5555")),
    ],
)
def test_an_address_says_how_and_where(text: str, address: SshAddress | AdbAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["pi@host", "ssh://", "adb://", "ssh://pi:secret@host", "ssh://host:99999", "ssh://host/~/m",
     "http://host"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(AddressInvalid, match="ssh://user@host"):
        parse_address(text)
