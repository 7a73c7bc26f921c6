# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A program that does nothing, in sendmsg(2) of a cgroup: what the kernel itself takes for a hook."""

import ctypes
import os

PROG_TYPE_CGROUP_SOCK_ADDR = 18
ATTACH_CGROUP_UDP4_SENDMSG = 14
ALLOW_MULTI = 2
RETURN_1 = bytes.fromhex("b700000001000000" "9500000000000000")  # r0 = 1; exit


class LoadOptions(ctypes.Structure):
    """The beginning of struct bpf_prog_load_opts; its size tells libbpf where it ends."""
    _fields_ = [("size", ctypes.c_size_t), ("attempts", ctypes.c_int),
                ("attach_type", ctypes.c_int)]


def attach_empty(cgroup):
    """It goes with the cgroup."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    options = LoadOptions(ctypes.sizeof(LoadOptions), 0, ATTACH_CGROUP_UDP4_SENDMSG)
    program = libbpf.bpf_prog_load(PROG_TYPE_CGROUP_SOCK_ADDR, b"empty", b"GPL", RETURN_1,
                                   ctypes.c_size_t(2), ctypes.byref(options))
    if program < 0:
        raise OSError(-program, "loading an empty program")
    directory = os.open(cgroup.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        error = libbpf.bpf_prog_attach(program, directory, ATTACH_CGROUP_UDP4_SENDMSG, ALLOW_MULTI)
    finally:
        os.close(directory)
        os.close(program)
    if error < 0:
        raise OSError(-error, "attaching an empty program")
