# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sockets that are there already: `existing: apply`, `sockpol apply` and its --reset, `sockpol sockets`."""

import contextlib
import os
import socket
import subprocess
import sys
import time

from harness.flows import (SO_PRIORITY, TCP_KEEPIDLE, check_priority, connection, governed_worker, listening, policies, policy,
                           priority_policy)
from harness.host import Host
from harness.result import check, wait_for
from harness.size import sized

FILE = "50-test.yaml"


def test_a_load_that_changes_nothing(box):
    """It leaves what is in force, and the generation before, whoever asks for it."""
    agent = box.agent("unchanged")
    worker = governed_worker(box, agent, "unchanged", 4)
    agent.write(FILE, priority_policy("unchanged", worker.cgroup, 5))
    agent.reload_good()
    before, pins = agent.status(), agent.pins()
    agent.reload_good()
    agent.kill()
    agent.start()
    after = agent.status()
    check("generation, and since when", (2, before["loaded_usec"]),
          (after["generation"], after["loaded_usec"]))
    check("pins", pins, agent.pins())
    check_priority("as before", worker, 5)
    agent.write(FILE, priority_policy("unchanged", worker.cgroup, 6))
    agent.reload_good()
    check("the next generation", 3, agent.status()["generation"])
    check_priority("by the new files", worker, 6)
    agent.stop()


def sockets(agent, *arguments):
    """`sockpol sockets --json` as {(direction, remote port or local port of a listener): socket}."""
    answer = agent.json("sockets", "--pin-dir", agent.pin_dir, *arguments)
    return answer["sockets"], answer


def differences(one):
    """{option: (what it has, what it should, why, guessed)}"""
    return {d["option"]: (d["has"], d["wanted"], d["why"], d["guessed"]) for d in one["differences"]}


def ends(sock):
    """As `sockpol sockets` names them."""
    name = "{}:{}".format(*sock.getsockname()[:2])
    return name


def by_local(found, sock, direction):
    """The one of these sockets."""
    mine = [one for one in found if one.get("local") == ends(sock) and one["direction"] == direction]
    check(f"sockets at {ends(sock)}, {direction}", 1, len(mine))
    return mine[0]


RULES = """    rules:
      - name: out
        when: { direction: connect }
        options: { TCP_KEEPIDLE: 60s, TCP_USER_TIMEOUT: 20s }
      - name: in
        when: { direction: accept }
        options: { TCP_KEEPIDLE: 70s, TCP_NODELAY: on }
      - name: listeners
        when: { direction: listen }
        options: { SO_PRIORITY: 5 }
"""


@contextlib.contextmanager
def all_three(box, cgroup, worker=None):
    """A listener, a client and what was accepted, all of one worker of the cgroup."""
    worker = worker or box.worker(cgroup)
    with listening(worker) as listener, connection(worker, listener) as (client, accepted):
        yield listener, client, accepted


def test_sockets_shows_what_differs(box):
    """Older than the policy, by direction; set by the application; capped; too late."""
    agent = box.agent("shown")
    cgroup = box.cgroup.child("shown")
    with all_three(box, cgroup) as (listener, client, accepted):
        agent.write(FILE, policies(policy("shown", cgroup, {"TCP_KEEPINTVL": "9s", "TCP_SYNCNT": 3}, RULES)))
        agent.start()
        found, answer = sockets(agent, "--cgroup", cgroup.path)
        check("found, and differ", (3, 3, 3), (answer["found"], answer["differ"], len(found)))
        one = by_local(found, client, "connect")
        check("the client", {"TCP_KEEPINTVL": ("75s", "9s", "older", True),
                             "TCP_SYNCNT": ("6", "3", "too-late", False),
                             "TCP_KEEPIDLE": ("2h", "60s", "older", True),
                             "TCP_USER_TIMEOUT": ("0s", "20s", "older", True)}, differences(one))
        check("its cgroup, remote and policies",
              (cgroup.path, ends(listener), [("shown", None), ("shown", "out")]),
              (one["cgroup"], one["remote"],
               sorted(((p["policy"], p["rule"]) for p in one["policies"]), key=str)[::-1]))
        check("status --sockets", (True, True), tuple(agent.status("--sockets")["sockets"][key] >= 3
                                                       for key in ("governed", "differ")))
        one = by_local(found, accepted, "accept")
        check("the accepted one", {"TCP_KEEPINTVL", "TCP_KEEPIDLE", "TCP_NODELAY"}, set(differences(one)))
        check("the listener", {"SO_PRIORITY"}, set(differences(by_local(found, listener, "listen"))))

        accepted.setsockopt(*TCP_KEEPIDLE, 70)
        client.setsockopt(*TCP_KEEPIDLE, 15)
        found, _ = sockets(agent, "--differs", "--cgroup", cgroup.path)
        check("what has the value does not differ", False,
              "TCP_KEEPIDLE" in differences(by_local(found, accepted, "accept")))
        check("set by the application", ("15s", "60s", "application", True),
              differences(by_local(found, client, "connect"))["TCP_KEEPIDLE"])
        agent.stop()


def test_sockets_of_new_ones(box):
    """They have all; --differs leaves them out, --policy and --pid find them, also where a buffer is capped."""
    agent = box.agent("new")
    cgroup = box.cgroup.child("new")
    agent.write(FILE, policies(policy("new", cgroup, {
        "TCP_CONGESTION": "reno", "SO_SNDBUF": "64K", "SO_MAX_PACING_RATE": "200MB/s", "TCP_BPF_RTO_MIN": "20ms",
        "IP_TOS": "AF41", "SO_MARK": 7, "TCP_WINDOW_CLAMP": "64K", "TCP_NODELAY": "on"}),
        policy("other", box.cgroup.child("other"), {"SO_MARK": 8})))
    agent.start()
    with all_three(box, cgroup) as (_, client, accepted):
        found, _ = sockets(agent, "--policy", "new")
        for sock, direction in ((client, "connect"), (accepted, "accept")):
            one = by_local(found, sock, direction)
            seen = differences(one)
            seen.pop("TCP_WINDOW_CLAMP", None)  # it does not last
            check(f"differences of {direction}", {}, seen)
            check("governed", 8, one["governed"])
        check("of another policy", [], sockets(agent, "--policy", "other")[0])
        pid = client.worker.pid
        mine = sockets(agent, "--pid", str(pid), "--processes")[0]
        check("--pid", {one["inode"] for one in found}, {one["inode"] for one in mine})
        check("--processes", {pid}, {p["pid"] for one in mine for p in one["processes"]})
    agent.stop()


def apply(agent, *arguments):
    """`sockpol apply --json`: its outcomes as a whole, and {option: outcomes} without the zeros."""
    answer = agent.json("apply", "--pin-dir", agent.pin_dir, *arguments)
    return answer, {one["option"]: {key: n for key, n in one.items() if n and key != "option"}
                    for one in answer["options"]}


def test_apply_by_direction(box):
    """A dry run sets nothing; a real one sets what each would have got at its moment, counted exactly."""
    agent = box.agent("applied")
    cgroup = box.cgroup.child("applied")
    with all_three(box, cgroup) as (listener, client, accepted):
        agent.write(FILE, policies(policy("applied", cgroup, {"TCP_KEEPINTVL": "9s", "TCP_SYNCNT": 3}, RULES)))
        agent.start()
        before = client.sockopt(*TCP_KEEPIDLE)
        expected = {"TCP_KEEPINTVL": {"set": 2}, "TCP_KEEPIDLE": {"set": 2}, "TCP_USER_TIMEOUT": {"set": 1},
                    "TCP_NODELAY": {"set": 1}, "SO_PRIORITY": {"set": 1}, "TCP_SYNCNT": {"too_late": 1}}
        answer, options = apply(agent, "--dry-run", "--cgroup", cgroup.path)
        check("a dry run", (True, 3, 0, expected), (answer["dry_run"], answer["governed"], answer["touched"], options))
        check("which set nothing", before, client.sockopt(*TCP_KEEPIDLE))
        answer, options = apply(agent, "--cgroup", cgroup.path)
        check("a real one", (False, 3, 3, expected), (answer["dry_run"], answer["governed"], answer["touched"],
                                                      options))
        check("client: KEEPIDLE, KEEPINTVL, USER_TIMEOUT, NODELAY, SYNCNT", (60, 9, 20000, 0, 6),
              tuple(client.sockopt(6, name) for name in (4, 5, 18, 1, 7)))
        check("accepted: KEEPIDLE, KEEPINTVL, USER_TIMEOUT, NODELAY", (70, 9, 0, 1),
              tuple(accepted.sockopt(6, name) for name in (4, 5, 18, 1)))
        check("listener: SO_PRIORITY, KEEPINTVL", (5, 75), (listener.sockopt(*SO_PRIORITY), listener.sockopt(6, 5)))
        _, options = apply(agent, "--cgroup", cgroup.path)
        check("again", {option: {"too_late" if "too_late" in outcomes else "right": sum(outcomes.values())}
                        for option, outcomes in expected.items()}, options)
        agent.stop()


def test_apply_of_some(box):
    """By policy, by cgroup; what the application set is overridden."""
    agent = box.agent("some")
    inner = box.cgroup.child("some").child("inner")
    with all_three(box, inner) as (_, client, _), all_three(box, box.cgroup.child("aside")) as (_, other, _):
        client.setsockopt(6, 4, 33)
        agent.write(FILE, policies(policy("outer-policy", f"{box.cgroup.path}/**", {"TCP_KEEPIDLE": "50s"}),
                                   policy("inner-policy", inner, {"TCP_KEEPINTVL": "8s"})))
        agent.start()
        done = agent.command("apply", "nobodys", "--pin-dir", agent.pin_dir)
        check("a policy that is not in force", (1, "No policy 'nobodys' is in force\n"),
              (done.returncode, done.stderr))
        apply(agent, "inner-policy")
        check("one policy's: KEEPIDLE, KEEPINTVL", (33, 8), (client.sockopt(6, 4), client.sockopt(6, 5)))
        apply(agent, "--cgroup", box.cgroup.child("some", make=False).path)
        check("below a cgroup", (50, 7200), (client.sockopt(6, 4), other.sockopt(6, 4)))
        apply(agent)
        check("everywhere", 50, other.sockopt(6, 4))
        agent.stop()


def test_apply_where_the_direction_is_not_known(box):
    """Perhaps accepted from listen(fd, 0): only what both would get.  Not so with a port of its own, which no accepted
    socket has."""
    agent = box.agent("untold")
    cgroup = box.cgroup.child("untold")
    worker = box.worker(cgroup)

    def connected(stack, listener, address):
        one = stack.enter_context(worker.socket(socket.AF_INET, socket.SOCK_STREAM))
        if address:
            one.bind(address)
        one.connect(("127.0.0.1", listener.port()))
        return one, stack.enter_context(listener.accept())

    with contextlib.ExitStack() as stack:
        zero, any_zero, usual = (stack.enter_context(worker.socket(socket.AF_INET, socket.SOCK_STREAM))
                                 for _ in range(3))
        for listener, address, backlog in ((zero, "127.0.0.1", 0), (any_zero, "", 0), (usual, "127.0.0.1", 3)):
            listener.bind((address, 0))
            listener.listen(backlog)
        free, of_zero = connected(stack, zero, None)
        port, of_any = connected(stack, any_zero, ("127.0.0.1", 23457))
        bound, of_usual = connected(stack, usual, ("127.0.0.1", 0))
        agent.write(FILE, policies(policy("untold", cgroup, {"TCP_KEEPINTVL": "9s"}, RULES)))
        agent.start()
        answer, _ = apply(agent, "--cgroup", cgroup.path)
        check("counted", 3, answer["direction_not_known"])
        for what, one, idle, nodelay in (("connected", free, 60, 0), ("with a port", port, 60, 0),
                                         ("with an address", bound, 7200, 0),
                                         ("accepted from listen(fd, 0)", of_zero, 7200, 0),
                                         ("likewise, at any address", of_any, 7200, 0),
                                         ("accepted", of_usual, 70, 1)):
            check(f"{what}: KEEPINTVL, KEEPIDLE, NODELAY", (9, idle, nodelay),
                  tuple(one.sockopt(6, n) for n in (5, 4, 1)))
        agent.stop()


def test_apply_on_unix_sockets(box):
    """Those that connected, by rules; not the listener's side, and not a pair."""
    agent = box.agent("unix")
    cgroup = box.cgroup.child("unix")
    worker = box.worker(cgroup)
    path = box.path("unix-socket")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(worker.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        listener.listen(3)
        client = stack.enter_context(worker.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        client.connect(path)
        accepted = stack.enter_context(listener.accept())
        agent.write(FILE, policies(policy("unix", cgroup, {}, "    rules:\n      - name: local\n"
                                          "        when: { family: unix }\n"
                                          "        options: { SO_PRIORITY: 6 }\n")))
        agent.start()
        _, options = apply(agent)
        check("counted", {"SO_PRIORITY": {"set": 1}}, options)
        check("client, accepted, listener", (6, 0, 0), tuple(one.sockopt(*SO_PRIORITY)
                                                             for one in (client, accepted, listener)))
        found = agent.json("sockets", "--pin-dir", agent.pin_dir)["sockets"]
        check("shown", [("unix", [])], [(one["protocol"], one["differences"]) for one in found])
        agent.stop()


def applying(name, cgroup, options, more=""):
    return policy(name, cgroup, options, "    existing: apply\n" + more)


def test_existing_apply(box):
    """What a load changes is set on open sockets, by policies that say so; the application's own sets since stay
    where nothing changed."""
    agent = box.agent("existing")
    cgroup = box.cgroup.child("existing")
    with all_three(box, cgroup) as (listener, client, accepted):
        both = (client, accepted)
        agent.write(FILE, policies(policy("keeps", cgroup, {"TCP_KEEPINTVL": "9s", "TCP_KEEPCNT": 2}),
                                   applying("applies", cgroup, {"TCP_KEEPIDLE": "60s", "TCP_SYNCNT": 3}, RULES)))
        agent.start()
        agent.wait_line(r"existing: set 5 options on 3 open sockets; already right: 0, too late: 1, ")
        check("at the first load", [(60, 75, 9, 0, 20000), (70, 75, 9, 1, 0)],
              [tuple(one.sockopt(6, n) for n in (4, 5, 6, 1, 18)) for one in both])
        check("no listener is said to be behind", False, "keeps what it has" in agent.log())
        check("the listener", 5, listener.sockopt(*SO_PRIORITY))

        client.setsockopt(6, 4, 15)
        line = agent.line_count()
        agent.write(FILE, policies(applying("keeps", cgroup, {"TCP_KEEPINTVL": "8s", "TCP_KEEPCNT": "unset"}),
                                   applying("applies", cgroup, {"TCP_KEEPIDLE": "60s", "TCP_SYNCNT": 3}, RULES)))
        agent.reload_good()
        agent.wait_line(r"existing: set 2 options on 2 open sockets; already right: 0, too late: 0, ", line)
        check("what did not change, and what did", [(15, 8), (70, 8)],
              [tuple(one.sockopt(6, n) for n in (4, 5)) for one in both])

        line = agent.line_count()
        client.setsockopt(6, 5, 16)
        agent.kill()
        agent.start()
        agent.reload_good()
        check("after a restart and a reload that changed nothing", 16, client.sockopt(6, 5))
        check("nothing ran", False, "existing: set" in agent.log())
        check("no listener is said to be behind", False, "keeps what it has" in agent.log())
        agent.stop()


SECRET = b"x" * (1 << 16)


def throughput(client, accepted, seconds):
    """Bytes a second that the accepted socket receives while the client sends all it can."""
    client.setblocking(False)
    accepted.setblocking(False)
    received, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            client.send(SECRET)
        with contextlib.suppress(BlockingIOError):
            received += len(accepted.recv(1 << 20))
    return received / seconds


RESET_BEFORE = {"TCP_CONGESTION": "reno", "SO_KEEPALIVE": "on", "TCP_KEEPIDLE": "55s", "TCP_KEEPINTVL": "12s",
                "DSCP": "AF41", "SO_SNDBUF": "64K", "TCP_USER_TIMEOUT": "20s", "TCP_NODELAY": "on"}


def test_reset(box):
    """What the configuration before the last change gave and today's does not goes; what the application set, and what
    today's policies give, stays; buffers do not come back."""
    agent = box.agent("reset")
    cgroup = box.cgroup.child("reset")
    agent.write(FILE, policies(policy("before", cgroup, RESET_BEFORE)))
    agent.start()
    names = [(6, 13, 16), (1, 9), (6, 4), (6, 5), (0, 1), (1, 12), (6, 18), (6, 1)]

    def look(one):
        return tuple(one.getsockopt(*name) for name in names)

    with all_three(box, box.cgroup.child("fresh")) as (_, fresh, _), all_three(box, cgroup) as (_, client, accepted):
        usual = look(fresh)
        given = look(client)
        client.setsockopt(6, 4, 33)
        done = agent.command("apply", "--reset", "--pin-dir", agent.pin_dir)
        check("before any change", 1, done.returncode)
        agent.write(FILE, policies(policy("after", cgroup, {"TCP_KEEPINTVL": "11s", "TCP_NODELAY": "on"})))
        agent.reload_good()
        check("nothing comes back by itself", given[3:], look(client)[3:])
        answer, options = apply(agent, "--reset", "--dry-run", "--cgroup", cgroup.path)
        check("a dry run sets nothing", (0, given[3:]), (answer["touched"], look(client)[3:]))
        again, counted = apply(agent, "--reset", "--cgroup", cgroup.path)
        check("it counts what a real one does", options, counted)
        check("touched: the listener, for its IP_TOS, too", 3, again["touched"])
        check("the accepted one: as fresh, but for TCP_KEEPINTVL and TCP_NODELAY",
              (*usual[:3], 11, *usual[4:7], 1), look(accepted))
        check("the client, whose application set TCP_KEEPIDLE", (*usual[:2], 33, 11, *usual[4:7], 1), look(client))
        check("counted", ({"set": 1, "changed": 1}, {"not_taken_back": 2}, {"set": 3}, None),
              (counted["TCP_KEEPIDLE"], counted["SO_SNDBUF"], counted["IP_TOS"], counted.get("TCP_NODELAY")))
        agent.stop()


def test_reset_of_a_pacing_rate(box):
    """A mistaken rate throttles open connections after its rollback; --reset lets them go at full speed."""
    agent = box.agent("pacing")
    cgroup = box.cgroup.child("pacing")
    before = policies(policy("quick", cgroup, {"TCP_NODELAY": "on"}))
    agent.write(FILE, before)
    agent.start()
    worker = box.worker(cgroup)
    with listening(worker) as listener:
        with connection(worker, listener) as (client, accepted):
            # On loopback the kernel sends 64 KB at a time: at the mistaken rate that takes a minute.
            full = throughput(client, accepted, 1)
            agent.write(FILE, policies(policy("quick", cgroup, {"TCP_NODELAY": "on", "SO_MAX_PACING_RATE": "1kB/s"},
                                              "    existing: apply\n")))
            agent.reload_good()
            agent.wait_line("existing: set")
            throughput(client, accepted, 1)
            slow = throughput(client, accepted, 1)
            check("throttled", True, slow < full / 8)
            agent.write(FILE, before)
            agent.reload_good()
            check("still throttled after the rollback", True, throughput(client, accepted, 1) < full / 8)
            _, options = apply(agent, "--reset")
            check("what was reset", {"SO_MAX_PACING_RATE": {"set": 2}}, options)
            wait_for("full speed again", True, lambda: throughput(client, accepted, 1) > full / 4)
    agent.stop()


def test_reset_by_hand(box):
    """--option names what to take back, also where no earlier configuration is known."""
    agent = box.agent("by-hand")
    cgroup = box.cgroup.child("by-hand")
    with all_three(box, cgroup) as (_, client, accepted):
        client.setsockopt(6, 4, 44)
        accepted.setsockopt(6, 4, 45)
        client.setsockopt(6, 5, 7)
        agent.write(FILE, policies(policy("by-hand", cgroup, {"TCP_KEEPINTVL": "9s"})))
        agent.start()
        for wrong, said in (("TCP_KEEPIDL", "there is no option"), ("TCP_KEEPIDLE=x", "TCP_KEEPIDLE")):
            done = agent.command("apply", "--reset", "--option", wrong, "--pin-dir", agent.pin_dir)
            check(f"--option {wrong}", (2, True), (done.returncode, said in done.stderr))
        _, options = apply(agent, "--reset", "--option", "TCP_KEEPIDLE=44s", "--option", "TCP_KEEPINTVL=7s",
                           "--cgroup", cgroup.path)
        check("counted", {"TCP_KEEPIDLE": {"set": 1, "changed": 2}, "TCP_KEEPINTVL": {"set": 1, "changed": 2}}, options)
        check("KEEPIDLE and KEEPINTVL", (7200, 45, 9),
              (client.sockopt(6, 4), accepted.sockopt(6, 4), client.sockopt(6, 5)))
        agent.stop()


def test_other_namespaces(box):
    """The daemon and a plain `apply` leave them alone; --namespace all, or one by its path, does not."""
    agent = box.agent("namespaces")
    cgroup = box.cgroup.child("namespaces")
    with contextlib.ExitStack() as stack:
        hosts = [Host(box, f"namespaces/{name}") for name in ("one", "other")]
        for host in hosts:
            host.ip("link set lo up")
        away = [(host.pid, stack.enter_context(all_three(box, None, host.unaware))[1]) for host in hosts]
        _, near, _ = stack.enter_context(all_three(box, cgroup))
        agent.write(FILE, policies(applying("namespaces", cgroup, {"TCP_KEEPIDLE": "60s"})))
        agent.start()
        agent.wait_line("existing: set")
        far = [one for _, one in away]

        def look():
            return tuple(one.sockopt(*TCP_KEEPIDLE) for one in (near, *far))

        check("by the daemon", (60, 7200, 7200), look())
        apply(agent)
        check("without --namespace", (60, 7200, 7200), look())
        answer, _ = apply(agent, "--namespace", f"/proc/{away[0][0]}/ns/net")
        check("one of them", (1, (60, 60, 7200)), (answer["namespaces"], look()))
        found, answer = sockets(agent, "--namespace", "all", "--cgroup", cgroup.path)
        check("all of them", (6, 2), (answer["found"], answer["differ"]))
        numbers = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in (os.getpid(), *(pid for pid, _ in away))}
        check("by their numbers", numbers, {one["namespace"] for one in found})
        apply(agent, "--namespace", "all")
        check("everywhere", (60, 60, 60), look())
        done = agent.command("apply", "--namespace", "/nowhere", "--pin-dir", agent.pin_dir)
        check("one that is not there", 1, done.returncode)
        agent.stop()


CHURN = """
import os, socket, sys, threading
stop = threading.Event()
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(512)
def churn():
    while not stop.is_set():
        one = socket.create_connection(listener.getsockname()); other, _ = listener.accept(); one.close(); other.close()
keep = []
for _ in range(int(sys.argv[1])):
    one = socket.create_connection(listener.getsockname()); keep += [one, listener.accept()[0]]
threads = [threading.Thread(target=churn) for _ in range(4)]
for thread in threads: thread.start()
print("ready", flush=True)
sys.stdin.readline()
stop.set()
print(*sorted({one.getsockopt(6, 4) for one in keep}), flush=True)
"""


def join(cgroup):
    with open(f"{cgroup.directory}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write("0")


def test_apply_beside_churn(box):
    """However many sockets come and go meanwhile, those that stay are all set."""
    agent = box.agent("churn")
    cgroup = box.cgroup.child("churn")
    program = subprocess.Popen([sys.executable, "-c", CHURN, str(sized(short=500, full=2000, long=5000))], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               preexec_fn=lambda: join(cgroup))
    with program:
        check("the program", "ready\n", program.stdout.readline())
        agent.write(FILE, policies(policy("churn", cgroup, {"TCP_KEEPIDLE": "60s"})))
        agent.start()
        apply(agent, "--cgroup", cgroup.path)
        program.stdin.write("\n")
        program.stdin.flush()
        check("TCP_KEEPIDLE of all that stayed", "60\n", program.stdout.readline())
    agent.stop()


def test_who_has_the_last_word(box):
    """`respect` leaves what the application set, noted or guessed; a range brings it between its bounds; `hold` goes
    over it."""
    agent = box.agent("word")
    cgroup = box.cgroup.child("word")

    def word(idle, more=""):
        return policies(policy("word", cgroup, {"TCP_KEEPIDLE": f"{{ value: {idle}, application: respect }}"}, more))

    with all_three(box, cgroup) as (_, old, _):
        old.setsockopt(*TCP_KEEPIDLE, 44)  # before there is a hook
        agent.write(FILE, word("60s"))
        agent.start()
        with all_three(box, cgroup) as (_, one, other):
            one.setsockopt(*TCP_KEEPIDLE, 33)
            agent.write(FILE, word("50s"))
            agent.reload_good()
            check("the application's, and the policy's before", (33, 60), (one.sockopt(*TCP_KEEPIDLE),
                                                                          other.sockopt(*TCP_KEEPIDLE)))
            _, options = apply(agent, "--cgroup", cgroup.path)
            check("respected: noted, guessed; set", {"TCP_KEEPIDLE": {"respected": 2, "set": 2}}, options)
            check("KEEPIDLE of each", (44, 33, 50), tuple(each.sockopt(*TCP_KEEPIDLE) for each in (old, one, other)))
            found, _ = sockets(agent, "--cgroup", cgroup.path)
            check("shown", [("application", True), ("application", False)],
                  [differences(by_local(found, each, "connect"))["TCP_KEEPIDLE"][2:] for each in (old, one)])

            agent.write(FILE, policies(policy("word", cgroup, {"TCP_KEEPIDLE": "{ min: 35s, max: 40s }"})))
            agent.reload_good()
            apply(agent, "--cgroup", cgroup.path)
            check("brought into the range; what a policy gave stays", (40, 35, 50),
                  tuple(each.sockopt(*TCP_KEEPIDLE) for each in (old, one, other)))

            agent.write(FILE, policies(policy("word", cgroup, {"TCP_KEEPIDLE": "55s"}, "    application: hold\n")))
            agent.reload_good()
            apply(agent, "--cgroup", cgroup.path)
            check("held", (55, 55, 55), tuple(each.sockopt(*TCP_KEEPIDLE) for each in (old, one, other)))
        agent.stop()
