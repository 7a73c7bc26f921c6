# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is in the package."""
import os
import pathlib
import re
import subprocess
import tempfile

from harness.result import Containing, Failure, Skip, check

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
# What a build takes.
SOURCES = re.search(r"^DEB_SOURCES := (.*)$", (TOP / "Makefile").read_text(), re.M)[1].split()
USER = 64321  # nobody's number
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
    beside = {f"/usr/share/doc/sockpol/{p}": "rw-r--r--" for p in ("architecture.md", "performance.md", "curves.svg")}
    examples = {f"/usr/share/doc/sockpol/examples/{p.name}": "rw-r--r--" for p in (TOP / "dist/examples").glob("*")}
    wanted, found = (FILES | policies | examples | beside).items(), listing(arguments.deb).items()
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


def test_h12_another_machine(_):
    """A compiler for another machine gets no flags of this one's, and BPF programs that machine's headers."""
    with tempfile.TemporaryDirectory() as directory:
        other = pathlib.Path(directory, "cc")
        for machine, flagged in (("aarch64-linux-gnu", False), ("x86_64-linux-gnu", True)):
            other.write_text(f'#!/bin/sh\ncase $1 in -dumpmachine) echo {machine};; -E) echo " /usr/{machine}/include" >&2;; '
                             '*) exec cc "$@";; esac\n', encoding="ascii")
            other.chmod(0o755)
            out = run("env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-n", "-C", TOP, f"CC={other}", f"O={directory}/build",
                      f"{directory}/build/agent/base/util.o", f"{directory}/build/bpf/sockpol.bpf.o")
            check(f"-fcf-protection for {machine}", flagged, "-fcf-protection" in out)
            check("the BPF programs' headers", Containing(f"-idirafter /usr/{machine}/include"), out)


def test_f7_demo_then_deb(arguments):
    """README's first two commands, in sources that are an ordinary user's: what root builds does not keep them
    from going on.  Where, when and by whom the package was built is not in it."""
    if os.geteuid() != 0:
        raise Skip("not root")
    with tempfile.TemporaryDirectory() as directory:
        for name in SOURCES:
            run("cp", "-a", TOP / name, directory)
        run("chown", "-R", f"{USER}:{USER}", directory)
        make = ("env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "--no-print-directory", "-C", directory)
        user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--")
        out = run(*make, "demo")
        check("the demo ends well", Containing("the demo's cgroups and namespaces are gone"), out)
        check("whose that is which it built", {str(USER)}, set(run("find", f"{directory}/build", "-printf", "%U\n").split()))
        asked = [line for line in run(*user, *make, "-n", "deb").splitlines() if "install-deps" in line]
        check("what make deb installs", (1, False), (len(asked), bool(re.search("nginx|cmocka", asked[0]))))
        check("what it says", Containing("what it says is in build/deb/build.log"), run(*user, *make, "deb"))
        [again] = pathlib.Path(directory).glob("build/deb/sockpol_*.deb")
        check("both builds are the same to the byte", True, again.read_bytes() == pathlib.Path(arguments.deb).read_bytes())
    times = {tuple(line.split()[3:5]) for line in run("dpkg-deb", "-c", arguments.deb).splitlines()}
    check("how many different times its files have", 1, len(times))
