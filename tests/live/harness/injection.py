# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The test's side of inject.c: which call of an agent is to fail."""

import errno
import mmap
import os
import struct

from .result import Skip

LAYOUT = struct.Struct("IIQQIiQ")  # struct request
BPF, MEMORY, MMAP, FILES, LINKS, VERIFIER, BPF_LOOP, CLOCK = (1 << bit for bit in range(8))
ALL = BPF | MEMORY | MMAP | FILES

# What each kind of call fails with, one after the other.
ERRORS = {
    BPF: (errno.ENOSPC, errno.E2BIG, errno.ENOMEM, errno.EPERM),
    MEMORY: (errno.ENOMEM,),
    MMAP: (errno.ENOMEM, errno.EPERM),
    FILES: (errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENOSPC),
    LINKS: (errno.ENOMEM, errno.EPERM),
}
NAMES = {BPF: "bpf(2)", MEMORY: "malloc", MMAP: "mmap", FILES: "open, rename, unlink, epoll_ctl",
         LINKS: "BPF_LINK_UPDATE"}


def library(box):
    path = os.path.join(os.path.dirname(box.sockpol), "tests", "inject.so")
    if not os.access(path, os.R_OK):
        raise Skip(f"there is no {path} (make tests-build)")
    return path


class Injection:
    """A file that agents with `environment` look at before each call."""

    def __init__(self, box):
        self.path = box.path("injection")
        self.environment = {"LD_PRELOAD": library(box), "SOCKPOL_INJECT": self.path}
        with open(self.path, "wb") as file:
            file.write(bytes(LAYOUT.size))
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), LAYOUT.size)

    def arm(self, kind, at=1 << 62, error=errno.ENOMEM, calls=1):
        """From now on the at-th call of the kind fails, and so many in all."""
        LAYOUT.pack_into(self.memory, 0, 0, kind, at, 0, calls, error, 0)
        struct.pack_into("I", self.memory, 0, 1)

    def disarm(self):
        """(calls since it was armed, how many of them failed)"""
        struct.pack_into("I", self.memory, 0, 0)
        _, _, _, count, _, _, fired = LAYOUT.unpack_from(self.memory)
        return count, fired
