#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""libFuzzer's dictionary for policy files: the option table's names, the words that policies use, YAML.

    sockpol options --json | dictionary.py POLICY.yaml... >DICTIONARY
"""
import json
import re
import sys

WORD = re.compile(r"[A-Za-z0-9_.:/*@%?\[\]!\\-]{2,40}")
YAML = ("\n", "\n  ", "\n    ", "\n      - ", ": ", "- ", "{ ", " }", "[", "]", ", ", "&a ", "*a", "!!str ",
        "<<: ", "? ", "|\n", ">\n", "---\n", "...\n", "'", '"', "\\n", "\\u2028", "#", "~", "null",
        "\t", "\u0085", "\u2029", "\ufeff", "\0")


def entry(text):
    return '"' + "".join(chr(c) if 0x20 <= c < 0x7f and chr(c) not in '"\\' else f"\\x{c:02x}"
                         for c in text.encode()) + '"'


def main():
    words = {option["name"] for option in json.load(sys.stdin)["options"]}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", errors="ignore") as file:
            for line in file:
                words.update(WORD.findall(line.partition("#")[0]))
    print("\n".join(map(entry, [*YAML, *sorted(words)])))


main()
