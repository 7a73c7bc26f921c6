# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The map `cgroup_slots`, from which the hooks know most cgroups' policies, beside the entries."""

import ctypes
import json
import mmap
import os
import struct
import subprocess

from .foreign import bpf
from .result import wait_for

BPF_OBJ_GET = 7
SLOT_BITS, POLICY_BITS = 14, 24  # include/abi.h
SLOTS = 1 << SLOT_BITS


def slot_of(cgroup_id):
    return (cgroup_id * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 64 - SLOT_BITS


def word(cgroup_id, policy):
    return cgroup_id << POLICY_BITS & (1 << 64) - 1 | policy


class Slots:
    """An agent's, for reading and writing."""

    def __init__(self, agent):
        path = ctypes.create_string_buffer(f"{agent.pin_dir}/cgroup_slots".encode())
        fd = bpf(BPF_OBJ_GET, struct.pack("<QII", ctypes.addressof(path), 0, 0))
        try:
            self.memory = mmap.mmap(fd, SLOTS * 16)
        finally:
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.memory.close()

    def all(self):
        """Words, two for each."""
        return struct.unpack(f"={2 * SLOTS}Q", self.memory[:])

    def words(self, cgroup_id):
        return struct.unpack_from("=2Q", self.memory, slot_of(cgroup_id) * 16)

    def write(self, cgroup_id, value):
        struct.pack_into("=2Q", self.memory, slot_of(cgroup_id) * 16, value, value)


def entries(agent):
    """{id: the policies of both halves}"""
    done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", f"{agent.pin_dir}/cgroups"],
                          check=True, capture_output=True, text=True)
    return {one["formatted"]["key"]: one["formatted"]["value"]["policy"]
            for one in json.loads(done.stdout) if "formatted" in one}


def look(agent):
    """How many words say what no entry says; how many cgroups only the hash knows."""
    there = entries(agent)
    wanted = {(half, word(one, policy)) for one, policies in there.items()
              for half, policy in enumerate(policies)}
    with Slots(agent) as slots:
        found = {(at % 2, value) for at, value in enumerate(slots.all()) if value}
    shared = len(there) - len({slot_of(one) for one in there})
    return {"wrong words": len(found - wanted),
            "missing words": max(0, len(wanted - found) - 2 * shared)}


def check_slots(what, agent):
    """Each says what an entry says, and all entries are there but those that share one."""
    wait_for(f"slots to be as the entries, {what}", {"wrong words": 0, "missing words": 0},
             lambda: look(agent))
    return len(entries(agent))
