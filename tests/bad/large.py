# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Policy files that are too large, and as large as may be: in bounded time and memory."""

import resource
import time


def timed(r, name, expected, *args, seconds, megabytes):
    """A case that must be quick and small: what it took is the growth of the children's maximum,
    so such cases run in the order of their limits."""
    start = time.monotonic()
    r.expect(name, expected, *args)
    took = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if took > seconds:
        r.fail(name, [f"took {took:.2f} s, at most {seconds} s are allowed"])
    if peak > megabytes:
        r.fail(name, [f"took {peak:.0f} MB of memory, at most {megabytes} are allowed"])


def prefix_policy(name, prefixes):
    return ("policies:\n" f"  - name: {name}\n    match: {{unit: a.service}}\n    rules:\n"
            "      - name: r\n        options: {SO_PRIORITY: 1}\n        when:\n          remote:\n"
            + "".join(f"            - {p}\n" for p in prefixes))


def run_prefixes(r):
    """As many as there may be, over two files, and one more."""
    v4 = [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}" for i in range(50000)]
    v6 = [f"2001:db8:{i:x}:ffff:ffff:ffff:ffff:ffff/128" for i in range(50000)]
    r.write("prefixes/a.yaml", prefix_policy("a", v4))
    r.write("prefixes/b.yaml", prefix_policy("b", v6))
    timed(r, "100,000 prefixes", [], "--policy-dir", "prefixes", seconds=1, megabytes=100)
    r.write("prefixes/c.yaml", prefix_policy("c", ["10.0.0.1", "10.0.0.2"]))
    timed(r, "too many prefixes", ["prefixes/c.yaml:9:15: error: more than 100000 prefixes in all"],
          "--policy-dir", "prefixes", seconds=1, megabytes=100)


def run_misspelt(r):
    head = "policies:\n  - name: a\n    match: {unit: a.service}\n    options:\n"
    count, kept, suggested = 100000, 1000, 100
    r.write("misspelt.yaml", head + "".join(f"      SO_MAKR{i}: 1\n" for i in range(count)))
    listed = "; `sockpol options` lists them"
    expected = [f"misspelt.yaml:{i + 5}:7: error: unknown option 'SO_MAKR{i}'"
                + ("; did you mean 'SO_MARK'?" if i < suggested else listed)
                for i in range(kept)]
    timed(r, "100,000 misspelt options",
          [*expected, f"misspelt.yaml: error: {count - kept} more errors"], "misspelt.yaml",
          seconds=2, megabytes=400)


def run_large(r):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefgh", "bcdefghi"):
        bomb += f"{after}: &{after} [{', '.join(['*' + before] * 9)}]\n"
    r.write("bomb.yaml", bomb)
    timed(r, "YAML bomb", ["bomb.yaml:6:24: error: more than 400000 YAML nodes in a file, aliases "
                           "followed"], "bomb.yaml", seconds=2, megabytes=100)
    with open(r.write("huge.yaml", ""), "wb") as huge:
        huge.truncate(100 << 20)
    timed(r, "100 MB", ["huge.yaml: error: larger than 4 MiB, the limit of a policy file"],
          "huge.yaml", seconds=2, megabytes=100)
    r.write("line.yaml", "policies: [{name: " + "a" * (4 << 20 >> 1) + "}]\n")
    timed(r, "one long line", [
        "line.yaml:1:12: error: a policy without 'match'",
        f"line.yaml:1:19: error: name '{'a' * 77}...' is not 1 to 63 characters of a-z 0-9 . _ -",
    ], "line.yaml", seconds=2, megabytes=100)
    r.write("deep.yaml", "[" * 1000000)
    timed(r, "a million brackets",
          ["deep.yaml:1:17: error: lists and mappings are nested more than 16 deep"], "deep.yaml",
          seconds=2, megabytes=100)
    run_prefixes(r)
    r.write("nodes.yaml", "a: [" + "x, " * 410000 + "]\n")
    timed(r, "too many nodes", ["nodes.yaml:1:1199996: error: more than 400000 YAML nodes in a file, "
                                "aliases followed"], "nodes.yaml", seconds=5, megabytes=400)
    r.write("anchors.yaml", "a: [" + ", ".join(f"&a{i} x, *a{i}" for i in range(150000)) + "]\n")
    timed(r, "300,000 anchors and aliases",
          ["anchors.yaml:1:1: error: unknown key 'a' in a policy file; known: policies"],
          "anchors.yaml", seconds=5, megabytes=400)
    run_misspelt(r)
    rules = "".join(f"      - name: r{i}\n        when: {{direction: connect}}\n"
                    f"        options:\n          SO_MARK: {i}\n" for i in range(64))
    head = "  - name: p%d\n    match: {unit: a.service}\n    rules:\n"
    r.write("long.yaml", "policies:\n" + "".join(head % i + rules for i in range(40)))
    timed(r, "10,000 lines", [], "long.yaml", seconds=2, megabytes=400)
    extra = "      - {name: %s, options: {SO_MARK: 1}}\n"
    r.write("rules.yaml", "policies:\n" + head % 0 + rules + extra % "x" + extra % "y")
    timed(r, "too many rules", ["rules.yaml:261:16: error: more than 64 rules of a policy always hold at one hook"],
          "rules.yaml", seconds=2, megabytes=400)
    depending = "".join(f"      - name: d{i}\n        when: {{remote: 10.0.{i}.0/24}}\n"
                        f"        options:\n          SO_MARK: {i}\n" for i in range(64))
    r.write("bits.yaml", "policies:\n" + head % 0 + depending + rules)
    timed(r, "as many rules as can be", [], "bits.yaml", seconds=2, megabytes=400)
    r.write("bits.yaml", "policies:\n" + head % 0 + rules + depending +
            "      - {name: x, when: {family: ipv6}, options: {SO_MARK: 1}}\n")
    timed(r, "too many rules that depend on the connection",
          ["bits.yaml:517:16: error: more than 64 rules of a policy depend on the connection"],
          "bits.yaml", seconds=2, megabytes=400)
    r.write("many.yaml", "policies:\n" + "".join(
        f"  - {{name: p{i}, match: {{unit: a.service}}, options: {{SO_MARK: 1}}}}\n"
        for i in range(10001)))
    timed(r, "too many policies", ["many.yaml:10002:5: error: more than 10000 policies"],
          "many.yaml", seconds=5, megabytes=400)
