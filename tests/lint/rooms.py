#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The rooms of agent/: includes name the room, and go up or across, never down.

    rooms.py [TREE]

Fails on an include without a room, on one of a room further down the list, on a circle of files that
include each other, and on a room with more than FILES_MAX files.  `rooms.py --self-test` shows each of
these on a tree that has it.
"""
import os
import re
import sys
import tempfile

# A room uses only itself and those before it.
ROOMS = ("base", "host", "option", "policy", "compile", "kernel", "report", "daemon", "command")
FILES_MAX = 30
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
# Beside the rooms: shared with the kernel's side, or generated from it.
SHARED = re.compile(r"^\.\./include/[a-z_]+\.h$|^[a-z_]+\.skel\.h$")


def sources(tree):
    """{file below agent/: the files that it includes}"""
    found = {}
    for room in sorted(os.listdir(os.path.join(tree, "agent"))):
        for name in sorted(os.listdir(os.path.join(tree, "agent", room))):
            if name.endswith((".c", ".h")):
                path = os.path.join(tree, "agent", room, name)
                with open(path, encoding="utf-8") as file:
                    found[f"{room}/{name}"] = INCLUDE.findall(file.read())
    return found


def circle(files):
    """A circle of files as a list, or None."""
    state, way = {}, []

    def visit(name):
        state[name] = "open"
        way.append(name)
        for other in files.get(name, ()):
            if state.get(other) == "open":
                return way[way.index(other):] + [other]
            if other in files and other not in state and (found := visit(other)):
                return found
        way.pop()
        state[name] = "done"
        return None

    for name in files:
        if name not in state and (found := visit(name)):
            return found
    return None


def faults(tree):
    files = sources(tree)
    for name, includes in files.items():
        room = name.split("/")[0]
        if room not in ROOMS:
            yield f"agent/{name}: {room} is no room"
            continue
        for other in includes:
            if SHARED.match(other):
                continue
            to = other.split("/")[0]
            if "/" not in other or to not in ROOMS:
                yield f'agent/{name}: "{other}" does not name a room'
            elif ROOMS.index(to) > ROOMS.index(room):
                yield f'agent/{name}: "{other}" is an upward include: {to} uses {room}'
            elif other not in files:
                yield f'agent/{name}: "{other}" is not there'
    if way := circle(files):
        yield "a circle of includes: " + " -> ".join(way)
    for room in ROOMS:
        n = sum(name.startswith(room + "/") for name in files)
        if n > FILES_MAX:
            yield f"agent/{room}: {n} files, more than {FILES_MAX}"


def self_test():
    """Each fault is found in a tree that has it, and none in one that has none."""
    cases = (
        ({"base/a.h": "", "policy/b.c": '#include "base/a.h"\n#include "../include/abi.h"\n'}, None),
        ({"base/a.c": '#include "b.h"\n', "base/b.h": ""}, "does not name a room"),
        ({"base/a.c": '#include "policy/b.h"\n', "policy/b.h": ""}, "upward include"),
        ({"base/a.h": '#include "base/b.h"\n', "base/b.h": '#include "base/a.h"\n'}, "a circle"),
        ({"attic/a.c": ""}, "is no room"),
        ({f"base/a{i}.c": "" for i in range(FILES_MAX + 1)}, "more than"),
    )
    for files, expected in cases:
        with tempfile.TemporaryDirectory() as tree:
            for name, text in files.items():
                path = os.path.join(tree, "agent", name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            seen = list(faults(tree))
            right = not seen if expected is None else len(seen) == 1 and expected in seen[0]
            if not right:
                sys.exit(f"rooms.py: expected {expected}, seen {seen}")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    seen = list(faults(sys.argv[1] if len(sys.argv) > 1 else "."))
    for fault in seen:
        print(fault)
    sys.exit(bool(seen))


if __name__ == "__main__":
    main()
