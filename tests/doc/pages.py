# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The manual pages, as a reader sees them."""
import re
import subprocess

FLAG = re.compile(r"^ {7}(--[a-z][a-z-]*)(?: ([A-Z]\S*))?$", re.M)
ANY_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OPTION = re.compile(r"\b(?:SO|TCP|IP|IPV6)_[A-Z][A-Z0-9_]*\b(?!\*)")
# What scdoc writes before each heading and list item; no reader sees it.
SCDOC_NOISE = "skipping paragraph macro"


class Page:
    def __init__(self, path):
        shown = subprocess.run(["mandoc", "-Tascii", "-Owidth=200", path], capture_output=True, text=True,
                               check=True).stdout
        self.text = re.sub(".\b", "", shown)
        self.sections = self.cut(r"^(\S.*)$", self.text)

    @staticmethod
    def cut(heading, text):
        """{heading: what is below it}"""
        parts = re.split(heading, text, flags=re.M)
        return dict(zip(parts[1::2], parts[2::2]))

    def subsections(self, section):
        return self.cut(r"^ {3}(\S.*)$", self.sections[section])


def lint(path):
    out = subprocess.run(["mandoc", "-Tlint", "-Wwarning", path], capture_output=True, text=True, check=False)
    return [line for line in (out.stdout + out.stderr).splitlines() if SCDOC_NOISE not in line]


def test_commands(report, program, page):
    documented = page.subsections("COMMANDS")
    report.same("sockpol(8): commands", set(documented), program.commands)
    for command in sorted(set(documented) & program.commands):
        flags = dict(FLAG.findall(documented[command]))
        report.same(f"sockpol(8): flags of {command}", {f"{f} {a}" for f, a in flags.items()},
                    {f"{f} {a}" for f, a in program.flags(command).items()})


def test_any_flag(report, program, page, name):
    """Flags in synopses, examples and sentences exist too."""
    known = {"--help", "--version", "--cgroupns"}  # the last is docker's
    for command in program.commands:
        known |= set(program.flags(command))
    report.check(f"{name}: flags in the text",
                 [f"there is no {flag}" for flag in sorted(set(ANY_FLAG.findall(page.text)) - known)])


def test_synopsis(report, program, page):
    told = set(re.findall(r"^ +sockpol ([a-z]+)", page.sections["SYNOPSIS"], re.M))
    report.same("sockpol(8): synopsis", told, program.commands)


def entries(page):
    """{option: the text of its entry}: those are below the groups' headings, like a flag's."""
    found = {}
    for part in page.subsections("OPTIONS").values():
        found.update(page.cut(r"^ {7}([A-Z][A-Z0-9_]+) [a-z]+$", part))
    return found


def test_options(report, program, page):
    found = entries(page)
    report.same("sockpol.policy(5): entries of options", set(found), program.option_names)
    rows = re.findall(r"^ +([A-Z][A-Z0-9_]+) +[a-z]+ +[-cal]{3} ", page.sections["OPTIONS"], re.M)
    report.same("sockpol.policy(5): rows of options", set(rows),
                {o["name"] for o in program.table["options"]})
    for option in program.table["options"]:
        text = " ".join(found.get(option["name"], "").split())
        wanted = [option["summary"][1:].replace("`", ""), option["syntax"], option["kernel"][1:].replace("`", ""),
                  f"Since Linux {option['since']}."]
        wanted += [d for d, hooks in option["hooks"].items() if hooks]
        wanted += [word for word, has in (("cannot be held", "hold" not in option["application"]),
                                          ("or denied", "deny" in option["application"]),
                                          ("have a range", option["range"]), ("Too late", option["too_late"])) if has]
        report.check(f"sockpol.policy(5): {option['name']}", [f"does not say: {w}" for w in wanted if w not in text])


def test_any_option(report, program, page, name):
    """Options that are named anywhere can be set, or are known as ones that cannot."""
    told = set(OPTION.findall(page.text)) - program.option_names
    told = {n for n in told if not n.endswith("_")}  # TCP_BPF_*
    report.check(f"{name}: options in the text",
                 [f"there is no {n}" for n in sorted(told) if not program.is_refused(n)])


def test(report, program, directory):
    manual, policy = Page(directory / "sockpol.8"), Page(directory / "sockpol.policy.5")
    for path in sorted(directory.glob("*.[58]")):
        report.check(f"mandoc -Tlint {path.name}", lint(path))
    test_commands(report, program, manual)
    test_synopsis(report, program, manual)
    test_options(report, program, policy)
    for page, name in ((manual, "sockpol(8)"), (policy, "sockpol.policy(5)")):
        test_any_flag(report, program, page, name)
        test_any_option(report, program, page, name)
