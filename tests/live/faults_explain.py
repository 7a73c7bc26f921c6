# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What `explain` and `reload` said wrongly, or did not say: a test, or several, for each such fault."""

import contextlib
import re
import socket

from other_sockets import DATAGRAM, IPV4, STREAM, multipath
from harness import every_option
from harness.every_option import rule
from harness.flows import SO_PRIORITY, connection, listening, policies, policy
from harness.result import Containing, check

FILE = "50-test.yaml"
NEAR, FAR = "127.0.0.2", "127.0.0.1"


# --- F5: listeners that are older than a policy ---------------------------------------------------

def named(text):
    """The listeners that a text names, each with its cgroup."""
    return re.findall(r"^listener (\S+) in cgroup (\S+) keeps what it has until it is opened again", text,
                      re.M)


def test_f5_listeners_older_than_the_first_policy(box):
    """None of them got anything from a policy before, and that is not said of any."""
    agent = box.agent("f5")
    worker = box.worker(box.cgroup.child("f5"))
    ungoverned = box.worker(box.cgroup.child("f5-other"))

    def write(**options):
        agent.write(FILE, policies(policy("f5", worker.cgroup, options)))

    with listening(worker) as listener, listening(ungoverned):
        expected = [(f"127.0.0.1:{listener.port()}", worker.cgroup.path)]
        write(SO_MARK=7)
        agent.start()
        agent.wait_line("^listener ")
        check("named at the start", expected, named(agent.log()))
        for what, options, right in (("what listeners get changes", {"SO_MARK": 8}, expected),
                                     ("nothing changes", {"SO_MARK": 8}, []),
                                     ("listeners get nothing of it", {"SO_MARK": 8, "TCP_NODELAY": "on"}, []),
                                     ("listeners get nothing any more", {"TCP_NODELAY": "on"}, expected),
                                     ("listeners get something", {"TCP_MAXSEG": 1000}, expected)):
            write(**options)
            lines = agent.line_count()
            dry = agent.json("reload", "--dry-run", "--runtime-dir", agent.runtime_dir)["listeners"]
            check(f"a dry run: {what}", right, [(one["local"], one["cgroup"]) for one in dry])
            done = agent.reload()
            check(f"reload's answer: {what}", right, named(done.stderr))
            agent.wait_line("^reload: ", lines)
            check(f"the log: {what}", right,
                  named("\n".join(agent.log().splitlines()[lines:])))
    with listening(worker):
        check("a reload without old listeners", [], named(agent.reload().stderr))
        agent.kill()
        agent.start()
        agent.reload_good()
        check("an agent that goes on with what is in force", [], named(agent.log()))


def test_f5_many_listeners(box):
    """H9's bound holds for reload's answer as well."""
    agent = box.agent("f5-many")
    worker = box.worker(box.cgroup.child("f5-many"))
    agent.start()
    agent.write(FILE, policies(policy("many", worker.cgroup, {"SO_MARK": 7})))
    listeners = [worker.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(30)]
    for one in listeners:
        one.bind(("127.0.0.1", 0))
        one.listen(1)
    said = agent.reload().stderr
    check("listeners named", 10, len(named(said)))
    check("the others", Containing("\nand so do 20 more\n"), said)


# --- what open sockets have ----------------------------------------------------------------------

def explain(agent, worker, *more):
    return agent.json("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir, "--pid",
                      str(worker.pid), *more)


def printed(agent, worker, *more):
    return agent.command("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir, "--pid",
                         str(worker.pid), *more).stdout


def differences(answer):
    """Each socket's: {"tcp LOCAL": {option: (what it has, what it should have)}}."""
    return {f"{one['protocol']} {one['local']}": {
        this["option"]: (this["has"], this["files"]) for this in one["differences"]}
        for one in answer["sockets"] if one["differences"]}


def counts(answer):
    """{option: (sockets that have it, sockets that should)}, of all its rows."""
    found = {}
    for option in answer["options"]:
        for one in (option, *option["candidates"]):
            if "sockets" in one:
                have, of = found.get(one["option"], (0, 0))
                found[one["option"]] = have + one["sockets"]["have"], of + one["sockets"]["of"]
    return found


@contextlib.contextmanager
def open_sockets(worker):
    """One of each role, of both families."""
    with contextlib.ExitStack() as stack:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listener = stack.enter_context(listening(worker, family, address))
            stack.enter_context(connection(worker, listener, address, family))
            bound, connected, sender = (stack.enter_context(worker.socket(family, DATAGRAM)) for _ in range(3))
            bound.bind((address, 0))
            connected.connect((address, bound.port()))
            sender.sendto(b"x", (address, bound.port()))
        yield


# Of these getsockopt(2) tells nothing, or something else than was set.
HIDDEN = {"TCP_MAXSEG", "TCP_WINDOW_CLAMP", "TCP_BPF_IW", "TCP_BPF_SNDCWND_CLAMP", "TCP_BPF_DELACK_MAX",
          "TCP_BPF_RTO_MIN", "TIMEOUT_INIT", "RWND_INIT", "NEEDS_ECN", "BASE_RTT"}


def test_f8_every_option(box):
    """New sockets have all that the table says, and when that changes they have none of it."""
    agent = box.agent("f8-all")
    worker = box.worker(box.cgroup.child("f8-all"))
    rows = agent.json("options")["options"]

    def write(which):
        agent.write(FILE, policies(policy(
            "all", worker.cgroup, every_option.settings(rows, which), "    rules:\n" + rule(
                "listening", "direction: listen", every_option.settings(rows, which, "listen")))))

    write(0)
    agent.start()
    with open_sockets(worker):
        answer = explain(agent, worker)
        check("known", None, answer["sockets_not_asked"])
        check("sockets that have something else", {}, differences(answer))
        found = counts(answer)
        usable = {row["name"] for row in every_option.usable(rows)} - {"SO_BINDTOIFINDEX"}
        check("options that were compared", usable - HIDDEN, set(found))
        check("sockets that have the mark, and that should", (12, 12), found["SO_MARK"])
        check("options that some do not have", {}, {
            name: (have, of) for name, (have, of) in found.items() if have != of})
        write(1)
        agent.reload_good()
        found = counts(explain(agent, worker))
        check("options that some have after a reload", {}, {
            name: (have, of) for name, (have, of) in found.items() if have})


def test_f8_sockets_older_than_the_policy(box):
    """The files are in force, and yet these sockets have nothing of them."""
    agent = box.agent("f8")
    worker = box.worker(box.cgroup.child("f8"))
    agent.start()

    def line(text):
        return re.search(r"^  SO_PRIORITY .*", text, re.M)[0].split()

    with listening(worker) as listener, connection(worker, listener) as (client, accepted):
        agent.write(FILE, policies(policy("f8", worker.cgroup, {"SO_PRIORITY": 4})))
        agent.reload_good()
        answer = explain(agent, worker)
        check("in force", (True, False), (answer["in_force"]["known"], answer["in_force"]["differs"]))
        names = [f"tcp {FAR}:{one.port()}" for one in (client, accepted)]
        check("sockets, of which the listener has the accepted one's name", dict.fromkeys(names, {"SO_PRIORITY": ("0", "4")}), differences(answer))
        check("directions", [["accept"], ["connect"], ["listen"]],
              sorted(one["directions"] for one in answer["sockets"]))
        text = printed(agent, worker)
        check("the first line", "sockets: 3, of which 3 do not have all that the table says (older than "
              "the policy, connected twice, or the program set something else)", text.splitlines()[0])
        for name in names:
            check("a socket", Containing(f"  {name} to "), text)
        check("the table's line", ["0", "of", "3"], line(text)[-3:])
        check("in force", Containing("in force for new sockets: same as the files"), text)
        with connection(worker, listener) as (new, _):
            check("with new ones", {"SO_PRIORITY": (2, 5)}, counts(explain(agent, worker)))
            new.setsockopt(*SO_PRIORITY, 2)
            check("which the program changes", ("2", "4"),
                  differences(explain(agent, worker))[f"tcp {FAR}:{new.port()}"]["SO_PRIORITY"])
            for _ in range(5):
                check("asking changes nothing", (2, 0), (new.sockopt(*SO_PRIORITY),
                                                         client.sockopt(*SO_PRIORITY)))
                explain(agent, worker)


def test_f8_many_sockets(box):
    agent = box.agent("f8-many")
    worker = box.worker(box.cgroup.child("f8-many"))
    agent.write(FILE, policies(policy("many", worker.cgroup, {"SO_PRIORITY": 4})))
    for _ in range(15):
        worker.socket(socket.AF_INET, DATAGRAM).connect((FAR, 9))
    text = printed(agent, worker)
    check("sockets that are named", 10, len(re.findall(r"^  udp .*; SO_PRIORITY is 0, by many 4$", text, re.M)))
    check("the others", Containing("\n  and 5 more (--verbose)\n"), text)
    check("all", 15, printed(agent, worker, "--verbose").count("SO_PRIORITY is 0, by many 4"))


# --- S9: a descriptor that is connected twice ----------------------------------------------------

def test_s9_connected_twice(box):
    """It keeps what the rule for the first peer gave, and explain shows that."""
    agent = box.agent("s9")
    worker = box.worker(box.cgroup.child("s9"))
    given = {"SO_MARK": "0x5", "DSCP": "AF41", "TCP_USER_TIMEOUT": "20s"}
    agent.write(FILE, policies(policy("s9", worker.cgroup, {}, "    rules:\n" + rule(
        "near", f"remote: {NEAR}", given))))
    agent.start()
    with (listening(worker, address=FAR) as listener, worker.socket(socket.AF_INET, STREAM) as refused,
          worker.socket(socket.AF_INET, DATAGRAM) as twice, worker.socket(socket.AF_INET, DATAGRAM) as once):
        refused.settimeout(None)
        with contextlib.suppress(ConnectionRefusedError):
            refused.connect((NEAR, 1))
        refused.connect((FAR, listener.port()))
        twice.connect((NEAR, 9))
        once.connect((NEAR, 9))
        check("sockets that have the mark, and that should, at first", (2, 2),
              counts(explain(agent, worker))["SO_MARK"])
        twice.connect((FAR, 9))
        left = {"SO_MARK": ("5", None), "IP_TOS": ("AF41", None)}
        answer = explain(agent, worker)
        check("what they have of the first rule", {
            f"tcp {FAR}:{refused.port()}": {**left, "TCP_USER_TIMEOUT": ("20s", None)},
            f"udp {FAR}:{twice.port()}": left}, differences(answer))
        check("in words", Containing("; SO_MARK is 5, which s9/near gives to other peers"),
              printed(agent, worker))


# --- S13: what MPTCP does not pass on ------------------------------------------------------------

def test_s13_mptcp_is_not_credited(box):
    agent = box.agent("s13")
    worker = box.worker(box.cgroup.child("s13"))
    agent.write(FILE, policies(policy("s13", worker.cgroup, {
        "SO_RCVBUF": "64K", "TCP_USER_TIMEOUT": "4s", "TCP_NOTSENT_LOWAT": "16K", "TCP_NODELAY": "on"})))
    agent.start()
    with multipath(worker, worker, *IPV4):
        answer = explain(agent, worker)
        found = {tuple(one["directions"]): {this["option"] for this in one["not_passed_on"]}
                 for one in answer["sockets"] if one["protocol"] == "mptcp"}
        of_both = {"SO_RCVBUF", "TCP_USER_TIMEOUT", "TCP_NOTSENT_LOWAT"}
        check("what MPTCP does not pass on",
              {("listen",): {"SO_RCVBUF"}, ("connect",): of_both, ("accept",): of_both}, found)
        check("sockets, but for subflows", 3, len(answer["sockets"]))
        check("credited", {}, counts(answer))
        check("in words", Containing("; MPTCP does not pass on TCP_USER_TIMEOUT: the subflow is closed"),
              printed(agent, worker))
