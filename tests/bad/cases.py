# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Topic files: many small policy files in one, each with what `sockpol check` says of it.

    # Comments, before the first case.
    -- NAME.yaml --
    ...
    -- NAME.expected --
    ...

Lines and columns of a case count from the line after its separator.
"""

import re

SEPARATOR = re.compile(r"-- ([a-z0-9-]+)\.(yaml|expected) --")
KINDS = ("yaml", "expected")


class Malformed(Exception):
    pass


class Case:
    def __init__(self, name):
        self.name = name
        self.parts = {}  # {kind: text}

    @property
    def file_name(self):
        return f"{self.name}.yaml"


def read(path):
    """The cases of a topic file, in its order."""
    cases, part = [], None
    lines = path.read_bytes().decode().split("\n")
    if lines.pop() != "":
        raise Malformed(f"{path}:{len(lines) + 1}: the last line does not end")
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if separator := SEPARATOR.fullmatch(line):
            part = open_part(cases, *separator.groups(), where)
        elif line.startswith("-- "):
            raise Malformed(f"{where}: neither '-- NAME.yaml --' nor '-- NAME.expected --', "
                            "NAME of a-z 0-9 -")
        elif part is not None:
            part.append(line + "\n")
        elif line and not line.startswith("#"):
            raise Malformed(f"{where}: before the first case there are only comments")
    if not cases:
        raise Malformed(f"{path}: no case")
    if len(cases[-1].parts) < len(KINDS):
        raise Malformed(f"{path}:{len(lines)}: '{cases[-1].name}.expected' is missing")
    for case in cases:
        case.parts = {kind: "".join(part) for kind, part in case.parts.items()}
    return cases


def open_part(cases, name, kind, where):
    """Adds a part to its case: the policy file first, then at once what is expected."""
    last = cases[-1] if cases else None
    complete = last is None or len(last.parts) == len(KINDS)
    if kind == "expected":
        if complete or last.name != name:
            raise Malformed(f"{where}: '{name}.expected' does not follow '{name}.yaml'")
    elif not complete:
        raise Malformed(f"{where}: '{last.name}.expected' is missing")
    elif any(case.name == name for case in cases):
        raise Malformed(f"{where}: a second case '{name}'")
    else:
        cases.append(Case(name))
    return cases[-1].parts.setdefault(kind, [])


def read_all(directory):
    """The cases of all topic files of a directory, by name."""
    found = {}
    for path in sorted(directory.glob("*.cases")):
        for case in read(path):
            if case.name in found:
                raise Malformed(f"{path}: '{case.name}' is a case of another topic file, too")
            found[case.name] = case
    if not found:
        raise Malformed(f"{directory}: no topic file")
    return [found[name] for name in sorted(found)]


def write_all(cases, directory):
    """Writes the policy files alone: seeds for the fuzzers."""
    directory.mkdir(parents=True, exist_ok=True)
    for case in cases:
        (directory / case.file_name).write_bytes(case.parts["yaml"].encode())
