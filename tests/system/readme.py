# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""README as its reader follows it: each command is run, as the user that README says, and has the effect that it says.

Indented lines are commands; after "# prints" comes what they print, where "..." stands for anything, and what follows
"and no" must not be there.  A block of YAML that begins with the name of a file goes there.
"""

import os
import re
import shlex

from harness.result import Failure, check, wait_for
from machine import Machine

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")
STEP = re.compile(r"^```yaml\n# (/\S+)\n((?:(?!```).*\n)*)```$|^    (\S(?:.*\|\n)?.*)$", re.M)
# Of the commands within the text.
INLINE = re.compile(r"`((?:sudo )?(?:sockpol|journalctl) [a-z][^`]*)`")
PLACEHOLDERS = {"PID": "1", "PATH": "/system.slice/echo.service", "NAME": "TCP_KEEPIDLE"}
READER = "reader"  # may become root by sudo


def section(title, end="^## "):
    with open(README, encoding="utf-8") as file:
        found = re.search(rf"^## {re.escape(title)}\n(.*?){end}", file.read(), re.M | re.S)
    check(f"README has a section '{title}'", True, found is not None)
    return found[1]


def let_in(machine):
    """The reader, before the machine boots."""
    for name, fields in (("passwd", f"x:1000:1000::/home/{READER}:/bin/bash"), ("shadow", "*:19000::::::")):
        with open(machine.path(f"/etc/{name}"), "a", encoding="ascii") as file:
            file.write(f"{READER}:{fields}\n")
    machine.write(f"/etc/sudoers.d/{READER}", f"{READER} ALL=(ALL) NOPASSWD: ALL\n")
    machine.write(f"/home/{READER}/.hushlogin", "")


def as_reader(machine, command):
    """What it wrote on stdout, in one line; it has to succeed."""
    done = machine.run("runuser", "-u", READER, "--", "bash", "-c", f"cd; {command}")
    if done.returncode != 0:
        raise Failure(f"README's '{command}' to succeed", 0,
                      f"{done.returncode}: {done.stdout}{done.stderr}{machine.said()}")
    return " ".join(done.stdout.split())


def follow(machine, text, make):
    """All commands and files of a part of README; make(words) does what needs compilers, outside.  Returns how many."""
    steps = STEP.findall(text)
    for path, content, line in steps:
        if path:
            machine.write(path, content)
            continue
        command, _, prints = line.partition("# prints ")
        words = shlex.split(command, comments=True)
        if "make" in words[:2]:
            make(words[words.index("make") + 1:])
            continue
        seen = as_reader(machine, command)
        wanted, _, unwanted = prints.partition(" and no ")
        check(f"what README's '{command.strip()}' prints, of\n{seen}\n   ", (prints, True, False), (
            prints, bool(re.search(".*".join(re.escape(part.strip()) for part in wanted.split("...")), seen)),
            bool(unwanted) and unwanted in seen))
        if "systemd-run" in words:
            wait_for("the service to listen", True, lambda: bool(machine.good("ss", "-Hltn", "sport = :7007")))
    return len(steps)


def test_f10_installed(scene, name):
    """What the installed one, and the pages beside it, point to is installed."""
    with Machine(scene.tree, name) as machine:
        scene.make(machine, "install")
        place = "/usr/share/doc/sockpol"
        text = machine.read(f"{place}/README.md")
        links = {*re.findall(r"(?<![\w/.])(?:[\w-]+/)*[\w-]+\.md\b|(?:dist/)?examples/[\w.-]+\b", text), *re.findall(
            r"\]\((.*?)\)", machine.read(f"{place}/performance.md")), *re.findall(r"(?:/usr/share/[\w/.-]+\w)", text)}
        check("links", True, {"architecture.md", "examples/metrics-file.conf", "curves.svg"} <= links)
        check("what is not there", [], [link for link in sorted(links)
                                        if not os.path.exists(machine.path(os.path.join(place, link)))])
        check("what only the sources have", None, re.search("tests/|LICENSES|Working on it", text))


def test_b8_f3_as_its_reader(scene, name):
    """Install by make, the first policy (F3), commands, how to take it off again."""
    def make(words):
        scene.make(machine, *(words or ["all"]))

    with Machine(scene.tree, name) as machine:
        let_in(machine)
        machine.boot()
        _, by_make, off = re.split("^Or without one:$|^To take it off", section("Install"), flags=re.M)
        check("commands of the install", True, follow(machine, by_make, make) >= 5)
        machine.check_show("sockpol", ActiveState="active", UnitFileState="enabled")
        check("commands and files of the first policy", True,
              follow(machine, section("A first policy in five minutes"), make) >= 15)
        commands = re.findall(r"^\| `(\w+)` \|", section("Commands"), re.M)
        check("commands in the table", True, len(commands) >= 5)
        for command in commands:
            as_reader(machine, f"sockpol {command} --help")
        for title in ("A first policy in five minutes", "Leaving it running", "It does not apply: why?"):
            for command in INLINE.findall(section(title)):
                words = [PLACEHOLDERS.get(word, word) for word in command.split()]
                if "detach" not in words:
                    machine.good(*(words[1:] if words[0] == "sudo" else words))
        follow(machine, off, make)
        machine.check_show("sockpol", LoadState="not-found")
        check("/etc stays", True, os.path.exists(machine.path("/etc/sockpol/policies.d/60-web.yaml")))
