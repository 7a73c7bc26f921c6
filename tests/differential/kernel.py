# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What this kernel can do, found out by having it load a program."""

import ctypes
import os

PROG_TYPE_CGROUP_SOCK_ADDR = 18
ATTACH_CGROUP_UNIX_CONNECT = 49
RETURN_1 = bytes.fromhex("b700000001000000" "9500000000000000")  # r0 = 1; exit


class LoadOptions(ctypes.Structure):
    """The beginning of struct bpf_prog_load_opts; its size tells libbpf where it ends."""
    _fields_ = [("size", ctypes.c_size_t), ("attempts", ctypes.c_int),
                ("attach_type", ctypes.c_int)]


def governs_unix():
    """Is there a hook in connect(2) of AF_UNIX sockets?"""
    options = LoadOptions(ctypes.sizeof(LoadOptions), 0, ATTACH_CGROUP_UNIX_CONNECT)
    fd = ctypes.CDLL("libbpf.so.1").bpf_prog_load(
        PROG_TYPE_CGROUP_SOCK_ADDR, None, b"GPL", RETURN_1, ctypes.c_size_t(2),
        ctypes.byref(options))
    if fd < 0:
        return False
    os.close(fd)
    return True
