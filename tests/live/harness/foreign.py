# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BPF programs of somebody else: a few instructions, that let everything pass, attached as we please."""

import ctypes
import os
import platform
import re
import struct

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH, BPF_LINK_CREATE = 5, 8, 9, 28
CGROUP_SOCK, SOCK_OPS, CGROUP_SOCK_ADDR, CGROUP_SOCKOPT = 9, 13, 18, 25  # enum bpf_prog_type
# enum bpf_attach_type
ATTACH_TYPES = {"sock_create": 2, "sock_ops": 3, "bind4": 8, "connect4": 10, "connect6": 11,
                "sendmsg4": 14, "sendmsg6": 15, "recvmsg4": 19, "setsockopt": 22}
PROGRAM_TYPES = {"sock_create": CGROUP_SOCK, "sock_ops": SOCK_OPS, "setsockopt": CGROUP_SOCKOPT}
ALLOW_MULTI = 2


def instruction(code, to=0, source=0, offset=0, number=0):
    return struct.pack("<BBhi", code, to | source << 4, offset, number)


RETURN_1 = instruction(0xB7, 0, number=1) + instruction(0x95)


def sets_congestion(name):
    """A sock_ops program: once a connection is established, setsockopt(TCP_CONGESTION)."""
    low, high = struct.unpack("<ii", name.encode().ljust(8, b"\0"))
    body = (instruction(0x18, 3, number=low) + instruction(0, number=high)  # r3 = name
            + instruction(0x7B, 10, 3, -8)  # *(r10 - 8) = r3
            + instruction(0xB7, 2, number=6) + instruction(0xB7, 3, number=13)  # TCP, CONGESTION
            + instruction(0xBF, 4, 10) + instruction(0x07, 4, number=-8)
            + instruction(0xB7, 5, number=len(name))
            + instruction(0x85, number=49))  # bpf_setsockopt(r1, r2, r3, r4, r5)
    return (instruction(0x61, 2, 1)  # r2 = ctx->op
            + instruction(0x55, 2, offset=len(body) // 8, number=4)  # not ACTIVE_ESTABLISHED_CB
            + body + RETURN_1)

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = LIBC.syscall(SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def load(hook, name="theirs", program=RETURN_1):
    """A descriptor of a new program."""
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack(
        "<IIQQIIQII16sII", PROGRAM_TYPES.get(hook, CGROUP_SOCK_ADDR), len(program) // 8,
        ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, name.encode(), 0,
        0 if hook == "sock_ops" else ATTACH_TYPES[hook]))


def newest_program():
    """Its id; what is loaded later has a greater one."""
    program = load("connect4")
    with os.fdopen(program, "rb"), open(f"/proc/self/fdinfo/{program}", encoding="ascii") as info:
        return int(re.search(r"^prog_id:\s*(\d+)$", info.read(), re.M)[1])


def attach(box, cgroup, hook, flags=0, code=RETURN_1):
    """Without a link, until the end of the scope; flags 0 exclude others here and below."""
    program = load(hook, program=code)
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


def fill(box, cgroup, hook, number, code=RETURN_1):
    """That many links at the hook, until the end of the scope."""
    program = load(hook, program=code)
    box.stack.callback(os.close, program)
    directory = os.open(cgroup.directory, os.O_RDONLY)
    box.stack.callback(os.close, directory)
    for _ in range(number):
        link = bpf(BPF_LINK_CREATE, struct.pack("<IIII", program, directory, ATTACH_TYPES[hook], 0))
        box.stack.callback(os.close, link)
