# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How an application may set a socket option: setsockopt(2), as root or as nobody, io_uring, a 32-bit
system call.  Runs in a worker; each way takes a descriptor, level, name and the value's bytes."""

import ctypes
import errno
import mmap
import os
import platform
import struct

NOBODY = 65534
SYS_IO_URING_SETUP, SYS_IO_URING_ENTER = 425, 426  # on every architecture
IORING_OP_URING_CMD, SOCKET_URING_OP_SETSOCKOPT = 46, 3
IORING_ENTER_GETEVENTS = 1
IORING_OFF_SQ_RING, IORING_OFF_CQ_RING, IORING_OFF_SQES = 0, 0x8000000, 0x10000000
# struct io_uring_params: the offsets of what is in the rings
SQ_OFFSETS, CQ_OFFSETS, PARAMS_SIZE = 40, 80, 120
ENTRIES = 4
MAP_32BIT = 0x40
# long f(fd, level, optname, optval, optlen): setsockopt(2) of 32 bits, with its arguments in ebx, ecx,
# edx, esi and edi.
INT80 = bytes.fromhex("53" "89fb" "89c8" "89f1" "89c6" "4489c7" "b86e010000" "cd80" "5b" "c3")

libc = ctypes.CDLL(None, use_errno=True)


def fail(number):
    raise OSError(number, os.strerror(number))


def by_call(fd, level, optname, value):
    if libc.setsockopt(fd, level, optname, value, len(value)):
        fail(ctypes.get_errno())


def as_nobody(fd, level, optname, value):
    """Without capabilities, which come back with the user."""
    os.seteuid(NOBODY)
    try:
        by_call(fd, level, optname, value)
    finally:
        os.seteuid(0)


class Uring:
    """A ring for one command at a time."""

    one = None

    def __init__(self):
        params = ctypes.create_string_buffer(PARAMS_SIZE)
        self.fd = libc.syscall(SYS_IO_URING_SETUP, ENTRIES, params)
        if self.fd < 0:
            fail(ctypes.get_errno())
        sq = struct.unpack_from("7I", params, SQ_OFFSETS)  # head tail ring_mask ring_entries flags .. array
        cq = struct.unpack_from("6I", params, CQ_OFFSETS)  # head tail ring_mask ring_entries .. cqes
        self.sq_tail, self.sq_mask, self.sq_array = sq[1], sq[2], sq[6]
        self.cq_head, self.cq_mask, self.cqes = cq[0], cq[2], cq[5]
        self.sq = mmap.mmap(self.fd, self.sq_array + 4 * ENTRIES, offset=IORING_OFF_SQ_RING)
        self.cq = mmap.mmap(self.fd, self.cqes + 16 * 2 * ENTRIES, offset=IORING_OFF_CQ_RING)
        self.sqes = mmap.mmap(self.fd, 64 * ENTRIES, offset=IORING_OFF_SQES)

    def setsockopt(self, fd, level, optname, value):
        memory = ctypes.create_string_buffer(value, len(value))
        tail, mask = (struct.unpack_from("I", self.sq, at)[0] for at in (self.sq_tail, self.sq_mask))
        # opcode, flags, ioprio, fd; cmd_op; level, optname; len, rw_flags; user_data; buf_index,
        # personality, optlen; optval
        struct.pack_into("=BBHiIIIIIIQHHIQQ", self.sqes, 64 * (tail & mask), IORING_OP_URING_CMD, 0, 0,
                         fd, SOCKET_URING_OP_SETSOCKOPT, 0, level, optname, 0, 0, 0, 0, 0,
                         len(value), ctypes.addressof(memory), 0)
        struct.pack_into("I", self.sq, self.sq_array + 4 * (tail & mask), tail & mask)
        struct.pack_into("I", self.sq, self.sq_tail, tail + 1 & 0xFFFFFFFF)
        if libc.syscall(SYS_IO_URING_ENTER, self.fd, 1, 1, IORING_ENTER_GETEVENTS, None, 0) < 0:
            fail(ctypes.get_errno())
        head, mask = (struct.unpack_from("I", self.cq, at)[0] for at in (self.cq_head, self.cq_mask))
        result = struct.unpack_from("i", self.cq, self.cqes + 16 * (head & mask) + 8)[0]
        struct.pack_into("I", self.cq, self.cq_head, head + 1 & 0xFFFFFFFF)
        if result < 0:
            fail(-result)


def by_uring(*arguments):
    if not Uring.one:
        Uring.one = Uring()
    Uring.one.setsockopt(*arguments)


def in_low_memory(data, executable=False):
    memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT,
                       prot=mmap.PROT_READ | mmap.PROT_WRITE | (mmap.PROT_EXEC if executable else 0))
    memory.write(data)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


def by_int80(fd, level, optname, value):
    """In a child, which a kernel without 32-bit system calls may kill."""
    if platform.machine() != "x86_64":
        fail(errno.ENOSYS)
    child = os.fork()
    if not child:
        result = 255
        try:
            code, at = in_low_memory(INT80, executable=True)
            data, where = in_low_memory(value)
            call = ctypes.CFUNCTYPE(ctypes.c_int, *5 * [ctypes.c_uint])(at)
            result = -call(fd, level, optname, where, len(value))
            del code, data
        finally:
            os._exit(result & 0xFF)
    status = os.waitpid(child, 0)[1]
    if status:
        fail(os.WEXITSTATUS(status) if os.WIFEXITED(status) else errno.ENOSYS)


WAYS = {"call": by_call, "nobody": as_nobody, "uring": by_uring, "int80": by_int80}
