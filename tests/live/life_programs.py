# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Real, unmodified programs under a policy, looked at with ss(8)."""

import os
import re
import shutil
import socket
import subprocess
import sys

from harness.flows import policies, policy
from harness.nginx import HEAD
from harness.result import Containing, Skip, check, wait_for

PORT = 8080

NGINX = HEAD + """    sendfile on;
    server {{ listen {1}; listen [::]:{1}; root {0}/www; }}
}}
"""

SERVER = {"TCP_CONGESTION": "cubic", "SO_SNDBUF": "100000", "SO_MAX_PACING_RATE": "30MB/s",
          "SO_MARK": "0x21", "TCP_MAXSEG": "1000", "SO_KEEPALIVE": "on"}
CLIENT = {"TCP_CONGESTION": "bbr", "SO_RCVBUF": "50000", "SO_MARK": "0x22", "DSCP": "AF41"}


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def ss(filter_):
    """What ss prints for the sockets that the filter selects; its columns go on to a second line."""
    out = subprocess.run(["ss", "-H", "-tinemO", "--tos", *filter_.split()], capture_output=True, text=True,
                         check=True).stdout
    return out.strip()


def website(box):
    directory = box.path("website")
    os.makedirs(f"{directory}/www")
    with open(f"{directory}/www/big", "wb") as big:
        big.truncate(16 << 20)
    with open(f"{directory}/nginx.conf", "w", encoding="utf-8") as file:
        file.write(NGINX.format(directory, PORT))
    return directory


def listening(port, family=socket.AF_INET, address="127.0.0.1"):
    with socket.socket(family) as probe:
        return probe.connect_ex((address, port)) == 0


def start(box, cgroup, arguments, **keywords):
    """A program that ends with the test."""
    process = cgroup.popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           **keywords)
    box.stack.callback(process.wait)
    box.stack.callback(process.kill)
    return process


def one_download(box, cgroup, url):
    """curl, slow enough to be looked at."""
    return start(box, cgroup, ["curl", "-s", "-g", "-o", "/dev/null", "--limit-rate", "1M", url])


def look(what, filter_, pattern):
    """Waits until ss shows the pattern on one of the selected sockets."""

    def matches():
        return any(re.search(pattern, line) for line in ss(filter_).splitlines())

    try:
        wait_for(what, True, matches)
    except Exception:
        check(f"{what} in the output of ss for {filter_}", pattern, ss(filter_))
        raise


def policies_for(agent, server, client):
    agent.write("50-programs.yaml", policies(policy("server", server, SERVER),
                                             policy("client", client, CLIENT)))
    agent.start()


def look_at_both(what, version):
    server, client = f"state established sport = :{PORT}", f"state established dport = :{PORT}"
    for pattern in (r"\bcubic\b", r"\btb200000\b", r"pacing_rate \S+/(240000000bps|240Mbps)\b",
                    r"fwmark:0x21\b", r"\bmss:988\b"):
        look(f"{what}, the server's sockets", server, pattern)
    for pattern in (r"\bbbr\b", r"\brb100000\b", r"fwmark:0x22\b",
                    r"\btos:0x88\b" if version == 4 else r"\btclass:0x88\b"):
        look(f"{what}, the client's sockets", client, pattern)


def test_nginx_and_curl(box):
    need("nginx", "curl", "ss")
    directory = website(box)
    server, client = box.cgroup.child("nginx"), box.cgroup.child("curl")
    agent = box.agent("programs")
    policies_for(agent, server, client)
    start(box, server, ["nginx", "-c", f"{directory}/nginx.conf", "-e", f"{directory}/error.log"])
    wait_for("nginx to listen", True, lambda: listening(PORT))
    for url, version in ((f"http://127.0.0.1:{PORT}/big", 4), (f"http://[::1]:{PORT}/big", 6)):
        download = one_download(box, client, url)
        look_at_both(f"nginx and curl over IPv{version}", version)
        download.kill()
        download.wait()
        wait_for("the connection to go", "", lambda: ss(f"state established dport = :{PORT}"))
    done = client.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                       f"http://127.0.0.1:{PORT}/big"])
    check(f"a whole download ({done.stderr})", "200 16777216", done.stdout)
    check("failed options", [[], []], [agent.policy(name)["failed"]
                                       for name in ("server", "client")])


def test_a_running_nginx(box):
    """It listened before the agent came: what it accepts from then on is governed."""
    need("nginx", "curl", "ss")
    directory = website(box)
    server, client = box.cgroup.child("old-nginx"), box.cgroup.child("old-curl")
    start(box, server, ["nginx", "-c", f"{directory}/nginx.conf", "-e", f"{directory}/error.log"])
    wait_for("nginx to listen", True, lambda: listening(PORT))
    filter_ = f"state established sport = :{PORT}"
    before = one_download(box, client, f"http://127.0.0.1:{PORT}/big")
    look("before the agent", filter_, r"\breno\b")
    check("no mark before the agent", False, "fwmark" in ss(filter_))
    agent = box.agent("running")
    policies_for(agent, server, client)
    check("a connection from before the agent is left alone", False, "fwmark" in ss(filter_))
    before.kill()
    before.wait()
    wait_for("that connection to go", "", lambda: ss(filter_))
    one_download(box, client, f"http://127.0.0.1:{PORT}/big")
    for pattern in (r"\bcubic\b", r"\btb200000\b", r"fwmark:0x21\b"):
        look("accepted by a listener from before the agent", filter_, pattern)


def test_python_http_server(box):
    need("curl", "ss")
    directory = website(box)
    server, client = box.cgroup.child("python"), box.cgroup.child("python-curl")
    agent = box.agent("python")
    policies_for(agent, server, client)
    start(box, server, [sys.executable, "-m", "http.server", "--bind", "127.0.0.1",
                        "--directory", f"{directory}/www", str(PORT)])
    wait_for("the server to listen", True, lambda: listening(PORT))
    one_download(box, client, f"http://127.0.0.1:{PORT}/big")
    look_at_both("python3 -m http.server and curl", 4)
    check("applied to the server and to curl", [True, True],
          [agent.policy(name)["applied"] > 0 for name in ("server", "client")])
    check("the listener carries the mark", Containing("fwmark:0x21"),
          ss(f"state listening sport = :{PORT}"))
