#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The stack of BPF programs: no chain of calls takes more than the kernel allows.

    stack.py [-v] OBJECT...
    stack.py --self-test

A program and the functions that it calls, one from within the other, share 512 bytes of stack.  The
verifier of 6.1 rounds each frame up to 32 bytes, that of later kernels to 16, so a program that loads
here may be refused there ("combined stack size of N calls is M. Too large").  Callbacks of bpf_loop
count like calls.  `stack.py --self-test` shows that on programs that are too deep.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile

STACK_MAX = 512   # MAX_BPF_STACK
FRAMES_MAX = 8    # MAX_CALL_FRAMES
ROUNDED_TO = 32   # check_max_stack_depth() of 6.1

INSN = struct.Struct("<BBhi")
SYMBOL = struct.Struct("<IBBHQQ")
FRAME_POINTER = 10
PSEUDO_CALL = 1
STT_FUNC, STT_SECTION, SHT_SYMTAB, SHT_REL = 2, 3, 2, 9
CALL, LD_IMM64, MOV_REG, ADD_IMM = 0x85, 0x18, 0xbf, 0x07
CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_ALU64 = 0, 1, 2, 3, 4, 7


class Object:
    """An ELF object of the compiler's: `functions` is {(section, first instruction): Function}."""

    def __init__(self, data):
        self.data = data
        start, = struct.unpack_from("<Q", data, 0x28)
        size, number, names = struct.unpack_from("<HHH", data, 0x3a)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * i)
                         for i in range(number)]
        self.names = [self.string(names, one[0]) for one in self.sections]
        table = next(i for i, one in enumerate(self.sections) if one[1] == SHT_SYMTAB)
        raw = self.bytes_of(table)
        self.symbols = [SYMBOL.unpack_from(raw, at) for at in range(0, len(raw), SYMBOL.size)]
        self.functions = {}
        for name, info, _, section, value, length in self.symbols:
            if info & 0xf == STT_FUNC:
                self.functions[section, value // INSN.size] = Function(
                    self.string(self.sections[table][6], name), section, value // INSN.size,
                    length // INSN.size)
        relocations = {}
        for i, one in enumerate(self.sections):
            if one[1] == SHT_REL:
                for at, info in struct.iter_unpack("<QQ", self.bytes_of(i)):
                    relocations[one[7], at // INSN.size] = self.symbols[info >> 32]
        for function in self.functions.values():
            function.read(self.bytes_of(function.section), relocations)

    def bytes_of(self, section):
        _, _, _, _, offset, size, *_ = self.sections[section]
        return self.data[offset:offset + size]

    def string(self, section, at):
        raw = self.bytes_of(section)
        return raw[at:raw.index(b"\0", at)].decode()

    def programs(self):
        return [one for one in self.functions.values() if self.names[one.section] != ".text"]


class Function:
    def __init__(self, name, section, first, length):
        self.name, self.section, self.first, self.length = name, section, first, length
        self.depth = 0      # bytes of stack
        self.calls = set()  # keys of Object.functions

    def read(self, code, relocations):
        at = {FRAME_POINTER: 0}  # registers that point to the frame, and where
        for index in range(self.first, self.first + self.length):
            op, registers, offset, number = INSN.unpack_from(code, index * INSN.size)
            to, of = registers & 0xf, registers >> 4
            symbol = relocations.get((self.section, index))
            kind = op & 7
            if op == CALL and of == PSEUDO_CALL:
                self.calls.add(self.called(symbol, index, number))
            elif op == LD_IMM64 and symbol and symbol[1] & 0xf == STT_FUNC:
                self.calls.add((symbol[3], symbol[4] // INSN.size))
            elif op == LD_IMM64 and symbol and symbol[1] & 0xf == STT_SECTION:
                # A callback, if it is code: else there is no such function.
                self.calls.add((symbol[3], number // INSN.size))
            if kind in (CLASS_ST, CLASS_STX) and to in at:
                self.use(at[to] + offset)
            elif kind == CLASS_LDX and of in at:
                self.use(at[of] + offset)
            if op == ADD_IMM and to in at and to != FRAME_POINTER:
                at[to] += number
                self.use(at[to])
            elif op == MOV_REG and of in at:
                at[to] = at[of]
            elif kind in (CLASS_LD, CLASS_LDX, CLASS_ALU, CLASS_ALU64):
                at.pop(to, None)
            elif op == CALL:
                at = {register: where for register, where in at.items() if register > 5}

    def called(self, symbol, index, number):
        if not symbol:
            return self.section, index + 1 + number
        if symbol[1] & 0xf == STT_SECTION:
            return symbol[3], number + 1
        return symbol[3], symbol[4] // INSN.size

    def use(self, where):
        self.depth = max(self.depth, -where)

    def frame(self):
        """Its bytes as 6.1 counts them."""
        return max(1, -(-self.depth // ROUNDED_TO)) * ROUNDED_TO


def worst(functions, key, known):
    """The functions of the chain that takes most, and of the one with most frames."""
    if key not in known:
        function = functions[key]
        below = [worst(functions, one, known) for one in function.calls if one in functions]
        known[key] = tuple([function] + max((one[i] for one in below), key=measure, default=[])
                           for i, measure in enumerate((size, len)))
    return known[key]


def size(chain):
    return sum(one.frame() for one in chain)


def written(chain):
    return " > ".join(f"{one.name} {one.depth}" for one in chain)


def faults(data, say=lambda line: None):
    """What is too much in an object: {program: a sentence}."""
    found, known, functions = {}, {}, (it := Object(data)).functions
    for program in it.programs():
        deep, many = worst(functions, (program.section, program.first), known)
        say(f"{program.name}: {size(deep)} bytes: {written(deep)}")
        if size(deep) > STACK_MAX:
            found[program.name] = (f"{program.name} takes {size(deep)} bytes of stack, of "
                                   f"{STACK_MAX}: {written(deep)}")
        elif len(many) > FRAMES_MAX:
            found[program.name] = (f"{program.name} takes {len(many)} frames, of {FRAMES_MAX}: "
                                   f"{written(many)}")
    return found


EXAMPLE = """
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define TAKE(n) char taken[n]; asm volatile("" : : "r"(taken) : "memory")
static long (*bpf_loop)(int n, void *body, void *ctx, long flags) = (void *)181;
static NOINLINE int leaf(int x) { TAKE(224); return x; }
NOINLINE int global(int x) { TAKE(200); return leaf(x) + 1; }
static long body(int x, void *ctx) { TAKE(248); return x; }
static NOINLINE int f1(int x) { TAKE(8); return x; }
static NOINLINE int f2(int x) { return f1(x) + 1; }
static NOINLINE int f3(int x) { return f2(x) + 1; }
static NOINLINE int f4(int x) { return f3(x) + 1; }
static NOINLINE int f5(int x) { return f4(x) + 1; }
static NOINLINE int f6(int x) { return f5(x) + 1; }
static NOINLINE int f7(int x) { return f6(x) + 1; }
static NOINLINE int f8(int x) { return f7(x) + 1; }
SEC("a") int fits(int *ctx) { int x = *ctx; TAKE(64); return global(x) + f7(x) + 1; }
SEC("a") int rounded(int *ctx) { int x = *ctx; TAKE(72); return global(x) + 1; }
SEC("b") int loops(int *ctx) { int x = *ctx; TAKE(264); bpf_loop(x, body, 0, 0); return x; }
SEC("b") int frames(int *ctx) { return f8(*ctx); }
"""


def self_test(clang):
    with tempfile.TemporaryDirectory() as directory:
        source, made = (os.path.join(directory, name) for name in ("a.c", "a.o"))
        with open(source, "w", encoding="ascii") as file:
            file.write(EXAMPLE)
        subprocess.run([clang, "-target", "bpf", "-mcpu=v3", "-O2", "-c", "-o", made, source],
                       check=True)
        with open(made, "rb") as file:
            found = faults(file.read())
    expected = {"rounded": "544 bytes", "loops": "544 bytes", "frames": "9 frames"}
    if found.keys() != expected.keys() or any(expected[name] not in found[name] for name in found):
        sys.exit(f"stack.py finds {found}, not {expected}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--clang", default="clang")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each program's chain")
    parser.add_argument("objects", nargs="*")
    arguments = parser.parse_args()
    if arguments.self_test:
        self_test(arguments.clang)
    failed = False
    for path in arguments.objects:
        with open(path, "rb") as file:
            found = faults(file.read(), print if arguments.verbose else lambda line: None)
        for text in found.values():
            print(f"{path}: {text}", file=sys.stderr)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
