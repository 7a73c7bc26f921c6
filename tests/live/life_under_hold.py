# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Real, unmodified programs under a policy that holds all that can be held: they work, and what they set
themselves is the policy's."""

import contextlib
import dataclasses
import glob
import os
import shutil
import socket
import subprocess
import sys

from application.run import FAMILIES
from application.table import TABLE
from application_counters import counted
from harness.descriptors import established
from harness.flows import policies
from harness.nginx import HEAD
from harness.result import Containing, Failure, Skip, check, wait_for
from life_programs import listening, need

# Their peers ask for one byte and more.
ENTRIES = TABLE | {"SO_RCVLOWAT": dataclasses.replace(TABLE["SO_RCVLOWAT"], policy=1)}
# Those of a connection: its segments and window are what became of them; an accepted socket sends no SYN.
NOT_ON_CONNECTIONS = {"TCP_MAXSEG", "TCP_WINDOW_CLAMP", "TCP_SYNCNT"}
LOCALHOST = "127.0.0.1"
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


def free_port():
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


class Held:
    """An agent that holds everything in a cgroup, and the programs there."""

    def __init__(self, box, name):
        self.box, self.name = box, name
        self.cgroup, self.agent = box.cgroup.child(name), box.agent(name)
        self.directory = box.path(name)
        os.makedirs(self.directory)
        os.chmod(self.directory, 0o755)
        supported = {row["name"] for row in self.agent.json("options")["options"] if row["supported"]}
        self.entries = {option: entry for option, entry in ENTRIES.items() if option in supported}
        options = {option: entry.write(entry.policy) for option, entry in self.entries.items()}
        options["SO_BINDTODEVICE"] = "lo"
        text = ", ".join(f"{option}: {value}" for option, value in options.items())
        self.agent.write("50-held.yaml", policies(
            f"  - name: {self.name}\n    match: {{ cgroup: \"{self.cgroup.path}\" }}\n    application: hold\n"
            f"    options: {{ {text} }}\n"))
        self.agent.start()

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def log(self):
        with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def start(self, *arguments, **keywords):
        """A program that ends with the test."""
        with open(f"{self.directory}/log", "ab") as log:
            process = self.cgroup.popen(arguments, stdout=log, stderr=log, cwd=self.directory, env=UTF8, **keywords)
        self.box.stack.callback(process.wait)
        self.box.stack.callback(process.kill)
        return process

    def serve(self, port, *arguments):
        """One that listens there."""
        process = self.start(*arguments)

        def ready():
            if process.poll() is not None:
                raise Failure(f"{arguments[0]} to run", "no end", self.log())
            return listening(port)

        wait_for(f"{arguments[0]} to listen", True, ready)
        return process

    def run(self, *arguments):
        """What it prints; it must succeed."""
        done = self.cgroup.run(arguments, cwd=self.directory, env=UTF8)
        check(f"exit status of {' '.join(arguments)}; it said\n{done.stderr}\n   ", 0, done.returncode)
        return done.stdout

    def expected(self, one):
        """{option: what getsockopt(2) must show of a connection}"""
        family = "ipv4"
        if one.family == socket.AF_INET6:
            family = "mapped" if one.getpeername()[0].startswith("::ffff:") else "ipv6"
        return {option: entry for option, entry in self.entries.items()
                if option not in NOT_ON_CONNECTIONS and family in FAMILIES.get(option, (family,))}

    def check_live(self, programs, least, held=()):
        """All connections of these programs, as soon as there are so many; `held`: options that one of them
        has set itself."""
        with contextlib.ExitStack() as stack:
            found = []

            def look():
                stack.close()
                found[:] = [(name, one) for name, one in established(self.cgroup, stack) if name in programs]
                return len(found) >= least and {name for name, _ in found} == set(programs)

            try:
                wait_for(f"connections of {programs}", True, look)
            except Failure as failure:
                raise Failure(failure.asked, f"{least} of {programs}", f"{found}\n{self.log()}") from None
            wrong = []
            for name, one in found:
                for option, entry in self.expected(one).items():
                    try:
                        shown = entry.read(one.getsockopt(*entry.look()))
                    except OSError:
                        continue  # this kernel does not show it to applications
                    if shown != entry.show(entry.policy):
                        wrong.append(f"{name} {one.getsockname()}: {option} is {shown}")
            check(f"options of {len(found)} connections that are not the policy's", [], wrong)
        counts = {option for kind, _, option in counted(self) if kind == "held"}
        check("options that the programs had set themselves, and that were held", set(),
              set(held) - counts)
        check("failed options", [], [one for one in self.agent.policy(self.name)["failed"]
                                     if one["errno"] != "EINVAL" or one["option"] != "SO_RCVLOWAT"])


NGINX = HEAD + """    upstream back {{ server 127.0.0.1:{2}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{1} so_keepalive=5m:33s:2 sndbuf=65536 rcvbuf=32768;
        location / {{
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_socket_keepalive on;
        }}
    }}
    server {{ listen 127.0.0.1:{2}; root {0}/www; tcp_nodelay on; }}
}}
"""
SIZE = 4 << 20


def website(here):
    os.makedirs(f"{here.directory}/www")
    with open(f"{here.directory}/www/big", "wb") as big:
        big.truncate(SIZE)


def download(here, port, *more):
    """A whole one, and one that goes on."""
    url = f"http://{LOCALHOST}:{port}/big"
    said = here.run("curl", "-sS", *more, "-o", "/dev/null", "-w", "%{http_code} %{size_download}", url)
    check("a whole download", f"200 {SIZE}", said)
    here.start("curl", "-sS", "--keepalive-time", "7", "-o", "/dev/null", "--limit-rate", "200K", *more, url)


def test_nginx_and_curl(box):
    """nginx serves, and asks itself behind a proxy."""
    need("nginx", "curl")
    here, port, back = Held(box, "held-nginx"), free_port(), free_port()
    website(here)
    config = here.write("nginx.conf", NGINX.format(here.directory, port, back))
    here.serve(port, "nginx", "-c", config, "-e", f"{here.directory}/error.log")
    download(here, port)
    here.check_live(("nginx", "curl"), 3)
    with open(f"{here.directory}/error.log", encoding="utf-8") as log:
        check("what nginx complains about", [], [line for line in log if "[alert]" in line or "[crit]" in line])


PYTHON = """
import http.client, socket, sys
one = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
one.connect()
for option in ((1, 9, 0), (6, 1, 0), (6, 4, 15), (6, 5, 15), (6, 6, 9), (6, 18, 99), (1, 7, 9999), (1, 8, 9999),
               (1, 12, 6), (0, 1, 16), (1, 36, 0)):
    one.sock.setsockopt(*option)
one.sock.setsockopt(6, 13, b"reno")
for _ in range(3):
    one.request("GET", "/big")
    assert len(one.getresponse().read()) == %d
one.request("GET", "/big")
print("all of it", flush=True)
sys.stdin.read()
""" % SIZE


def test_python(box):
    here, port = Held(box, "held-python"), free_port()
    website(here)
    here.write("client.py", PYTHON)
    here.serve(port, sys.executable, "-m", "http.server", "--bind", LOCALHOST, "--directory",
               f"{here.directory}/www", "--protocol", "HTTP/1.1", str(port))
    here.start(sys.executable, "-I", f"{here.directory}/client.py", str(port), stdin=subprocess.PIPE)
    wait_for("three answers", Containing("all of it"), here.log)
    name = os.path.basename(sys.executable)[:15]
    here.check_live((name,), 2, ("TCP_NODELAY", "SO_KEEPALIVE", "TCP_KEEPIDLE", "SO_PRIORITY", "IP_TOS", "SO_MARK",
                                 "TCP_CONGESTION", "SO_SNDBUF"))


def test_redis(box):
    need("redis-server", "redis-cli")
    here, port = Held(box, "held-redis"), free_port()
    here.serve(port, "redis-server", "--port", str(port), "--bind", LOCALHOST, "--save", "",
               "--dir", here.directory, "--tcp-keepalive", "77")
    client = ("redis-cli", "-h", LOCALHOST, "-p", str(port))
    check("an answer", "OK\n", here.run(*client, "set", "key", "x" * 1000))
    check("another", "x" * 1000 + "\n", here.run(*client, "get", "key"))
    here.start(*client, "subscribe", "news")
    here.check_live(("redis-server", "redis-cli"), 2, ("TCP_KEEPIDLE", "TCP_KEEPINTVL"))
    check("subscribers that a message reaches", "1\n", here.run(*client, "publish", "news", "hello"))


HAPROXY = """defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option clitcpka
    option srvtcpka
frontend front
    bind 127.0.0.1:{0}
    default_backend back
backend back
    server one 127.0.0.1:{1}
"""


def test_haproxy(box):
    need("haproxy", "curl")
    here, port, back = Held(box, "held-haproxy"), free_port(), free_port()
    website(here)
    here.serve(back, sys.executable, "-m", "http.server", "--bind", LOCALHOST, "--directory",
               f"{here.directory}/www", str(back))
    here.serve(port, "haproxy", "-db", "-f", here.write("haproxy.cfg", HAPROXY.format(port, back)))
    download(here, port)
    here.check_live(("haproxy", "curl"), 3)


def test_postgresql(box):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        raise Skip("PostgreSQL is not installed")
    need("psql")
    here, port = Held(box, "held-postgresql"), free_port()
    data = f"{here.directory}/data"
    os.mkdir(data)
    shutil.chown(data, "postgres", "postgres")
    user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--")
    here.run(*user, f"{found[-1]}/initdb", "-D", data, "-A", "trust", "-N", "-U", "postgres")
    here.serve(port, *user, f"{found[-1]}/postgres", "-D", data, "-p", str(port), "-h", LOCALHOST, "-F",
               "-k", "", "-c", "tcp_keepalives_idle=77", "-c", "tcp_keepalives_count=9",
               "-c", "tcp_user_timeout=9999")
    client = ("psql", "-X", "-A", "-t", f"host={LOCALHOST} port={port} user=postgres keepalives_idle=88 "
              "tcp_user_timeout=8888", "-c")
    check("an answer", "500500\n", here.run(*client, "select sum(i) from generate_series(1, 1000) i"))
    here.start(*client, "select pg_sleep(60)")
    here.check_live(("postgres", "psql"), 2, ("TCP_KEEPIDLE", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"))


SSHD = """Port {1}
ListenAddress 127.0.0.1
HostKey {0}/key
AuthorizedKeysFile {0}/key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
TCPKeepAlive yes
IPQoS af31 cs2
"""


def test_sshd(box):
    need("ssh", "ssh-keygen")
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if not sshd:
        raise Skip("sshd is not installed")
    here, port = Held(box, "held-sshd"), free_port()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)  # of this namespace
    box.stack.callback(subprocess.run, ["umount", "-l", "/run"], check=False)
    os.mkdir("/run/sshd", 0o755)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{here.directory}/key"], check=True)
    here.serve(port, sshd, "-D", "-e", "-f", here.write("sshd_config", SSHD.format(here.directory, port)))
    client = ("ssh", "-F", "none", "-T", "-i", f"{here.directory}/key", "-p", str(port),
              "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={here.directory}/known", "-o", "IPQoS=af21 cs3", "-o", "LogLevel=ERROR",
              f"root@{LOCALHOST}")
    check("what a command says", "hello\n", here.run(*client, "echo hello"))
    here.start(*client, "echo there; sleep 60")
    wait_for("the session", Containing("there"), here.log)
    here.check_live(("ssh", "sshd"), 2, ("IP_TOS",))


NODE = """
const http = require("http");
const server = http.createServer((request, answer) => answer.end("x".repeat(100000)));
server.listen(Number(process.argv[2]), "127.0.0.1", () => {
    const agent = new http.Agent({ keepAlive: true, keepAliveMsecs: 5000 });
    let left = 3;
    const get = () => http.get({ host: "127.0.0.1", port: process.argv[2], agent }, (answer) => {
        let size = 0;
        answer.on("data", (part) => { size += part.length; });
        answer.on("end", () => {
            answer.socket && answer.socket.setKeepAlive(true, 9000) && answer.socket.setNoDelay(false);
            if (size !== 100000)
                process.exit(1);
            if (--left)
                setImmediate(get);
            else
                console.log("all of it");
        });
    });
    get();
});
setTimeout(() => {}, 60000);
"""


def test_node(box):
    need("node")
    here, port = Held(box, "held-node"), free_port()
    here.start("node", here.write("both.js", NODE), str(port))
    wait_for("three answers", Containing("all of it"), here.log)
    here.check_live(("node",), 2, ("TCP_KEEPIDLE",))


PROMETHEUS = """scrape_configs:
  - job_name: self
    scrape_interval: 100ms
    scrape_timeout: 100ms
    static_configs: [ {{ targets: ["127.0.0.1:{0}"] }} ]
"""


def test_go(box):
    """Prometheus, that asks itself: net/http at both ends."""
    need("prometheus", "curl")
    here, port = Held(box, "held-go"), free_port()
    here.serve(port, "prometheus", f"--config.file={here.write('prometheus.yml', PROMETHEUS.format(port))}",
               f"--storage.tsdb.path={here.directory}/data", f"--web.listen-address={LOCALHOST}:{port}")
    url = f"http://{LOCALHOST}:{port}/api/v1/query?query=up"
    wait_for("what it has seen of itself", Containing('"1"'), lambda: here.run("curl", "-sS", url))
    here.check_live(("prometheus",), 2, ("TCP_KEEPIDLE", "TCP_KEEPINTVL"))


def test_java(box):
    """A server, rmiregistry, and a client, keytool, which wait for their peers."""
    need("java", "rmiregistry", "keytool")
    here, port = Held(box, "held-java"), free_port()
    here.serve(port, "rmiregistry", f"-J-Djava.rmi.server.hostname={LOCALHOST}", str(port))
    peer = here.box.worker(box.cgroup.child("held-java-peer"))
    with peer.socket(socket.AF_INET, socket.SOCK_STREAM) as client, \
            peer.socket(socket.AF_INET, socket.SOCK_STREAM) as silent:
        client.connect((LOCALHOST, port))
        client.send(b"JRMI\0\x02\x4b")  # magic, version, StreamProtocol
        check("ProtocolAck", b"\x4e", client.recv(1))
        here.check_live(("rmiregistry",), 1)
        silent.bind((LOCALHOST, 0))
        silent.listen(1)
        here.start("keytool", "-printcert", "-sslserver", f"{LOCALHOST}:{silent.port()}")
        with silent.accept() as accepted:
            check("the beginning of a TLS handshake", b"\x16\x03", accepted.recv(2))
            here.check_live(("rmiregistry", "keytool"), 2)
