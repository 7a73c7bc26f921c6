# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The kernel's own accounting of BPF programs: how often each ran, and for how many nanoseconds."""

import copy
import ctypes
import os
import struct

from harness.foreign import bpf

BPF_MAP_LOOKUP_ELEM, BPF_MAP_GET_FD_BY_ID, BPF_MAP_TYPE_ARRAY_OF_MAPS = 1, 14, 12
BPF_OBJ_GET, BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_ENABLE_STATS = 7, 13, 15, 32
# struct bpf_prog_info, as far as needed
INFO_SIZE, JITED, XLATED, NAME, RUN_TIME, VERIFIED = 224, 16, 20, 64, 192, 216


def enable(stack):
    """Until the stack is unwound, or this process ends however it does."""
    stack.callback(os.close, bpf(BPF_ENABLE_STATS, struct.pack("<I", 0)))


class Program:
    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.name = self.info()[NAME:NAME + 16].partition(b"\0")[0].decode()

    @classmethod
    def by_id(cls, number):
        return cls(bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("<I", int(number))))

    @classmethod
    def by_pin(cls, path):
        text = ctypes.create_string_buffer(path.encode())
        return cls(bpf(BPF_OBJ_GET, struct.pack("<QII", ctypes.addressof(text), 0, 0)))

    def info(self):
        buffer = ctypes.create_string_buffer(INFO_SIZE)
        bpf(BPF_OBJ_GET_INFO_BY_FD,
            struct.pack("<IIQ", self.descriptor, INFO_SIZE, ctypes.addressof(buffer)))
        return buffer.raw

    def read(self):
        """(runs, nanoseconds)"""
        time, runs = struct.unpack_from("<QQ", self.info(), RUN_TIME)
        return runs, time

    def size(self):
        info = self.info()
        return {"instructions": struct.unpack_from("<I", info, XLATED)[0] // 8,
                "jited_bytes": struct.unpack_from("<I", info, JITED)[0],
                "verified_instructions": struct.unpack_from("<I", info, VERIFIED)[0]}


class Programs:
    """Those of one contestant; nobody else's."""

    def __init__(self, stack, programs):
        self.programs = programs
        for one in programs:
            stack.callback(os.close, one.descriptor)

    def only(self, *names):
        """Those of these names; whose they are stays as it is."""
        some = copy.copy(self)
        some.programs = [one for one in self.programs if one.name in names]
        return some

    def read(self):
        return {one.name: one.read() for one in self.programs}

    def spent(self, do):
        """{hook: (runs, nanoseconds)} of what ran meanwhile."""
        before = self.read()
        do()
        return {name: (runs - before[name][0], time - before[name][1])
                for name, (runs, time) in self.read().items() if runs > before[name][0]}


def of_agent(stack, agent):
    return Programs(stack, [Program.by_id(number) for kind, number in agent.objects()
                            if kind == "prog"])


def above(spent, empty):
    """Nanoseconds more than empty programs would take that run as often at the same hooks."""
    return sum(time - runs * empty[hook][1] / empty[hook][0]
               for hook, (runs, time) in spent.items())


def map_bytes(objects):
    """What the kernel takes for all maps of Agent.objects(), those in arrays of maps among them."""
    found = {}

    def look(number):
        try:
            descriptor = bpf(BPF_MAP_GET_FD_BY_ID, struct.pack("<I", number))
        except FileNotFoundError:
            return  # gone since
        try:
            with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
                info = dict(line.split(":", 1) for line in file)
            found[number] = int(info["memlock"])
            if int(info["map_type"]) == BPF_MAP_TYPE_ARRAY_OF_MAPS:
                for inner in elements(descriptor, int(info["max_entries"])):
                    look(inner)
        finally:
            os.close(descriptor)

    for kind, number in objects:
        if kind == "map":
            look(int(number))
    return sum(found.values())


def elements(descriptor, entries):
    """The ids of an array's maps."""
    key, value = ctypes.c_uint32(), ctypes.c_uint32()
    for key.value in range(entries):
        try:
            bpf(BPF_MAP_LOOKUP_ELEM, struct.pack("<QQQQ", descriptor, ctypes.addressof(key),
                                                 ctypes.addressof(value), 0))
        except FileNotFoundError:
            continue
        yield value.value
