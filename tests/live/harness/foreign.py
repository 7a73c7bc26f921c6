# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF programs of somebody else: two instructions, that let everything pass, attached as we please."""

import ctypes
import os
import platform
import struct

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH, BPF_LINK_CREATE = 5, 8, 9, 28
CGROUP_SOCK_ADDR = 18  # enum bpf_prog_type
# enum bpf_attach_type
ATTACH_TYPES = {"connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15}
ALLOW_MULTI = 2
RETURN_1 = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = LIBC.syscall(SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def load(hook, name="theirs"):
    """A descriptor of a new program."""
    code, licence = ctypes.create_string_buffer(RETURN_1), ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack(
        "<IIQQIIQII16sII", CGROUP_SOCK_ADDR, len(RETURN_1) // 8, ctypes.addressof(code),
        ctypes.addressof(licence), 0, 0, 0, 0, 0, name.encode(), 0, ATTACH_TYPES[hook]))


def attach(box, cgroup, hook, flags=0):
    """Without a link, until the end of the scope; flags 0 exclude others here and below."""
    program = load(hook)
    directory = os.open(cgroup.directory, os.O_RDONLY)
    try:
        bpf(BPF_PROG_ATTACH, struct.pack("<IIII", directory, program, ATTACH_TYPES[hook], flags))
    except OSError:
        os.close(program)
        os.close(directory)
        raise

    def undo():
        bpf(BPF_PROG_DETACH, struct.pack("<IIII", directory, program, ATTACH_TYPES[hook], 0))
        os.close(program)
        os.close(directory)

    return box.stack.callback(undo)


def fill(box, cgroup, hook, number):
    """That many links at the hook, until the end of the scope."""
    program = load(hook)
    box.stack.callback(os.close, program)
    directory = os.open(cgroup.directory, os.O_RDONLY)
    box.stack.callback(os.close, directory)
    for _ in range(number):
        link = bpf(BPF_LINK_CREATE, struct.pack("<IIII", program, directory, ATTACH_TYPES[hook], 0))
        box.stack.callback(os.close, link)
