# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A Debian 12 with systemd in a directory, made once by debootstrap and never written to again."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time

SUITE = "bookworm"
TRIES = 3  # a network that is not up yet, or a mirror that is busy
# systemd, what looks at it, what README's reader has, and the libraries that sockpol is linked with
PACKAGES = ("sudo", "systemd", "systemd-sysv", "dbus", "iproute2", "procps", "kmod",
            "libbpf1", "libelf1", "zlib1g", "libyaml-0-2", "libsystemd0", "libjansson4", "libmnl0")


def default_cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "sockpol")


def mirror():
    """Where this machine's own packages come from, or nothing: debootstrap's default."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages",
               f"Codename: {SUITE}", "Origin: Debian", "Component: main"]
    with contextlib.suppress(OSError):
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return out.split()[:1]
    return []


def debootstrap(directory):
    log = directory + ".log"
    with open(log, "w", encoding="utf-8") as stream:
        done = subprocess.run(
            ["unshare", "--mount", "debootstrap", "--variant=minbase",
             "--include=" + ",".join(PACKAGES), SUITE, directory, *mirror()], stdout=stream, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        with open(log, encoding="utf-8", errors="replace") as stream:
            raise OSError(f"debootstrap failed:\n{''.join(stream.readlines()[-10:])}")
    for downloaded in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(os.path.join(directory, downloaded), ignore_errors=True)
    os.unlink(log)


def make_tree(tree):
    """The name appears when all is there."""
    half = tree + ".half"
    for attempt in range(1, TRIES + 1):
        shutil.rmtree(half, ignore_errors=True)
        try:
            debootstrap(half)
            break
        except OSError:
            if attempt == TRIES:
                raise
            time.sleep(5)
    os.rename(half, tree)


def cached_tree(cache):
    """The tree's directory; where it is not there yet it is made first, which takes a minute."""
    key = hashlib.sha256(repr((SUITE, PACKAGES)).encode()).hexdigest()[:12]
    tree = os.path.join(cache, f"{SUITE}-{key}")
    os.makedirs(cache, exist_ok=True)
    with open(tree + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others that test here at this moment wait for it
        if not os.path.isdir(tree):
            print(f"making a Debian tree, once, in {tree} ...", flush=True)
            make_tree(tree)
    return tree
