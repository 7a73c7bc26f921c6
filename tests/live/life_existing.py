# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sockets that are there already: `existing: apply`, `sockpol apply` and its --reset, `sockpol sockets`."""

from harness.flows import check_priority, governed_worker, priority_policy
from harness.result import check

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
