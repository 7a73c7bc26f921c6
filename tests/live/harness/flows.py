# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Short ways for the life tests: connections between workers, and the marks that policies leave on them.

Most life tests ask *whether* and *which* policy was applied; SO_PRIORITY shows it, a number for each.
"""

import contextlib
import socket

from .result import check

SO_PRIORITY = (socket.SOL_SOCKET, 12)
TCP_NODELAY = (socket.IPPROTO_TCP, 1)
TCP_KEEPIDLE = (socket.IPPROTO_TCP, 4)


@contextlib.contextmanager
def listening(worker, family=socket.AF_INET, address="127.0.0.1"):
    with worker.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen(16)
        yield listener


@contextlib.contextmanager
def connection(client_worker, listener, address="127.0.0.1", family=socket.AF_INET):
    """(client, accepted)"""
    with client_worker.socket(family, socket.SOCK_STREAM) as client:
        client.connect((address, listener.port()))
        with listener.accept() as accepted:
            yield client, accepted


def connected_option(worker, option=SO_PRIORITY):
    """What a new connection out of a worker's cgroup has."""
    with listening(worker) as listener, connection(worker, listener) as (client, _):
        return client.sockopt(*option)


def accepted_option(listener, client_worker, option=SO_PRIORITY):
    """What a listener's next accepted socket has."""
    with connection(client_worker, listener) as (_, accepted):
        return accepted.sockopt(*option)


def policy(name, cgroup, options, more=""):
    """A policy's text; `options` as {name: value}, `more` is YAML at the level of the policy."""
    pattern = getattr(cgroup, "path", cgroup)
    settings = ", ".join(f"{key}: {value}" for key, value in options.items())
    text = f"  - name: {name}\n    match: {{ cgroup: \"{pattern}\" }}\n"
    if options:
        text += f"    options: {{ {settings} }}\n"
    return text + more


def policies(*texts):
    return "policies:\n" + "".join(texts)


def priority_policy(name, cgroup, priority, more=""):
    return policies(policy(name, cgroup, {"SO_PRIORITY": priority}, more))


def check_priority(what, worker, expected):
    check(f"SO_PRIORITY of a new connection: {what}", expected, connected_option(worker))


def governed_worker(box, agent, name, priority):
    """The usual beginning: a cgroup with a worker, a policy that shows, a running agent."""
    cgroup = box.cgroup.child(name)
    worker = box.worker(cgroup)
    agent.write("50-test.yaml", priority_policy(name, cgroup, priority))
    agent.start()
    check_priority("governed", worker, priority)
    return worker
