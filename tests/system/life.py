# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The life of an installed sockpol, on one machine, in this order."""

import json
import os

from harness.result import Containing, check, wait_for
from scene import (BAD_PLACE, BAD_POLICY, OTHER_SECONDS, POLICY, POLICY_FILE, SECONDS, Flood,
                   check_first_sockets, counted, drop_in, in_force, is_governed, main_pid, pins, settle,
                   wait_new_agent)

RESTARTS = 50  # of a governed service
LIVES = 10     # of the agent, each of them ended in both ways


def test_status(machine, _):
    settle(machine)
    out = machine.good("systemctl", "status", "--no-pager", "sockpol")
    check("the verdict in systemctl status", Containing(f'Status: "{in_force(machine)}"'), out)
    check("the verdict in the journal", Containing(f"ready: {in_force(machine)}\n"), out)
    check("a single policy", Containing(", 1 policy\n"), machine.good("sockpol", "status"))


def test_f1_ordinary_users(machine, _):
    """Check and explain read the files while the service runs; the control socket is root's."""
    settle(machine)
    user = ("setpriv", "--reuid=nobody", "--clear-groups", "sockpol")
    machine.good(*user, "check")
    check("explained", Containing("governed"), machine.good(*user, "explain", "--unit", "governed"))
    check("modes", ["755", "600", "600"], machine.good(
        "stat", "-c", "%a", "/run/sockpol", "/run/sockpol/control", "/run/sockpol/lock").split())
    check("reload by an ordinary user", 1, machine.run(*user, "reload").returncode)


HOST_UNITS = {
    "own.service": "[Service]\nType=oneshot\nExecStart=/bin/true\nSlice=a-part.slice\n",
    "own.socket": "[Socket]\nListenStream=7999\n",
}
HOST_POLICY = "/root/host.yaml"
HOST_POLICIES = """policies:
  - name: wrong
    match:
      unit: [alias.service, own.service, none.service, "none@*.service"]
      cgroup: [/system.slice/own.service, /none]
      exclude: { unit: noone.service }
    options: { SO_BINDTODEVICE: none0 }
  - name: right
    match:
      unit: ["gov*.service", own.s*, governed.service, user.slice]
      cgroup: [/, /*/listener.service, /a.slice/a-part.slice/own.service, "/init*"]
    options: { SO_BINDTODEVICE: lo }
"""
HOST_WARNINGS = [
    "4:14: warning: 'alias.service' is an alias of 'own.service', and the cgroup has the unit's own name",
    "4:29: warning: unit 'own.service': systemd opens its listeners in the cgroup of 'own.socket', "
    "which the policy does not match: name that as well",
    "4:42: warning: unit 'none.service' is nowhere on this host",
    "4:56: warning: unit 'none@*.service' is nowhere on this host",
    "5:16: warning: cgroup '/system.slice/own.service' is nowhere on this host: systemd puts unit "
    "'own.service' at '/a.slice/a-part.slice/own.service'",
    "5:43: warning: cgroup '/none' is nowhere on this host",
    "6:24: warning: unit 'noone.service' is nowhere on this host",
    "7:16: warning: SO_BINDTODEVICE: there is no device 'none0' on this host",
]


def test_f6_check_host(machine, _):
    """F6: aliases, units and cgroups that are nowhere, sockets that are not named; by any user."""
    settle(machine)
    for name, text in HOST_UNITS.items():
        machine.write(f"/etc/systemd/system/{name}", text)
    machine.good("ln", "-sf", "own.service", "/etc/systemd/system/alias.service")
    machine.good("systemctl", "daemon-reload")
    machine.good("systemctl", "start", "own.socket")
    machine.write(HOST_POLICY, HOST_POLICIES)
    machine.good("chmod", "711", "/root")
    for user in ((), ("setpriv", "--reuid=nobody", "--clear-groups")):
        done = machine.run(*user, "sockpol", "check", "--host", HOST_POLICY)
        check(f"warnings of check --host {' '.join(user)}",
              [f"{HOST_POLICY}:{line}" for line in HOST_WARNINGS], done.stderr.splitlines())
    check("without --host", [], machine.run("sockpol", "check", HOST_POLICY).stderr.splitlines())


def test_f6_explain_follows(machine, _):
    """F6: an alias, and the Slice= of a unit that does not run."""
    place = "/a.slice/a-part.slice/own.service"
    for unit, expected in (("alias", place), ("own", place), ("governed", None)):
        told = json.loads(machine.good("sockpol", "explain", "--unit", unit, "--json"))
        check(f"the cgroup of {unit}", expected or "/system.slice/governed.service", told["cgroup"])


def test_f2_run_policies_stay(machine, _):
    """What was written into /run lives until reboot, however the agent ends."""
    settle(machine)
    name = "/run/sockpol/policies.d/70-run.yaml"
    machine.good("mkdir", "-p", os.path.dirname(name))
    machine.good("sh", "-c", f"echo 'policies: []' > {name}")  # in the machine's own tmpfs
    try:
        machine.good("systemctl", "restart", "sockpol")
        old = main_pid(machine)
        machine.signal_main("sockpol", "KILL")
        wait_new_agent(machine, old)
        machine.good("systemctl", "stop", "sockpol")
        machine.good("test", "-f", name)
    finally:
        machine.good("rm", "-rf", os.path.dirname(name))


def test_reload(machine, _):
    settle(machine)
    machine.write(POLICY_FILE, POLICY.format(seconds=OTHER_SECONDS))
    check("governed by the first policy until the reload", True, is_governed(machine))
    before = len(machine.journal("-u", "sockpol"))
    machine.good("systemctl", "reload", "sockpol")
    said = [entry["MESSAGE"] for entry in machine.journal("-u", "sockpol")[before:]]
    check("the verdict in the journal, once (F10)", [f"reload: {in_force(machine)}"],
          [message for message in said if in_force(machine) in message])
    machine.good("systemctl", "restart", "governed")
    check("and no longer after it", (1, 1, 0), counted(machine, "first")[-1])


def test_reload_refused(machine, _):
    """It fails where the administrator looks, and what was in force stays."""
    settle(machine)
    pid = main_pid(machine)
    matches = ([f"POLICY_FILE={POLICY_FILE}"], ["-u", "sockpol"])
    before = [len(machine.journal(*match)) for match in matches]
    machine.write(POLICY_FILE, BAD_POLICY)
    done = machine.run("systemctl", "reload", "sockpol")
    check(f"exit status of systemctl reload ({done.stderr})", 1, done.returncode)
    machine.check_show("sockpol", ActiveState="active", ReloadResult="exit-code",
                       StatusText="refused: 1 error; what was in force stays")
    check("the agent is the same", pid, main_pid(machine))
    check("governed still", True, is_governed(machine))

    line, column = BAD_PLACE
    entries, everything = (machine.journal(*match)[n:] for match, n in zip(matches, before))
    check("journal entries with POLICY_FILE=, one an error", 1, len(entries))
    check("the entry's fields", {"PRIORITY": "3", "POLICY_LINE": str(line),
                                 "POLICY_COLUMN": str(column),
                                 "SYSLOG_IDENTIFIER": "sockpol",
                                 "_SYSTEMD_UNIT": "sockpol.service"},
          {name: entries[0].get(name) for name in ("PRIORITY", "POLICY_LINE", "POLICY_COLUMN",
                                                   "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT")})
    check("the entry's text", True, entries[0]["MESSAGE"].startswith(
        f"{POLICY_FILE}:{line}:{column}: error: unknown option 'TCP_USR_TIMEOUT'"))
    check("the line is there once", 1, sum(f"{POLICY_FILE}:{line}" in entry["MESSAGE"]
                                           for entry in everything))
    check("on a terminal it is what it was", Containing(f"{POLICY_FILE}:{line}:{column}: error: "),
          machine.run("sockpol", "check").stderr)


def test_warning_in_journal(machine, _):
    settle(machine)
    name = "/etc/sockpol/policies.d/70-warned.yaml"
    machine.write(name, """policies:
  - name: warned
    match: { unit: x.service }
    options: { TCP_KEEPIDLE: 60s }
""")
    try:
        machine.good("systemctl", "reload", "sockpol")
        check("entries about a legal file that is surely not meant, by priority and line",
              [("4", "4")], [(entry["PRIORITY"], entry["POLICY_LINE"])
                             for entry in machine.journal(f"POLICY_FILE={name}")])
    finally:
        machine.remove(name)


def test_restart_with_wrong_files(machine, _):
    """What an earlier agent has left is better than nothing, and the new one says that it is not well."""
    settle(machine)
    machine.write(POLICY_FILE, BAD_POLICY)
    with Flood(machine):
        machine.good("systemctl", "restart", "sockpol")
        machine.check_show("sockpol", ActiveState="active", NRestarts="0",
                           StatusText="refused: 1 error; what was in force stays")
        check("governed still", True, is_governed(machine))
        machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
        machine.good("systemctl", "reload", "sockpol")
        machine.check_show("sockpol", StatusText=in_force(machine))


def test_listener_with_old_values(machine, _):
    """The sandbox leaves sock_diag: a reload names the listener that keeps what is no longer asked."""
    settle(machine)
    machine.write(POLICY_FILE, POLICY.format(seconds="42s, SO_RCVBUF: 64K, TCP_SYNCNT: 3 }  #"))
    machine.good("systemctl", "reload", "sockpol")
    machine.good("systemd-run", "--unit=governed-listener", "--service-type=forking",
                 "/usr/bin/connector", "listen", "7001")
    try:
        machine.write(POLICY_FILE, POLICY.format(seconds=OTHER_SECONDS))
        machine.good("systemctl", "reload", "sockpol")
        check("a word of the listener", True,
              any("listener 127.0.0.1:7001 " in entry["MESSAGE"]
                  for entry in machine.journal("-u", "sockpol")))
    finally:
        machine.good("systemctl", "stop", "governed-listener")


def test_first_sockets(machine, _):
    """A restarted service has a new cgroup each time, which only a glob matches."""
    settle(machine)
    restarts = f"for i in $(seq {RESTARTS}); do systemctl restart governed; done"
    machine.good("sh", "-c", restarts)
    check_first_sockets(machine, RESTARTS)
    machine.signal_main("sockpol", "STOP")
    machine.good("sh", "-c", restarts)
    machine.signal_main("sockpol", "CONT")
    check_first_sockets(machine, 2 * RESTARTS)  # nor does it need an agent that is quick


def test_agent_restarts(machine, _):
    settle(machine)
    with Flood(machine):
        for _ in range(LIVES):
            machine.good("systemctl", "restart", "sockpol")
            old = main_pid(machine)
            machine.signal_main("sockpol", "KILL")
            wait_for("systemd to have seen it", "auto-restart",
                     lambda: machine.show("sockpol", "SubState"))
            check("governed while it is dead", True, is_governed(machine))
            machine.good("systemctl", "restart", "sockpol")  # now, not after RestartSec=
            wait_new_agent(machine, old)
    machine.good("systemctl", "reload", "sockpol")


def test_watchdog(machine, _):
    """An agent that hangs is replaced; meanwhile nothing changes for anyone."""
    settle(machine)
    machine.check_show("sockpol", WatchdogUSec="30s")
    drop_in(machine, "WatchdogSec=3s\nRestartSec=100ms")
    old, before = main_pid(machine), machine.show("sockpol", "WatchdogTimestampMonotonic")
    wait_for("an answer to the watchdog", True,
             lambda: machine.show("sockpol", "WatchdogTimestampMonotonic") != before)
    check("the agent that answers lives", old, main_pid(machine))
    with Flood(machine):
        machine.signal_main("sockpol", "STOP")
        check("governed while it hangs", True, is_governed(machine))
        wait_new_agent(machine, old)
    check("the watchdog in the journal", True,
          any("Watchdog timeout" in entry["MESSAGE"]
              for entry in machine.journal("_PID=1", "UNIT=sockpol.service")))


def test_daemon_reexec(machine, _):
    settle(machine)
    drop_in(machine, "WatchdogSec=3s")
    pid = main_pid(machine)
    with Flood(machine):
        machine.good("systemctl", "daemon-reexec")
        before = machine.show("sockpol", "WatchdogTimestampMonotonic")
        wait_for("an answer to the watchdog", True,
                 lambda: machine.show("sockpol", "WatchdogTimestampMonotonic") != before)
        machine.good("systemctl", "reload", "sockpol")
        check("the agent is the same", pid, main_pid(machine))
    machine.check_show("sockpol", ActiveState="active", NRestarts="0",
                       StatusText=in_force(machine))


def test_upgrade(machine, scene):
    """Files are replaced below a running agent, then it is restarted."""
    settle(machine)
    with Flood(machine):
        old = main_pid(machine)
        scene.make(machine, "install")
        machine.good("systemctl", "daemon-reload")
        machine.good("systemctl", "reload", "sockpol")  # by the new program, of the old agent
        machine.good("systemctl", "try-restart", "sockpol")
        wait_new_agent(machine, old)


def test_upgrade_to_another_abi(machine, scene):
    """What is pinned cannot be adopted: the new is built beside the old, and the other way round."""
    settle(machine)
    with Flood(machine):
        for program in (scene.other_abi, scene.sockpol):
            old = main_pid(machine)
            machine.install(program, "/usr/bin/sockpol.new")
            machine.rename("/usr/bin/sockpol.new", "/usr/bin/sockpol")
            machine.good("systemctl", "try-restart", "sockpol")
            wait_new_agent(machine, old)
            machine.good("systemctl", "reload", "sockpol")


def test_stop_and_detach(machine, _):
    settle(machine)
    with Flood(machine):
        machine.good("systemctl", "stop", "sockpol")
        check("governed after systemctl stop", True, is_governed(machine))
    stays = "stopped: 1 policy stays in force (sockpol detach takes it out)"
    machine.check_show("sockpol", ActiveState="inactive", Result="success", StatusText=stays)
    check("the journal says so", True,
          stays in [entry["MESSAGE"] for entry in machine.journal("-u", "sockpol")])
    machine.good("sockpol", "detach")
    check("pins after a detach", [], pins(machine))
    check("governed after a detach", False, is_governed(machine))
    machine.good("systemctl", "start", "sockpol")
    check("governed after a start", True, is_governed(machine))


def test_uninstall(machine, scene):
    """As the README says; nothing of it is left."""
    settle(machine)
    machine.good("systemctl", "disable", "--now", "sockpol")
    machine.good("sockpol", "detach", "--all")
    scene.make(machine, "uninstall")
    machine.good("systemctl", "daemon-reload")
    machine.check_show("sockpol", LoadState="not-found")
    check("pins", [], pins(machine))
    check("governed", False, is_governed(machine))
    check("files that are left", "", machine.good(
        "find", "/usr", "/etc/systemd", "/run", "-name", "*sockpol*", "-not", "-path", "/run/log/*",
        "-not", "-path", "/run/sockpol"))  # with the policies there, like those in /etc
