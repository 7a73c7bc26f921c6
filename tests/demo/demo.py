#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Shows sockpol at work: nginx and curl, unmodified, before and after their cgroups get a policy.

Everything happens in a mount and a network namespace of its own, over cgroups of its own; nothing
is left behind.  Exit status 0 when every option that the policies ask for is what the kernel says.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import observe
from observe import until

SHIPPED = Path(__file__).resolve().parents[2] / "policies"
PORT = 8080
FILE_SIZE = 64 << 20  # far more than fits the socket buffers; half a second at the capped rate

# Which shipped policy governs which cgroup, and what is looked at there: (cgroup, direction).
POLICIES = [("20-public-web.yaml", "web"), ("10-database-clients.yaml", "app"), ("40-bulk.yaml", "app")]
VIEWS = [("web", "accept", "nginx, accepted sockets"), ("app", "connect", "curl, its connections")]

NGINX_CONFIG = """
daemon off; master_process off; user root;
pid {dir}/nginx.pid; error_log stderr crit;
events {{}}
http {{
  access_log off; sendfile on;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{ listen 127.0.0.1:{port}; root {dir}/www; }}
}}
"""


def cgroup2_mount():
    with open("/proc/self/mountinfo") as f:
        for line in f:
            before, _, after = line.partition(" - ")
            if after.split()[0] == "cgroup2":
                return Path(before.split()[4].replace("\\040", " "))
    sys.exit("demo: no cgroup2 is mounted")


class Processes:
    """Children, each started inside a cgroup; all of them end with the demo."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        self.children = []

    def start(self, where, command, **how):
        procs = self.cgroup / where / "cgroup.procs"
        child = subprocess.Popen(command, start_new_session=True,
                                 preexec_fn=lambda: procs.write_text("0"), **how)
        self.children.append(child)
        return child

    @staticmethod
    def stop(child):
        if child.poll() is None:
            child.terminate()
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def stop_all(self):
        for child in reversed(self.children):
            self.stop(child)


def start_nginx(processes, work):
    www = work / "www"
    www.mkdir()
    with open(www / "file", "wb") as f:
        f.truncate(FILE_SIZE)
    config = work / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(dir=work, port=PORT))
    nginx = processes.start("web", ["nginx", "-p", work, "-c", config, "-e", "stderr"])
    until(lambda: observe.listens(PORT), "nginx to listen", nginx)
    return nginx


def look(processes, nginx, options):
    """One download; returns {(cgroup, option or other measure): what the kernel says}."""
    url = f"http://127.0.0.1:{PORT}/file"
    seen = {}
    with observe.Wire() as wire:
        # Nobody reads curl's output, so the transfer stops half way and both sockets can be looked at.
        curl = processes.start("app", ["curl", "--silent", "--no-keepalive", url],
                               stdout=subprocess.PIPE)
        seen["app", "DSCP on the wire"] = until(lambda: wire.dscp_of_syn(PORT), "the SYN", curl)
        for cgroup, child, end in ("app", curl, "remote"), ("web", nginx, "local"):
            with until(lambda c=child, e=end: observe.connection_of(c.pid, PORT, e),
                       "the connection", child) as sock:
                for option in options:
                    seen[cgroup, option["name"]] = observe.getsockopt(sock, option)
        seen["app", "timer"] = observe.ss_timer(PORT)
        processes.stop(curl)
    measure = processes.start("app", ["curl", "--silent", "--no-keepalive", "--output", "/dev/null",
                                      "--write-out", "%{speed_download}", url],
                              stdout=subprocess.PIPE, text=True)
    seen["web", "speed"] = float(measure.communicate(timeout=60)[0])
    return seen


def write_policies(work, root_path):
    """Copies of shipped policies, whose match is a cgroup of the demo's instead."""
    directory = work / "policies.d"
    directory.mkdir(mode=0o755)
    for name, cgroup in POLICIES:
        text, n = re.subn(r"(?m)^    match:\n(?:      .*\n)+",
                          f'    match:\n      cgroup: "{root_path}/{cgroup}"\n',
                          (SHIPPED / name).read_text())
        assert n == 1, f"{name}: no match block found"
        (directory / name).write_text(text)
    return directory


class Agent:
    def __init__(self, sockpol, processes, work, cgroup, policies):
        self.sockpol, self.processes = sockpol, processes
        self.pins, self.runtime, self.policies = work / "bpf" / "sockpol", work / "run", policies
        self.log = open(work / "agent.log", "w+")
        self.child = processes.start("agent", [
            sockpol, "run", "--policy-dir", policies, "--cgroup-root", cgroup,
            "--pin-dir", self.pins, "--runtime-dir", self.runtime], stderr=self.log)
        self.ready = until(self._ready_line, "the agent to be ready", self.child)

    def _ready_line(self):
        self.log.seek(0)
        return next((line.strip() for line in self.log if "ready:" in line), None)

    def status(self):
        return subprocess.run([self.sockpol, "status", "--pin-dir", self.pins, "--runtime-dir",
                               self.runtime], check=True, capture_output=True, text=True).stdout

    def stop(self):
        self.processes.stop(self.child)
        self.log.close()
        return self.child.returncode


def rows(sockpol, root_path, policies, options, before, after):
    """The table's lines: (whose sockets, option, asked, before, after, seen by, as asked?)."""
    by_name = {o["name"]: o for o in options}
    for cgroup, direction, whose in VIEWS:
        asked = observe.json_of([sockpol, "explain", "--cgroup", f"{root_path}/{cgroup}", "--direction",
                                 direction, "--policy-dir", policies, "--json"])["options"]
        for a in asked:
            option = by_name[a["option"]]
            old, new = before[cgroup, a["option"]], after[cgroup, a["option"]]
            if new is None:  # the kernel knows no such option on an IPv4 socket
                continue
            good = new == a["value"] if isinstance(new, str) else new == a["number"]
            yield (whose, a["option"], a["value"], observe.words(option, old),
                   observe.words(option, new), "getsockopt", good)
        if cgroup == "web":
            cap = next(a for a in asked if a["option"] == "SO_MAX_PACING_RATE")
            old, new = before[cgroup, "speed"], after[cgroup, "speed"]
            yield (whose, "speed of a download", f"at most {cap['value']}", f"{old / 1e6:.0f} MB/s",
                   f"{new / 1e6:.0f} MB/s", "measured", new < cap["number"] * 1.05)
        else:
            for measure, want, how in (("DSCP on the wire", "1", "SYN packet"), ("timer", "keepalive", "ss")):
                old, new = before[cgroup, measure], after[cgroup, measure]
                yield whose, measure, want, old, new, how, new == want


def print_table(lines):
    head = ("option", "asked", "before", "after", "seen by", "")
    cells = [tuple(line[1:6]) + ("ok" if line[6] else "NOT AS ASKED",) for line in lines]
    widths = [max(len(c[i]) for c in cells + [head]) for i in range(len(head))]

    def show(cell):
        print("  " + "  ".join(text.ljust(w) for text, w in zip(cell, widths)).rstrip())
    whose = None
    for line, cell in zip(lines, cells):
        if line[0] != whose:
            whose = line[0]
            print(f"\n{whose}:")
            show(head)
            show(tuple("-" * w for w in widths))
        show(cell)


def inside(sockpol, work, cgroup):
    """The demo itself; the namespaces and the cgroups are there."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (work / "bpf").mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", work / "bpf"], check=True)
    # So that BBR is a change wherever the demo runs.
    Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("reno")

    root_path = "/" + str(cgroup.relative_to(cgroup2_mount()))
    options = [o for o in observe.json_of([sockpol, "options", "--json"])["options"]
               if o["level"] != "reply"]  # getsockopt(2) does not show sock_ops' replies
    processes = Processes(cgroup)
    try:
        nginx = start_nginx(processes, work)
        print("nginx and curl run, ungoverned ...", flush=True)
        before = look(processes, nginx, options)
        print("the agent starts, nginx is not touched ...", flush=True)
        policies = write_policies(work, root_path)
        agent = Agent(sockpol, processes, work, cgroup, policies)
        print(f"  {agent.ready}", flush=True)
        after = look(processes, nginx, options)
        lines = list(rows(sockpol, root_path, policies, options, before, after))
        print_table(lines)
        print("\nsockpol status:")
        print(textwrap.indent(agent.status().rstrip(), "  "))
        status = agent.stop()
    finally:
        processes.stop_all()
    return 0 if status == 0 and all(line[6] for line in lines) else 1


def remove_cgroups(cgroup):
    if (cgroup / "cgroup.kill").exists():
        (cgroup / "cgroup.kill").write_text("1")
    until(lambda: "populated 0" in (cgroup / "cgroup.events").read_text(), "the demo's processes to end")
    for child in [p for p in cgroup.iterdir() if p.is_dir()] + [cgroup]:
        child.rmdir()


def outside(arguments):
    """Makes what outlives a process, runs the demo in namespaces of its own, removes it all again."""
    if os.geteuid() != 0:
        sys.exit("demo: run it as root (sudo make demo)")
    work = Path(tempfile.mkdtemp(prefix="sockpol-demo-"))
    cgroup = cgroup2_mount() / f"sockpol-demo-{os.getpid()}"
    child = None

    def pass_on(signum, _frame):  # a Ctrl-C reaches only us: the demo is in a session of its own
        if not child:
            sys.exit(128 + signum)
        child.send_signal(signal.SIGTERM)
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, pass_on)
    try:
        for part in ("", "web", "app", "agent"):
            (cgroup / part).mkdir()
        child = subprocess.Popen(["unshare", "--mount", "--net", "--propagation", "private",
                                  sys.executable, "-B", __file__, "--sockpol", arguments.sockpol,
                                  "--inside", work, cgroup], start_new_session=True)
        status = child.wait()
    finally:
        if cgroup.exists():
            remove_cgroups(cgroup)
        shutil.rmtree(work)
    if status == 0:
        print(f"\nThe agent has detached; the demo's cgroups and namespaces are gone. "
              f"({time.monotonic() - START:.1f} s)")
    return status if status >= 0 else 128 - status


START = time.monotonic()

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", required=True, type=os.path.abspath, help="the agent to show")
    parser.add_argument("--inside", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.exit(inside(args.sockpol, *args.inside) if args.inside else outside(args))
