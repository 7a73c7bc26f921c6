# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a governed socket must show, from what an ungoverned one shows in the same life.

Written from sockpol.policy(5) alone.
"""

import dataclasses
import errno

UNKNOWN = (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL)


@dataclasses.dataclass
class Seen:
    """Of one option at one step: when the step came, what became of the application's call (None: it
    made none; else its errno), and what is there then."""

    arrived: object
    error: object = None
    left: object = None
    value: object = None  # what the application set


def is_given(group, row, scene, step):
    """Whether the policy gives the option at that step."""
    form = group.form
    if group.gives_nothing:
        return False
    if step == "new":
        return row["at_socket"] and form.at_socket and scene.socket
    if step not in scene.moments:
        return False
    direction, stages = scene.moments[step]
    if not form.holds(scene, direction):
        return False
    if group.form_name == "place" and scene.name == "accept/tcp/mapped" and step == "listening":
        return False  # it listens everywhere
    if group.form_name == "base" and scene.transport == "tcp" and direction == "listen" and not row["carried"]:
        return False
    return any(stage.startswith(stages) for stage in row["hooks"][direction])


class Option:
    """One option of a policy on one socket, step by step."""

    def __init__(self, group, name, row, entry, scene):
        self.group, self.name, self.row, self.entry, self.scene = group, name, row, entry, scene
        self.governed = self.tainted = False
        self.now = self.control = None  # what is there now, on either
        self.own = None  # what the application has set

    def policys(self):
        return self.entry.show(self.entry.range.within if self.group.has_range else self.entry.policy)

    def clamped(self, value):
        bounds = self.entry.range
        return self.entry.show(min(max(value, bounds.least), bounds.most))

    def given(self, control):
        """What the moment makes of it; `control`: what is there without a policy."""
        mode = self.group.mode
        counts = self.own is not None and control == self.control
        if mode == "respect" and counts:
            return control
        if self.group.has_range and counts:
            return self.clamped(self.own)
        return control if mode == "range" else self.policys()

    def again_perhaps(self, step):
        """Sends do without what socket(2) gave, unless some rule leaves it to them; SO_PRIORITY is given
        again after IP_TOS."""
        return (self.scene.name.startswith("send/udp") and step == "given" and self.row["at_socket"]
                and self.group.form.at_socket and self.group.mode == "override")

    def expect(self, step, control):
        """What must be seen where the ungoverned socket showed `control`."""
        accepted = step == "given" and "listening" in self.scene.moments
        if accepted and self.governed:
            self.tainted = True  # it has what the policy gave its listener
        if accepted:
            self.governed = False
        expected = Seen(None)
        if is_given(self.group, self.row, self.scene, step):
            expected.arrived = self.given(control.arrived)
            self.governed, self.tainted = True, False
        elif accepted or step == "new":
            expected.arrived = None if self.tainted else control.arrived
        else:
            expected.arrived = control.arrived if self.now == self.control else self.now
        if self.again_perhaps(step):
            expected.arrived = None
        self.now, self.control = expected.arrived, control.arrived
        if control.error is not None:
            self.set(expected, control)
        return expected

    def set(self, expected, control):
        mode = self.group.mode if self.governed else "override"
        if mode == "hold":
            expected.error, expected.left = 0, self.now
        elif mode == "deny":
            expected.error, expected.left = errno.EPERM, self.now
        elif control.error:
            expected.error, expected.left = control.error, self.now
        else:
            expected.error, self.own = 0, control.value
            expected.left = self.clamped(control.value) if mode in ("range", "value") else control.left
        self.now, self.control = expected.left, control.left
