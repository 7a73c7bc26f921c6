# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the running kernel lacks, found out without sockpol: by its BTF, by a socket's answer."""

import errno
import functools
import os
import socket

from .result import Skip

BTF = "/sys/kernel/btf/vmlinux"
TCP_RTO_MAX_MS = 44


@functools.lru_cache
def unix_hooks():
    """Does the kernel lack its hooks for AF_UNIX sockets?"""
    with open(BTF, "rb") as btf:
        return b"\0BPF_CGROUP_UNIX_CONNECT\0" not in btf.read()


@functools.lru_cache
def rto_max():
    """Does it lack TCP_RTO_MAX_MS?"""
    with socket.socket() as one:
        try:
            one.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 5000)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return True
    return False


@functools.lru_cache
def getsockopt(level, optname):
    """Does it lack an option in getsockopt(2)?"""
    with socket.socket() as one:
        try:
            one.getsockopt(level, optname)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return True
    return False


def need_unix_hooks():
    if unix_hooks():
        raise Skip(f"kernel {os.uname().release} has no hooks for AF_UNIX sockets (6.7 and later have)")
