# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the running kernel lacks, found out without sockpol: by its BTF, by a socket's answer, by a program
that it loads or refuses."""

import ctypes
import errno
import functools
import os
import socket

from .result import Skip

BTF = "/sys/kernel/btf/vmlinux"
TCP_RTO_MAX_MS = 44
SECURITY_MODULES = "/sys/kernel/security/lsm"
BPF_PROG_TYPE_LSM, BPF_LSM_CGROUP = 29, 43
RETURN_1 = bytes.fromhex("b700000001000000" "9500000000000000")  # r0 = 1; exit


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


class LoadOptions(ctypes.Structure):
    """The beginning of struct bpf_prog_load_opts; its size tells libbpf where it ends."""
    _fields_ = [("size", ctypes.c_size_t), ("attempts", ctypes.c_int), ("attach_type", ctypes.c_int),
                ("unused", ctypes.c_uint32 * 4), ("attach_btf_id", ctypes.c_uint32)]


def load_lsm(function):
    """A descriptor of a program that lets pass whatever the kernel asks security_FUNCTION() for; < 0: none."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    hook = libbpf.libbpf_find_vmlinux_btf_id(function.encode(), BPF_LSM_CGROUP)
    if hook < 0:
        return hook
    options = LoadOptions(ctypes.sizeof(LoadOptions), 0, BPF_LSM_CGROUP, attach_btf_id=hook)
    return libbpf.bpf_prog_load(BPF_PROG_TYPE_LSM, function[:15].encode(), b"GPL", RETURN_1,
                                ctypes.c_size_t(2), ctypes.byref(options))


@functools.lru_cache
def bpf_lsm():
    """Does it lack BPF LSM: was it booted without, or does it refuse such a program?"""
    if os.path.exists(SECURITY_MODULES):
        with open(SECURITY_MODULES, encoding="ascii") as modules:
            if "bpf" not in modules.read().split(","):
                return True
    program = load_lsm("socket_post_create")
    if program >= 0:
        os.close(program)
    return program < 0


def need_bpf_lsm():
    if bpf_lsm():
        raise Skip(f"kernel {os.uname().release} has no hooks of BPF LSM (boot with lsm=...,bpf)")


def need_unix_hooks():
    if unix_hooks():
        raise Skip(f"kernel {os.uname().release} has no hooks for AF_UNIX sockets (6.7 and later have)")
