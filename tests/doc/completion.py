# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What bash offers with the completion loaded."""
import os
import pty
import select
import subprocess
import time

DEADLINE = 20  # seconds
# Calls the registered function as readline does, with the words after the -- as what has been typed.
DRIVER = r"""
. "$1"; shift
function=$(complete -p sockpol | sed 's/.*-F \([^ ]*\) .*/\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE=$*; COMP_POINT=${#COMP_LINE}
"$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
SYSTEMCTL = """#!/bin/sh
[ "$1" = list-units ] || exit 1
echo 'nginx.service loaded active running A web server'
echo 'dev-disk\\x2dby.swap loaded active active Swap'
"""


class Bash:
    def __init__(self, program, script, scratch):
        self.script, self.scratch = script, scratch
        commands = scratch / "bin"
        commands.mkdir()
        (commands / "sockpol").symlink_to(program.path)
        (commands / "systemctl").write_text(SYSTEMCTL)
        (commands / "systemctl").chmod(0o755)
        self.env = {"PATH": f"{commands}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(scratch)}

    def offers(self, *words):
        """The completions of the last word."""
        run = subprocess.run(["bash", "--norc", "-c", DRIVER, "bash", self.script, "sockpol", *words], env=self.env,
                             cwd=self.scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=DEADLINE, check=False)
        if run.stderr:
            return {f"stderr: {run.stderr}"}
        return set(run.stdout.split("\n")) - {""}

    def types(self, keys, until):
        """What an interactive bash shows when these keys are typed, as soon as `until` is there."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.scratch)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], {**self.env, "TERM": "dumb", "PS1": "$ "})
        shown = b""
        try:
            os.write(terminal, f". {self.script}\n{keys}".encode())
            end = time.monotonic() + DEADLINE
            while until.encode() not in shown and time.monotonic() < end:
                if select.select([terminal], [], [], 0.5)[0]:
                    shown += os.read(terminal, 4096)
        except OSError:
            pass  # it has died: what it showed says why
        finally:
            os.close(terminal)
            os.waitpid(pid, 0)
        return shown.decode(errors="replace")


def test_words(report, program, bash):
    report.same("completion: commands", bash.offers(""), program.commands | {"--help", "--version"})
    for command in sorted(program.commands):
        flags = program.flags(command)
        report.same(f"completion: flags of {command}", bash.offers(command, "--"), set(flags) | {"--help"})
    report.same("completion: a part of a command", bash.offers("expl"), {"explain"})
    report.same("completion: no such command", bash.offers("nonsense", "--"), set())
    report.same("completion: options", bash.offers("options", ""), program.option_names)
    report.same("completion: some options", bash.offers("options", "TCP_KEEPI"), {"TCP_KEEPIDLE", "TCP_KEEPINTVL"})


def test_arguments(report, program, bash):
    """Every flag that takes an argument has offers, or is one of which nobody knows what comes."""
    scratch = bash.scratch / "files"
    (scratch / "policies.d").mkdir(parents=True)
    for name in ("a.yaml", "b c.yaml", "d.txt"):
        (scratch / name).touch()
    directory = {f"{scratch}/policies.d"}
    files = directory | {f"{scratch}/{n}" for n in ("a.yaml", "b c.yaml")}
    wanted = {"DIR": (f"{scratch}/", directory), "FILE": (f"{scratch}/", files | {f"{scratch}/d.txt"}),
              "D": ("", {"connect", "accept", "listen"}), "P": ("", {"tcp", "udp"}),
              "F": ("", {"ipv4", "ipv6", "unix", "netlink", "packet"}),
              # a longer number may begin like it
              "PID": (str(os.getpid()), {one for one in os.listdir("/proc") if one.startswith(str(os.getpid()))}),
              "PATH|all": ("al", {"all"}), "NAME[=VALUE]": ("TCP_KEEPI", {"TCP_KEEPIDLE", "TCP_KEEPINTVL"}),
              "NAME": ("", {"nginx.service", r"dev-disk\\x2dby.swap"})}
    for command in sorted(program.commands):
        for flag, kind in sorted(program.flags(command).items()):
            if kind in wanted:
                typed, offers = wanted[kind]
                report.same(f"completion: {command} {flag}", bash.offers(command, flag, typed), offers)
                report.same(f"completion: {command} {flag}=", bash.offers(command, flag, "=", typed or "="), offers)
            elif kind not in ("", "PATH", "CGROUP", "ADDR[:PORT]", "POLICY"):
                report.check(f"completion: {command} {flag}", [f"what is a {kind}? tests/doc/completion.py"])
    report.same("completion: files to check", bash.offers("check", f"{scratch}/"), files)
    report.same("completion: a word with a backslash", bash.offers("explain", "--unit", r"dev-disk\\x"),
                {r"dev-disk\\x2dby.swap"})


def cgroup_mount():
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if " - cgroup2 " in line and fields[3] == "/":
                return fields[4]
    return None


def test_cgroups(report, bash):
    mount = cgroup_mount()
    top = f"sockpol-doc-{os.getpid()}"
    try:
        os.mkdir(f"{mount}/{top}")
    except OSError as error:
        report.skip("completion: cgroups", f"cannot make a cgroup below {mount}: {error.strerror}")
        return
    try:
        os.mkdir(f"{mount}/{top}/a b")
        for words in (("explain", "--cgroup"), ("status", "--cgroup"), ("run", "--cgroup-root")):
            offered = bash.offers(*words, f"/{top[:-1]}")
            report.same(f"completion: {' '.join(words)}", offered & {f"/{top}"}, {f"/{top}"})
            report.same(f"completion: {' '.join(words)}, below", bash.offers(*words, f"/{top}/"), {rf"/{top}/a\ b"})
    finally:
        os.rmdir(f"{mount}/{top}/a b")
        os.rmdir(f"{mount}/{top}")


def test_keys(report, bash):
    """Through readline: the words are broken as it breaks them."""
    shown = bash.types("sockpol expl\t--dire\tacc\t#", "accept #")
    report.check("completion: keys", [] if "sockpol explain --direction accept #" in shown else [repr(shown)])


def test(report, program, script, scratch):
    bash = Bash(program, script, scratch)
    test_words(report, program, bash)
    test_arguments(report, program, bash)
    test_cgroups(report, bash)
    test_keys(report, bash)
