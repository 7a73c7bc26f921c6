# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Policy files that cannot be checked in: bytes, kinds, permissions, directories."""

import os
import socket

from runner import PLAIN_POLICY

NOBODY = 65534


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
        "on_unsupported, on_failure, application, existing, options, rules",
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
                       "Usage: sockpol check [--policy-dir DIR]... [--strict] [--kernel] [--host]",
                       "                     [--json] [FILE]..."],
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


def run_too_many_files(r):
    for i in range(4097):
        r.write(f"crowd/{i}.yaml", "")
    r.expect("too many files", ["crowd: error: more than 4096 policy files"], "--policy-dir",
             "crowd")
