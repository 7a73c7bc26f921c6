#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fills a page's figures in, from what the benchmark wrote: nobody types numbers.

    report.py --json build/bench.json --steps build/bench-steps.json doc/performance.md

What stands between `<!-- bench NAME -->` and `<!-- end -->` is replaced; a name that is not known is an
error, and so is a benchmark that was not whole.  What comes of a file that is not there stays as it is.
"""

import argparse
import json
import re
import sys

BLOCK = re.compile(r"(<!-- bench ([a-z-]+) -->\n).*?(<!-- end -->)", re.S)
NAMES = {"nothing": "1. nothing attached", "empty": "an empty program at each hook",
         "ungoverned": "2. sockpol, not governed", "sockpol": "3. sockpol, governed",
         "by-hand": "4. BPF by hand", "application": "5. the application itself",
         "preload": "6. LD_PRELOAD"}


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(one, digits=0):
    return f"{one['median']:.{digits}f} [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"


def machine(found):
    return found["machine"]["text"] + "\n"


def rows(found):
    return table(("figure", "median [95 % interval]", "bar", ""),
                 [[re.sub("^  ", "&emsp;", cell) for cell in row["cells"]]
                  for row in found["rows"]])


def beside(found):
    keys = list(found["beside"])
    heads = ["CPU ns of a connection more than with nothing"]
    heads += [key.replace("/", ", IPv") for key in keys]
    lines = []
    for name, shown in NAMES.items():
        cells = [number(found["beside"][key][name]["cpu_ns" if name == "nothing" else
                                                    "over_nothing_cpu_ns"]) for key in keys]
        lines.append([shown + (" (the whole)" if name == "nothing" else ""), *cells])
    return table(heads, lines)


def clock(found):
    keys = list(found["beside"])
    heads = ["ns on the clock more than with nothing"]
    heads += [key.replace("/", ", IPv") for key in keys]
    return table(heads, [[shown, *(number(found["beside"][key][name]["over_nothing_wall_ns"])
                                   for key in keys)]
                         for name, shown in NAMES.items() if name != "nothing"])


def programs(found):
    lines = []
    for key, one in found["programs"].items():
        who, end, family = key.split("/")
        if "eight_calls_ns" in one:
            lines.append([who, end, f"IPv{family}", number(one["eight_calls_ns"]),
                          "eight calls of setsockopt(2)"])
            continue
        hooks = ", ".join(f"{hook} {ran['runs']:.0f} × {ran['ns']:.0f}"
                          for hook, ran in sorted(one["hooks"].items()))
        lines.append([who, end, f"IPv{family}", number(one["above_empty_ns"]), hooks])
    return table(("who", "governed end", "", "ns over empty programs", "runs × ns, not reduced"), lines)


def look_up(found):
    return table(("UDP connect(2) to random peers", "IPv4, ns of connect4", "IPv6, ns of connect6"),
                 [[shown, *(number(found["look_up"][family][key]) for family in ("4", "6"))]
                  for shown, key in (
                      ("no rule", "no_rule_ns"), ("one rule with one prefix", "one_prefix_ns"),
                      ("one rule with 100,000 prefixes", "prefixes_ns"),
                      ("the last more than the one before", "over_one_ns"))])


def sizes(found):
    wanted = ("sockpol/connect4", "sockpol/connect6", "sockpol/sock_ops", "by-hand/connect4",
              "by-hand/sock_ops", "empty/connect4")
    return table(("program", "instructions", "bytes of JITed code", "instructions verified"),
                 [[name, *(str(found["sizes"][name][key]) for key in
                           ("instructions", "jited_bytes", "verified_instructions"))]
                  for name in wanted])


def steps(found, hook="connect4"):
    heads = [f"{hook}, a run", "ns over the empty program", "more than the step before"]
    return table(heads, [row["cells"] for row in found["steps"][hook]])


def steps_sock_ops(found):
    setups = found["steps"]["sock_ops"][0]["ns"]["n"]
    return f"{steps(found, 'sock_ops')}\n{setups} setups. {machine(found)}"


BLOCKS = {"machine": machine, "rows": rows, "beside": beside, "clock": clock, "programs": programs,
          "look-up": look_up, "sizes": sizes}
STEPS_BLOCKS = {"steps": steps, "steps-sock-ops": steps_sock_ops}


def load(path):
    """Of one benchmark; None: it was not run."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    if found["quick"]:
        sys.exit(f"error: {path}: these are the figures of --quick, which are no measurements")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="what bench.py wrote")
    parser.add_argument("--steps", required=True, help="what steps.py wrote")
    parser.add_argument("page")
    arguments = parser.parse_args()
    found, found_steps = load(arguments.json), load(arguments.steps)
    if not found and not found_steps:
        sys.exit(f"error: neither {arguments.json} nor {arguments.steps} is there")

    def block(match):
        blocks, of = (STEPS_BLOCKS, found_steps) if match[2] in STEPS_BLOCKS else (BLOCKS, found)
        return match[1] + blocks[match[2]](of) + match[3] if of else match[0]

    with open(arguments.page, encoding="utf-8") as file:
        text = file.read()
    try:
        text = BLOCK.sub(block, text)
    except KeyError as key:
        sys.exit(f"error: {arguments.page}: nothing known or measured by the name of {key}")
    with open(arguments.page, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
