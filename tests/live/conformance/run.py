# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs the conformance cases: one agent, one configuration, a cgroup and a process for each policy."""

import contextlib
import errno
import queue
import socket
import threading

from harness import sandbox as box
from harness.lacks import need_unix_hooks
from harness.result import Failure, Skip, check

from . import cases as table_of_cases
from .scenes import FAMILIES, Place, listen

FILE = "conformance.yaml"


class Conformance:
    """`cases` are those to be run, all of them unless told otherwise."""

    def __init__(self, sandbox, options, jobs=2):
        self.sandbox, self.jobs = sandbox, jobs
        index = socket.if_nametoindex(box.DEVICE)
        self.cases, problems, self.table = table_of_cases.generate(options, index)
        check("a conformance case for each row of the option table", [], problems)
        self.cgroup = sandbox.cgroup.child("conformance")
        self.workers = {}
        self.unsupported = {row["name"]: row["errno"] for row in options}
        self.defaults = {}
        self.skipped = {}
        self.blind = {}  # what they ask for is there without asking, or no default can be seen
        self.old_listeners = {}
        self.stopping = threading.Event()
        self.unaware = queue.SimpleQueue()  # (control, peer): no policy governs them

    def prepare(self):
        """Starts the processes, and looks at the defaults while no agent runs."""
        for group in sorted({case.group for case in self.cases}):
            self.workers[group] = self.sandbox.worker(self.cgroup.child(group))
        for number in range(self.jobs):
            self.unaware.put(tuple(self.sandbox.worker(self.cgroup.child(f"{role}{number}"))
                                   for role in ("control", "peer")))
        errors = []

        def look(case, control, peer):
            try:
                self.defaults[case] = self.look_at_defaults(case, control, peer)
            except Skip as why:
                self.skipped[case] = why
            except Failure as failure:
                self.blind[case] = failure
            except Exception as error:  # raised again below: this is another thread
                errors.append(error)

        self.each(self.cases, look)
        if errors:
            raise errors[0]
        self.cases = [case for case in self.cases if case in self.defaults]

    def each(self, cases, work):
        """Calls work(case, control, peer) for each case; the cases of one option in one thread."""
        todo = queue.SimpleQueue()
        for option in dict.fromkeys(case.option for case in cases):
            todo.put([case for case in cases if case.option == option])

        def thread():
            control, peer = self.unaware.get()
            try:
                while True:
                    for case in todo.get_nowait():
                        if self.stopping.is_set():
                            return
                        work(case, control, peer)
            except queue.Empty:
                pass
            finally:
                self.unaware.put((control, peer))

        threads = [threading.Thread(target=thread) for _ in range(self.jobs)]
        try:
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        except BaseException:  # a signal: nobody may use what is about to go
            self.stopping.set()
            for one in threads:
                if one.ident:
                    one.join()
            raise

    def place(self, case, worker, peer, listener=None):
        return Place(self.sandbox, worker, peer, case.look.role, case.look.protocol, case.family,
                     listener)

    def look_at_defaults(self, case, control, peer):
        """(effect, default): what an ungoverned socket shows, for each effect that can be seen here.

        The asked value must differ from the default, or the case would show nothing.
        """
        if self.unsupported[case.option]:
            raise Skip("this kernel's bpf_setsockopt does not take it: "
                       f"{self.unsupported[case.option]}")
        if case.family == "unix":
            need_unix_hooks()
        shown = []
        with self.place(case, control, peer) as place:
            for effect in self.table[case.option].effects_for(case.look):
                try:
                    default = effect.look(place)
                except OSError as error:
                    if error.errno != errno.ENOPROTOOPT:
                        raise
                    continue  # older kernels set some options that they do not show
                if effect.expected == default:
                    raise Failure(f"{case.name}: a value that differs from the default: "
                                  f"{effect.what}", f"not {effect.expected}", default)
                shown.append((effect, default))
        if not shown:
            raise Skip("this kernel does not show it to applications")
        return shown

    def policies(self):
        """A policy for each group, with its only option."""
        text = ["policies:"]
        for case in {case.group: case for case in self.cases}.values():
            option = f"{{ {case.option}: {self.table[case.option].value} }}"
            text += [f"  - name: {case.group}",
                     f"    match: {{ cgroup: {self.cgroup.path}/{case.group} }}"]
            condition = table_of_cases.FORMS[case.look.form]
            if condition:
                text += ["    rules:", "      - name: only", f"        when: {{ {condition} }}",
                         f"        options: {option}"]
            else:
                text += [f"    options: {option}"]
        return "\n".join(text) + "\n"

    @contextlib.contextmanager
    def governed(self, environment=None, sockpol=None):
        """An agent is in force; the old listeners are older."""
        with contextlib.ExitStack() as stack:
            for case in self.cases:
                if case.look.old_listener:
                    family = FAMILIES[case.family][1]
                    self.old_listeners[case] = listen(stack, self.workers[case.group], family,
                                                      family.wildcard)
            agent = self.sandbox.agent("conformance", environment=environment, sockpol=sockpol)
            agent.write(FILE, self.policies())
            stack.enter_context(agent)
            agent.start()
            yield agent
            agent.stop()

    def run(self, report):
        """Runs every case that can be seen here; an agent is in force."""
        for case, why in self.skipped.items():
            report.skip(case.name, why)
        for case, failure in self.blind.items():
            report.fail(case.name, failure)
        self.each(self.cases, lambda case, control, peer:
                  report.run(case.name, lambda: self.run_case(case, control, peer)))

    def run_case(self, case, control, peer):
        asked = f"{case.option}: {self.table[case.option].value}"
        listener = self.old_listeners.get(case)
        with self.place(case, self.workers[case.group], peer, listener) as place:
            for effect, _ in self.defaults[case]:
                check(f"{asked}; {effect.what}", effect.expected, effect.look(place))
        with self.place(case, control, peer) as place:
            for effect, default in self.defaults[case]:
                seen = effect.look(place)
                if effect.measured and not effect.expected == seen:
                    continue
                check(f"nothing, in an ungoverned cgroup; {effect.what}",
                      f"not {effect.expected}" if effect.measured else default, seen)
