# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One program of a BPF object and its maps, loaded by the library that the agent loads its own
with: bpftool cannot leave programs out."""

import ctypes
import os
import struct

import accounting
from harness.foreign import bpf
from harness.result import check

BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM = 0, 1, 2
ARRAY, PERCPU_ARRAY = 2, 6  # enum bpf_map_type
BPF_F_INNER_MAP = 1 << 12

LIBBPF = ctypes.CDLL("libbpf.so.1", use_errno=True)
POINTER, NAME, NUMBER = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
for _name, _returns, *_takes in (
        ("object__open", POINTER, NAME), ("object__next_program", POINTER, POINTER, POINTER),
        ("object__find_map_by_name", POINTER, POINTER, NAME),
        ("object__load", ctypes.c_int, POINTER), ("object__close", None, POINTER),
        ("program__name", NAME, POINTER), ("program__fd", ctypes.c_int, POINTER),
        ("program__set_autoload", ctypes.c_int, POINTER, ctypes.c_bool),
        ("map__fd", ctypes.c_int, POINTER), ("map__key_size", NUMBER, POINTER),
        ("map__value_size", NUMBER, POINTER)):
    _function = getattr(LIBBPF, f"bpf_{_name}")
    _function.restype, _function.argtypes = _returns, _takes


def succeeded(result, what):
    """Null, or a negative errno."""
    if not result or result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def number(value):
    return struct.pack("<I", value)


class Map:
    def __init__(self, descriptor, key_size, value_size):
        self.descriptor, self.sizes = descriptor, (key_size, value_size)

    def call(self, command, key, value):
        key = ctypes.create_string_buffer(key, len(key))
        bpf(command, struct.pack("<QQQQ", self.descriptor, ctypes.addressof(key),
                                 ctypes.addressof(value), 0))

    def write(self, key, value):
        """The sizes tell of a layout that has changed."""
        check("sizes of a map's key and value", self.sizes, (len(key), len(value)))
        self.call(BPF_MAP_UPDATE_ELEM, key, ctypes.create_string_buffer(value, len(value)))

    def sum(self, key):
        """Of a per-CPU array of 64-bit numbers."""
        value = (ctypes.c_uint64 * LIBBPF.libbpf_num_possible_cpus())()
        self.call(BPF_MAP_LOOKUP_ELEM, key, value)
        return sum(value)


class Object:
    """Until the stack is unwound."""

    def __init__(self, stack, path, hook):
        """Of its programs only `hook`."""
        loaded = None
        self.stack = stack
        self.pointer = succeeded(LIBBPF.bpf_object__open(path.encode()), path)
        stack.callback(LIBBPF.bpf_object__close, self.pointer)
        for program in self.each_program():
            wanted = LIBBPF.bpf_program__name(program).decode() == hook
            LIBBPF.bpf_program__set_autoload(program, wanted)
            loaded = program if wanted else loaded
        if LIBBPF.bpf_object__load(self.pointer):
            succeeded(None, path)
        self.programs = accounting.Programs(stack, [accounting.Program(
            os.dup(LIBBPF.bpf_program__fd(succeeded(loaded, f"{path}: {hook}"))))])

    def each_program(self):
        program = LIBBPF.bpf_object__next_program(self.pointer, None)
        while program:
            yield program
            program = LIBBPF.bpf_object__next_program(self.pointer, program)

    def map(self, name):
        """None: it has no such map."""
        pointer = LIBBPF.bpf_object__find_map_by_name(self.pointer, name.encode())
        return pointer and Map(LIBBPF.bpf_map__fd(pointer), LIBBPF.bpf_map__key_size(pointer),
                               LIBBPF.bpf_map__value_size(pointer))

    def put_array(self, name, value_size, entries, kind=ARRAY, flags=0):
        """A new array as element 0 of an array of maps; None: it has no such map."""
        outer = self.map(name)
        if not outer:
            return None
        inner = Map(bpf(BPF_MAP_CREATE, struct.pack("<5I", kind, 4, value_size, entries, flags)),
                    4, value_size)
        self.stack.callback(os.close, inner.descriptor)
        outer.write(number(0), number(inner.descriptor))
        return inner
