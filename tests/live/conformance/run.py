# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs the conformance cases: one agent, one configuration, a cgroup and a process for each policy."""

import contextlib
import errno
import queue
import socket
import threading

from harness import lacks
from harness import sandbox as box
from harness.result import Failure, Skip, check

from . import cases as table_of_cases
from .scenes import Place, listen

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

        def look(few, control, peer):
            with self.place(few[0], control, peer) as place:
                for case in few:
                    try:
                        self.defaults[case] = self.look_at_defaults(case, place)
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
        """Calls work(few, control, peer) for the cases, those that share sockets at a time."""
        todo = queue.SimpleQueue()
        for batch in dict.fromkeys(case.batch for case in cases):
            todo.put([case for case in cases if case.batch == batch])

        def thread():
            control, peer = self.unaware.get()
            try:
                while True:
                    batch = todo.get_nowait()
                    for sockets in dict.fromkeys(case.sockets for case in batch):
                        if self.stopping.is_set():
                            return
                        work([case for case in batch if case.sockets == sockets], control, peer)
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
        return Place(self.sandbox, worker, peer, case.look, case.family, listener)

    def look_at_defaults(self, case, place):
        """(effect, default): what an ungoverned socket shows, for each effect that can be seen here.

        The asked value must differ from the default, or the case would show nothing.
        """
        if self.unsupported[case.option]:
            raise Skip("this kernel's bpf_setsockopt does not take it: "
                       f"{self.unsupported[case.option]}")
        if case.look.stages == ("local-socket",):
            lacks.need_bpf_lsm()
            if case.family == "unix" and not lacks.unix_hooks():
                raise Skip("this kernel has hooks for AF_UNIX sockets, which come later")
        elif case.family == "unix":
            lacks.need_unix_hooks()
        shown = []
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
        """A policy for each group."""
        text = ["policies:"]
        for group in dict.fromkeys(case.group for case in self.cases):
            cases = [case for case in self.cases if case.group == group]
            options = "{ %s }" % ", ".join(f"{name}: {self.table[name].value}" for name in dict.fromkeys(
                case.option for case in cases))
            text += [f"  - name: {group}", f"    match: {{ cgroup: {self.cgroup.path}/{group} }}"]
            condition = table_of_cases.FORMS[cases[0].look.form]
            if condition:
                text += ["    rules:", "      - name: only", f"        when: {{ {condition} }}",
                         f"        options: {options}"]
            else:
                text += [f"    options: {options}"]
        return "\n".join(text) + "\n"

    @contextlib.contextmanager
    def governed(self, environment=None, sockpol=None):
        """An agent is in force; the old listeners are older."""
        with contextlib.ExitStack() as stack:
            for case in self.cases:
                if case.look.old_listener:
                    place = self.place(case, self.workers[case.group], None)
                    self.old_listeners[case] = listen(stack, place, place.worker,
                                                      place.family.wildcard)
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

        def run_few(few, control, peer):
            with (self.place(few[0], self.workers[few[0].group], peer,
                             self.old_listeners.get(few[0])) as governed,
                  self.place(few[0], control, peer) as ungoverned):
                for case in few:
                    report.run(case.name, lambda case=case: self.run_case(case, governed, ungoverned))

        self.each(self.cases, run_few)

    def run_case(self, case, governed, ungoverned):
        """That others are left alone is seen in the columns that do not share sockets."""
        asked = f"{case.option}: {self.table[case.option].value}"
        for effect, default in self.defaults[case]:
            check(f"{asked}; {effect.what}", effect.expected if case.given else default,
                  effect.look(governed))
        for effect, default in () if case.shares else self.defaults[case]:
            seen = effect.look(ungoverned)
            if effect.measured and not effect.expected == seen:
                continue
            check(f"nothing, in an ungoverned cgroup; {effect.what}",
                  f"not {effect.expected}" if effect.measured else default, seen)

    def check_refused(self, agent):
        """What the kernel refuses where it should set it would be counted."""
        refused = {f"{one['option']}: {one['errno']}" for policy in agent.status()["policies"]
                   for one in policy["failed"]}
        # MPTCP subflows: see `nowhere` in table.py.
        check("options that the kernel refused", set(), refused - {"SO_RCVLOWAT: EINVAL"})
