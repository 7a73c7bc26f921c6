# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a guest boots: a kernel out of its Debian package, and a root file system in memory.

The file system is made of the packages that are installed here, so that nothing has to be downloaded
but the kernels, and those only once: they are kept in a cache.
"""

import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "../..")

# What the guest's init and the live tests run; their dependencies come with them.
PACKAGES = ("bash", "bpftool", "coreutils", "curl", "dash", "grep", "sed", "iproute2", "kmod", "libc-bin",
            "mount", "nginx", "procps", "python3-minimal", "python3", "util-linux",
            # sockpol's own libraries
            "libbpf1", "libelf1", "zlib1g", "libyaml-0-2", "libsystemd0", "libjansson4", "libmnl0")
# Of no use without a person, and of these packages the larger part.
LEFT_OUT = re.compile(r"^/usr/share/(doc|man|locale|info|lintian|bug|zoneinfo)/|"
                      r"^/usr/share/(GeoIP|perl|perl5|vim|mime|icons)/|^/usr/lib/[^/]+/perl|"
                      r"^/usr/lib/python3[^/]*/(test|idlelib|lib2to3|pydoc_data|ensurepip)/")
# The kernel's modules that the tests' sockets, devices and policies need are below these.
MODULES = ("kernel/net", "kernel/drivers/net", "kernel/crypto", "kernel/lib", "kernel/arch")


# This machine's, by Debian's name; the agent and the packages are made for it.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class ImageError(Exception):
    """There is nothing to boot; the text says why."""


def output(*command, **keywords):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **keywords)
    if done.returncode:
        raise ImageError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def write_cpio(path, root, names):
    """An archive of these names below root, each after its directory."""
    with open(path + "~", "wb") as archive:
        done = subprocess.run(["cpio", "--quiet", "-0", "-o", "-H", "newc", "-R", "0:0"], cwd=root,
                              input="\0".join(names).encode(), stdout=archive,
                              stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise ImageError(f"cpio: {done.stderr.decode()}")
    os.rename(path + "~", path)
    return path


def with_parents(paths):
    """The paths, relative, and the directories above them, sorted."""
    found = set()
    for path in paths:
        while path not in ("", "/") and path not in found:
            found.add(path)
            path = os.path.dirname(path)
    return sorted(path.lstrip("/") for path in found)


def tree_of(directory):
    """Everything below, relative to it."""
    return [os.path.relpath(os.path.join(where, name), directory)
            for where, directories, files in os.walk(directory) for name in directories + files]


# The kernel.

class Kernel:
    """The newest kernel of a series that Debian has for clouds."""

    def __init__(self, series, metapackage, cache):
        self.series, self.metapackage = series, metapackage
        self.directory = os.path.join(cache, series)

    @property
    def vmlinuz(self):
        return os.path.join(self.directory, "vmlinuz")

    @property
    def modules(self):
        return os.path.join(self.directory, "modules.cpio")

    def release(self):
        with open(os.path.join(self.directory, "release"), encoding="ascii") as file:
            return file.read().strip()

    def prepare(self, say):
        """Downloads the kernel, unless a run before this one did."""
        if os.path.exists(os.path.join(self.directory, "release")):
            return
        package = self.find_package()
        say(f"{self.series}: downloading {package}")
        os.makedirs(self.directory, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            # As whoever we are: apt's own user need not reach this directory.
            output("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=scratch)
            archive = next(name for name in os.listdir(scratch) if name.endswith(".deb"))
            output("dpkg", "-x", archive, "tree", cwd=scratch)
            self.take_out(os.path.join(scratch, "tree"))

    def find_package(self):
        """The package that the metapackage of the series depends on."""
        pattern = re.compile(rf"^ *Depends: (linux-image-{re.escape(self.series)}\.\S+-cloud-"
                             rf"{ARCHITECTURE})$", re.M)
        for attempt in range(2):
            found = pattern.search(output("apt-cache", "depends", self.metapackage)
                                   if self.is_known() else "")
            if found:
                return found[1]
            if attempt == 0:  # the lists of a fresh system are empty
                output("apt-get", "-q", "update")
        raise ImageError(f"apt knows no {self.metapackage}: Debian 12 has it in its main archive or "
                         "that of security updates")

    def is_known(self):
        return subprocess.run(["apt-cache", "show", self.metapackage], capture_output=True,
                              check=False).returncode == 0

    def take_out(self, tree):
        """Keeps what the guest needs; `release` comes last, and says that the others are there."""
        release = os.listdir(f"{tree}/lib/modules")[0]
        for name in MODULES:
            source = f"{tree}/lib/modules/{release}/{name}"
            if os.path.isdir(source):
                shutil.copytree(source, f"{tree}/guest/usr/lib/modules/{release}/{name}")
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            shutil.copy(f"{tree}/lib/modules/{release}/{name}",
                        f"{tree}/guest/usr/lib/modules/{release}/{name}")
        os.symlink("usr/lib", f"{tree}/guest/lib")
        output("depmod", "-b", f"{tree}/guest", release)
        os.unlink(f"{tree}/guest/lib")  # the rest of the root has it, too
        write_cpio(self.modules, f"{tree}/guest", with_parents(
            "/" + name for name in tree_of(f"{tree}/guest/")))
        os.rename(f"{tree}/boot/vmlinuz-{release}", self.vmlinuz)
        with open(os.path.join(self.directory, "release~"), "w", encoding="ascii") as file:
            file.write(release + "\n")
        os.rename(file.name, os.path.join(self.directory, "release"))


# The packages.

def closure(packages):
    """{package: version} of those that are installed of these packages and what they depend on."""
    installed = {}
    depends = {}
    for line in output("dpkg-query", "-W", "-f",
                       "${binary:Package}\t${Version}\t${db:Status-Status}\t"
                       "${Pre-Depends}, ${Depends}\n").splitlines():
        name, version, status, needs = line.split("\t")
        if status == "installed":
            name = name.partition(":")[0]
            installed[name] = version
            depends[name] = re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9.+-]+)", needs)
    missing = [name for name in packages if name not in installed]
    if missing:
        raise ImageError(f"not installed: {' '.join(missing)} (make test-deps)")
    found, todo = {}, list(packages)
    while todo:
        name = todo.pop()
        if name in installed and name not in found:
            found[name] = installed[name]
            todo += depends[name]
    # What needs debconf or Perl needs them to be configured, not to run.
    return {name: version for name, version in found.items()
            if not re.match(r"(debconf|perl|libperl|dpkg|apt|adduser|passwd|systemd)", name)}


def files_of(packages):
    """The packages' files, by names that lead through no symbolic link."""
    found = set()
    for name in output("dpkg", "-L", *packages).splitlines():
        if not name.startswith("/") or name == "/." or LEFT_OUT.search(name + "/"):
            continue
        real = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
        if os.path.islink(real) or os.path.isfile(real):
            found.add(real)
    # Python's bytecode, which belongs to no package: without it a start takes seconds there.
    for name in [name for name in found if name.endswith(".py")]:
        where, stem = os.path.split(name[:-len(".py")])
        found.update(glob.glob(f"{where}/__pycache__/{glob.escape(stem)}.cpython-*[0-9].pyc"))
    # Which of several programs a name stands for, and the loader's index.
    alternatives = "/etc/alternatives"
    for name in os.listdir(alternatives):
        if os.path.realpath(os.path.join(alternatives, name)) in found:
            found.add(os.path.join(alternatives, name))
    found.update(link for link in ("/bin", "/sbin", "/lib", "/lib64") if os.path.islink(link))
    found.add("/etc/ld.so.cache")
    return found


def make_packages(cache):
    """The archive of what is installed here, made again only when a version has changed."""
    packages = closure(PACKAGES)
    recipe = [f"{name} {version}" for name, version in sorted(packages.items())]
    with open(__file__, encoding="utf-8") as file:
        recipe.append(file.read())
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    path = os.path.join(cache, f"packages-{digest}.cpio")
    if os.path.exists(path):
        return path
    for name in os.listdir(cache):
        if name.startswith("packages-"):
            os.unlink(os.path.join(cache, name))
    return write_cpio(path, "/", with_parents(files_of(list(packages))))


# What is to be tested.

def make_tests(path, sockpol):
    """The agent and the live tests, as they are in this tree now, and the guest's init."""
    with tempfile.TemporaryDirectory() as root:
        for built in ("sockpol", "tiny-cache/sockpol", "other-abi/sockpol", "tests/tcp_options.bpf.o"):
            to = os.path.join(f"{root}/sockpol/build", built)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(os.path.join(os.path.dirname(sockpol), built), to)
        for name in ("policies", "doc", "tests/live", "tests/differential", "tests/demo", "dist"):
            if os.path.isdir(os.path.join(TOP, name)):
                shutil.copytree(os.path.join(TOP, name), f"{root}/sockpol/{name}",
                                ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(os.path.join(HERE, "init"), f"{root}/init")
        os.chmod(f"{root}/init", 0o755)
        for name in ("proc", "sys", "dev", "run", "tmp", "root", "var/log", "var/lib/nginx",
                     "etc/sockpol"):
            os.makedirs(f"{root}/{name}")
        for name in ("passwd", "group"):
            shutil.copy(f"/usr/share/base-passwd/{name}.master", f"{root}/etc/{name}")
        return write_cpio(path, root, with_parents("/" + name for name in tree_of(root)))


def join(path, parts):
    """One archive of several: the kernel unpacks one after the other."""
    with open(path, "wb") as whole:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, whole, 1 << 20)
    return path
