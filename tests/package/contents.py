# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is in the package."""
import pathlib
import re
import subprocess

from harness.result import Containing, Failure, check

TOP = pathlib.Path(__file__).resolve().parents[2]
# Path: mode.  Directories end in a slash; those of the system itself are left out.
FILES = {
    "/etc/sockpol/policies.d/": "rwxr-xr-x",
    "/lib/systemd/system/sockpol.service": "rw-r--r--",
    "/usr/bin/sockpol": "rwxr-xr-x",
    "/usr/lib/tmpfiles.d/sockpol.conf": "rw-r--r--",
    "/usr/share/bash-completion/completions/sockpol": "rw-r--r--",
    "/usr/share/doc/sockpol/README.md": "rw-r--r--",
    "/usr/share/doc/sockpol/changelog.gz": "rw-r--r--",
    "/usr/share/doc/sockpol/copyright": "rw-r--r--",
    "/usr/share/man/man5/sockpol.policy.5.gz": "rw-r--r--",
    "/usr/share/man/man8/sockpol.8.gz": "rw-r--r--",
}
LINE = re.compile(r"^[-d](\S{9}) (\S+) +\d+ \S+ \S+ \.(/\S*)$")


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(" ".join(command), "exit status 0", f"{done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def field(deb, name):
    return run("dpkg-deb", "-f", deb, name).strip()


def listing(deb):
    """{path: mode} of all files and of empty directories."""
    found = {}
    for line in run("dpkg-deb", "-c", deb).splitlines():
        mode, owner, path = LINE.match(line).groups()
        check(f"owner of {path}", "root/root", owner)
        found[path] = mode
    return {path: mode for path, mode in found.items()
            if not (path.endswith("/") and any(p != path and p.startswith(path) for p in found))}


def test_files(arguments):
    policies = {f"/usr/share/sockpol/policies/{p.name}": "rw-r--r--" for p in (TOP / "policies").glob("*.yaml")}
    check("there are policies", True, bool(policies))
    examples = {f"/usr/share/doc/sockpol/examples/{p.name}": "rw-r--r--" for p in (TOP / "dist/examples").glob("*")}
    wanted, found = (FILES | policies | examples).items(), listing(arguments.deb).items()
    check("what is missing in the package", set(), wanted - found)
    check("what is too much in it", set(), found - wanted)


def test_fields(arguments):
    version = re.search(r"^VERSION := (.*)$", (TOP / "Makefile").read_text(), re.M)[1]
    check("Version", version, field(arguments.deb, "Version"))
    check("Package", "sockpol", field(arguments.deb, "Package"))
    for library in ("libbpf1", "libjansson4", "libsystemd0", "libyaml-0-2", "libmnl0"):
        check("Depends", Containing(f"{library} ("if library != "libyaml-0-2" else library),
              field(arguments.deb, "Depends"))


def test_lintian(arguments):
    """No error, no warning."""
    changes = arguments.deb.removesuffix(".deb") + ".changes"
    out = run("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", changes)
    check("what lintian says", "", out)


def test_reproducible(arguments):
    """Where and when it was built is not in it."""
    times = {tuple(line.split()[3:5]) for line in run("dpkg-deb", "-c", arguments.deb).splitlines()}
    check("how many different times its files have", 1, len(times))
    first, second = (pathlib.Path(p).read_bytes() for p in (arguments.deb, arguments.again))
    check("both builds are the same to the byte", True, first == second)
