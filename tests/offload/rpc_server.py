"""Offers this machine's processor as a device on the loopback address: `rpc_server.py PORT`."""

from __future__ import annotations

import ctypes
import sys

from rpc_library import library

CPU_DEVICE = 0
"""`GGML_BACKEND_DEVICE_TYPE_CPU`."""


def main(port: int) -> None:
    """Serve until ended."""
    find = library().ggml_backend_dev_by_type
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_int]
    devices = (ctypes.c_void_p * 1)(find(CPU_DEVICE))
    start = library().ggml_backend_rpc_start_server
    start.restype = None
    start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_size_t] * 2, ctypes.c_void_p]
    start(f"127.0.0.1:{port}".encode(), None, 1, 1, devices)


if __name__ == "__main__":
    main(int(sys.argv[1]))
