# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The map `cgroup_slots`, from which the hooks know most cgroups' policies, beside the entries."""

import ctypes
import json
import mmap
import os
import struct
import subprocess

from .foreign import bpf
from .result import check

BPF_OBJ_GET = 7
SLOTS, POLICY_BITS = 16384, 24  # include/abi.h


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

    def words(self, cgroup_id):
        """Of each half what is known: (whose, the lower 40 bits of the id; policy)."""
        words = struct.unpack_from("<2Q", self.memory, cgroup_id % SLOTS * 16)
        return [(word >> POLICY_BITS, word & (1 << POLICY_BITS) - 1) for word in words]

    def write(self, cgroup_id, whose, policy):
        struct.pack_into("<2Q", self.memory, cgroup_id % SLOTS * 16,
                         *2 * [(whose << POLICY_BITS | policy) & (1 << 64) - 1])


def entries(agent):
    """{id: the policies of both halves}"""
    done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", f"{agent.pin_dir}/cgroups"],
                          check=True, capture_output=True, text=True)
    return {one["formatted"]["key"]: one["formatted"]["value"]["policy"]
            for one in json.loads(done.stdout) if "formatted" in one}


def check_slots(what, agent):
    """Each says what its entry says, but those that several share."""
    there = entries(agent)
    wrong, unknown = [], []
    with Slots(agent) as slots:
        for one, policies in there.items():
            known = slots.words(one)
            expected = [(one & (1 << 40) - 1, policy) for policy in policies]
            mine = [word for word in zip(known, expected) if word[0][0] == word[1][0]]
            if any(word != wanted for word, wanted in mine):
                wrong.append((one, known, expected))
            if len(mine) < 2 and [other % SLOTS for other in there].count(one % SLOTS) == 1:
                unknown.append((one, known, expected))
    check(f"{what}: cgroups with a slot that is not as their entry", [], wrong)
    check(f"{what}: cgroups that only the hash knows", [], unknown)
    return len(there)
