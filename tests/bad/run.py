#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Wrong policy files, each with the exact diagnostics expected of `sockpol check`.

NAME.yaml is the file, NAME.expected all of stderr; what depends on the host stands as @FACT@.
(The files have no licence line: it would move every position.  They are under the project's.)
What cannot be checked in (sizes, bytes, permissions, kinds of files) is made here, in a temporary
directory.  The exit status is 1 when something failed.
"""

import argparse
import difflib
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NOBODY = 65534
DEADLINE = 20  # seconds, for a run of sockpol: far more than any needs
PLAIN_POLICY = "policies: [{name: %s, match: {unit: a.service}, options: {SO_MARK: 1}}]\n"


def sysctl(name):
    return pathlib.Path("/proc/sys", name.replace(".", "/")).read_text().split()


def host_facts():
    """What the expected texts name as @FACT@; a fact that cannot be read is left out."""
    facts = {}
    for name, key in (("RMEM_MAX", "net.core.rmem_max"), ("WMEM_MAX", "net.core.wmem_max")):
        try:
            value = int(sysctl(key)[0])
        except OSError:
            continue
        facts[name] = str(value)
        facts[name + "_DOUBLED"] = str(min(value, (2**31 - 1) // 2) * 2)
    try:
        facts["TCP_RMEM_HALF"] = str(int(sysctl("net.ipv4.tcp_rmem")[2]) // 2)
    except OSError:
        pass
    usec = round(time.clock_getres(6) * 1e6)  # 6: CLOCK_MONOTONIC_COARSE, a tick
    facts["TICK"] = f"{usec // 1000}ms" if usec % 1000 == 0 else f"{usec}us"
    return facts


class Runner:
    def __init__(self, sockpol, tmp):
        self.tmp = tmp
        self.sockpol = tmp / "sockpol"  # a copy: the tree need not be readable to other users
        shutil.copy(sockpol, self.sockpol)
        self.sockpol.chmod(0o755)
        self.passed = self.failed = self.skipped = 0

    def check(self, *args, user=None):
        """Runs `sockpol check`; returns its exit status, lines of stderr, lines of stdout."""
        env = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        run = subprocess.run([self.sockpol, "check", *map(os.fspath, args)], cwd=self.tmp, env=env,
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE,
                             user=user, extra_groups=[] if user else None, check=False)
        return (run.returncode, run.stderr.decode().splitlines(),
                run.stdout.decode().splitlines())

    def expect(self, name, expected, *args, status=None, user=None):
        """One case.  expected: the lines of stderr; status: by default as they demand."""
        if status is None:
            status = 1 if any(": error: " in line for line in expected) else 0
        try:
            got_status, lines, _ = self.check(*args, user=user)
        except subprocess.TimeoutExpired:
            return self.fail(name, [f"still running after {DEADLINE} s"])
        problems = []
        if lines != expected:
            problems += difflib.unified_diff(expected, lines, "expected", "got", lineterm="")
        if got_status != status:
            problems.append(f"exit status {got_status}, expected {status}")
        return self.fail(name, problems) if problems else self.ok()

    def ok(self):
        self.passed += 1

    def fail(self, name, problems):
        self.failed += 1
        print(f"FAIL {name}")
        for line in problems:
            print(f"    {line}")

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}")

    def write(self, path, content, mode=0o644):
        path = self.tmp / path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path


def run_files(r):
    facts = host_facts()
    for source in sorted(HERE.glob("*.yaml")):
        expected = source.with_suffix(".expected").read_text()
        for fact, value in facts.items():
            expected = expected.replace(f"@{fact}@", value)
        if "@" in expected.replace("user@UID", "").replace("web@", ""):
            r.skip(source.stem, "this host does not show what it depends on")
            continue
        r.write(source.name, source.read_bytes())
        r.expect(source.stem, expected.splitlines(), source.name)
        if not any(": error: " in line for line in expected.splitlines()):
            r.expect(source.stem + " --strict", expected.splitlines(), "--strict", source.name,
                     status=1)


def run_bytes(r):
    """Texts that no editor would keep."""
    for name, content, expected in (
            ("nul.yaml", b"policies:\n  - name: a\0b\n", ":2:12: error: a NUL byte: not a text file"),
            ("binary.yaml", b"\x7fELF\x02\x01\x01\0",
             ":1:1: error: control character U+007F is not allowed in YAML"),
            ("latin1.yaml", "policies: []\n# Müller\n".encode("latin1"),
             ":2:4: error: not UTF-8: byte 0xfc"),
            ("overlong.yaml", b"# \xc0\xaf\n", ":1:3: error: not UTF-8: byte 0xc0"),
            ("surrogate.yaml", b"# \xed\xa0\x80\n", ":1:3: error: not UTF-8: byte 0xed"),
            ("cut-short.yaml", b"# \xc3", ":1:3: error: not UTF-8: byte 0xc3"),
            ("utf16.yaml", "policies: []\n".encode("utf-16"), ":1:1: error: not UTF-8: byte 0xff"),
            ("escape.yaml", b"policies: \x1b[31m[]\n",
             ":1:11: error: control character U+001B is not allowed in YAML"),
            ("column.yaml", "policies: [{näme: ä, match: {unit: a.service}, options: {X: 1}}]\n",
             None)):
        r.write(name, content)
        if expected:
            r.expect(name, [name + expected], name)
    # columns count characters, not bytes
    r.expect("column", [
        "column.yaml:1:12: error: a policy without 'name'",
        "column.yaml:1:13: error: unknown key 'näme' in a policy; known: name, description, match, "
        "on_unsupported, options, rules",
        "column.yaml:1:58: error: unknown option 'X'; `sockpol options` lists them",
    ], "column.yaml")
    r.write("bom.yaml", b"\xef\xbb\xbf" + (PLAIN_POLICY % "a").encode())
    r.expect("bom", [], "bom.yaml")
    r.write("two\nlines.yaml", "policy: 1\n")
    r.expect("file name with a newline",
             ["two\\x0alines.yaml:1:1: error: unknown key 'policy' in a policy file; known: policies"],
             "two\nlines.yaml")


def run_harmless(r):
    """What looks odd and is valid."""
    r.write("empty.yaml", "")
    r.write("comments.yaml", "# nothing\n\n# here\n")
    r.write("null.yaml", "policies:\n")
    r.write("document-start.yaml", "---\n...\n")
    r.write("no-rules.yaml", "policies:\n  - name: a\n    description:\n    match: {unit: a.service, "
            "exclude: }\n    options: {SO_MARK: ~, DSCP: unset}\n    rules:\n")
    for name in ("empty.yaml", "comments.yaml", "null.yaml", "document-start.yaml", "no-rules.yaml",
                 "/dev/null"):
        r.expect(name, [], name)
    r.expect("no files", ["/nonexistent/policies.d: warning: there is no such policy directory"],
             "--policy-dir", "/nonexistent/policies.d")
    r.expect("usage", ["check: unrecognized option '--nonsense'",
                       "Usage: sockpol check [--policy-dir DIR]... [--strict] [--kernel] [FILE]..."],
             "--nonsense", status=2)


def run_kinds(r):
    """What is not a file, or not one for us."""
    (r.tmp / "directory.yaml").mkdir(mode=0o755)
    r.expect("directory", ["directory.yaml: error: not a regular file but a directory"],
             "directory.yaml")
    os.mkfifo(r.tmp / "fifo.yaml")
    r.expect("fifo", ["fifo.yaml: error: not a regular file but a FIFO"], "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.fspath(r.tmp / "socket.yaml"))
    r.expect("socket", ["socket.yaml: error: cannot open: No such device or address"],
             "socket.yaml")
    r.expect("device", ["/dev/zero: error: not a regular file but a device"], "/dev/zero")
    (r.tmp / "dangling.yaml").symlink_to("nowhere")
    r.expect("dangling link", ["dangling.yaml: error: a link that leads nowhere"], "dangling.yaml")
    (r.tmp / "loop.yaml").symlink_to("loop.yaml")
    r.expect("link to itself",
             ["loop.yaml: error: cannot open: Too many levels of symbolic links"], "loop.yaml")
    r.expect("missing", ["missing.yaml: error: cannot open: No such file or directory"],
             "missing.yaml")
    for mode, who in ((0o664, "its group"), (0o646, "others"), (0o666, "others")):
        r.write("mode.yaml", PLAIN_POLICY % "a", mode)
        r.expect(f"mode {mode:o}", [f"mode.yaml: error: writable by {who} (mode {mode:04o}): "
                                    "only its owner may write it"], "mode.yaml")
    r.write("secret.yaml", PLAIN_POLICY % "a", 0o000)
    r.expect("unreadable", ["secret.yaml: error: cannot open: Permission denied"], "secret.yaml",
             user=NOBODY if os.geteuid() == 0 else None)
    if os.geteuid() != 0:
        r.skip("owners", "only root can give files away")
        return
    os.chown(r.write("theirs.yaml", PLAIN_POLICY % "a"), 1234, -1)
    r.expect("owned by another",
             ["theirs.yaml: error: owned by user 1234: policies must be owned by root"],
             "theirs.yaml")
    r.write("roots.yaml", PLAIN_POLICY % "a")
    r.expect("root's, checked by another", [], "roots.yaml", user=NOBODY)
    os.chown(r.write("mine.yaml", PLAIN_POLICY % "a"), NOBODY, -1)
    r.expect("one's own", [], "mine.yaml", user=NOBODY)


def run_directories(r):
    good = PLAIN_POLICY
    r.write("etc/10-a.yaml", good % "etc-a")
    r.write("etc/20-masked.yaml", "")
    (r.tmp / "etc/30-null.yaml").symlink_to("/dev/null")
    r.write("etc/.hidden.yaml", "not: good\n")
    r.write("etc/README", "not: good\n")
    r.write("etc/40-d.yaml~", "not: good\n")
    r.write("etc/50-e.yml", "not: good\n")
    for name in ("10-a", "20-masked", "30-null"):
        r.write(f"usr/{name}.yaml", "not: good\n")
    r.write("usr/15-b.yaml", good % "usr-b")
    warning = "etc/50-e.yml: warning: ignored: the names of policy files end in '.yaml'"
    dirs = ("--policy-dir", "etc", "--policy-dir", "usr/")
    r.expect("masking", [warning], *dirs)
    status, _, out = r.check(*dirs)
    if (status, out) == (0, ["2 files, 2 policies: no errors, 1 warning"]):
        r.ok()
    else:
        r.fail("summary", out)
    r.expect("one directory twice", [warning], "--policy-dir", "etc", "--policy-dir", "./etc")
    r.write("usr/60-f.yaml", good % "etc-a")
    r.expect("one name in two files", [
        warning,
        "usr/60-f.yaml:1:19: error: duplicate policy name 'etc-a', first at etc/10-a.yaml:1:19",
    ], *dirs)
    # earlier by its name, though in the later directory
    r.write("usr/00-f.yaml", good % "usr-b")
    r.expect("order by name", [
        warning,
        "usr/60-f.yaml:1:19: error: duplicate policy name 'etc-a', first at etc/10-a.yaml:1:19",
        "usr/15-b.yaml:1:19: error: duplicate policy name 'usr-b', first at usr/00-f.yaml:1:19",
    ], *dirs)
    (r.tmp / "etc/15-b.yaml").symlink_to("nowhere")
    (r.tmp / "usr/70-g.yaml").mkdir()
    r.expect("all that is wrong", [
        warning,
        "etc/15-b.yaml: error: a link that leads nowhere",
        "usr/70-g.yaml: error: not a regular file but a directory",
        "usr/60-f.yaml:1:19: error: duplicate policy name 'etc-a', first at etc/10-a.yaml:1:19",
    ], *dirs)
    r.expect("file for a directory",
             ["usr/00-f.yaml: error: cannot open the policy directory: Not a directory"],
             "--policy-dir", "usr/00-f.yaml")
    (r.tmp / "open").mkdir()
    for mode, who in ((0o775, "its group"), (0o1777, "others")):
        (r.tmp / "open").chmod(mode)
        r.expect(f"directory mode {mode:o}", [f"open: error: writable by {who} (mode {mode:04o}): "
                                              "only its owner may write it"], "--policy-dir", "open")


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
    timed(r, "too many rules", ["rules.yaml:261:9: error: more than 64 rules in a policy"],
          "rules.yaml", seconds=2, megabytes=400)
    r.write("many.yaml", "policies:\n" + "".join(
        f"  - {{name: p{i}, match: {{unit: a.service}}, options: {{SO_MARK: 1}}}}\n"
        for i in range(10001)))
    timed(r, "too many policies", ["many.yaml:10002:5: error: more than 10000 policies"],
          "many.yaml", seconds=5, megabytes=400)


def run_too_many_files(r):
    for i in range(4097):
        r.write(f"crowd/{i}.yaml", "")
    r.expect("too many files", ["crowd: error: more than 4096 policy files"], "--policy-dir",
             "crowd")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=HERE.parent.parent / "build/sockpol",
                        type=pathlib.Path, help="the binary to test")
    args = parser.parse_args()
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="sockpol-bad-") as tmp:
        os.chmod(tmp, 0o755)
        r = Runner(args.sockpol, pathlib.Path(tmp))
        for part in (run_large, run_files, run_bytes, run_harmless, run_kinds, run_directories,
                     run_too_many_files):
            part(r)
    print(f"{r.passed} passed, {r.failed} failed, {r.skipped} skipped")
    return 1 if r.failed else 0


if __name__ == "__main__":
    sys.exit(main())
