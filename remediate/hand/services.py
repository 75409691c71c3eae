"""What services left behind, and what is removed of it for good."""

import contextlib
import glob
import os
import re
from typing import Any, List, Optional

from remediate.hand.commands import result, run
from remediate.hand.files import Json, Refused, State

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OF_THE_CACHE = ("cache.db", "queue", "incomplete", "invalid")
BESIDE_DISKS = ("disk.info", "disk.config")
ALIVE = ":-)"
BEHIND = (3, 4, 5)
LONG_TIMEOUT = 840  # a schema whose change is broken off is none


class _Final:
    """What is done for good."""

    def __init__(self, hand: Any, step: Json) -> None:
        self.step = step

    def look(self) -> State:
        raise NotImplementedError

    def undo(self, number: int, before: State) -> None:
        raise Refused("it cannot be undone")

    def _preview(self, before: State, after: State, what: str, why: str) -> Json:
        diff = [what, "  cannot be undone: " + why] if before != after else []
        return {"before": before, "after": after, "diff": diff, "managed": ""}


class CinderRow(_Final):
    """A row of Cinder's service list, as `cinder-manage service list` shows it."""

    def look(self) -> State:
        return {"there": self._state() is not None}

    def preview(self) -> Json:
        what = "%s %s: removed from Cinder's service list" % (self.step["binary"], self.step["row"])
        return self._preview(self.look(), {"there": False}, what, "it comes back when such a service reports")

    def do(self, number: int) -> None:
        state = self._state()
        if state == ALIVE:
            raise Refused("%s on %s is up by now" % (self.step["binary"], self.step["row"]))
        if state is not None:
            self._manage("remove", self.step["binary"], self.step["row"])

    def _state(self) -> Optional[str]:
        """How the list draws its state; None where it is not listed."""
        for line in self._manage("list").splitlines():
            words = line.split()
            if words[:2] == [self.step["binary"], self.step["row"]]:
                return next((word for word in words if word in (ALIVE, "XXX")), "")
        return None

    def _manage(self, *words: str) -> str:
        """As the service's own account: the log that it writes belongs to that."""
        return run(["runuser", "-u", self.step["account"], "--", "cinder-manage", "service", *words])


class _Schema(_Final):
    """A schema that is brought to a state while the service is stopped."""

    program = ""

    def wanted(self) -> State:
        raise NotImplementedError

    def preview(self) -> Json:
        before, after = self.look(), self.wanted()
        what = "%s db sync: the schema is %s -> %s" % (self.program, *map(_words, (before, after)))
        return self._preview(before, after, what, "what was before is in the dump")

    def do(self, number: int) -> None:
        if self.look() == self.wanted():
            return
        run(["systemctl", "stop", self.step["unit"]])
        try:
            run(self.manage("sync"), LONG_TIMEOUT)
        finally:
            run(["systemctl", "start", self.step["unit"]])

    def manage(self, verb: str) -> List[str]:
        return ["runuser", "-u", self.step["account"], "--", self.program, "db", verb]


def _words(state: State) -> str:
    """How a schema's state is told."""
    if "behind" in state:
        return "behind the code" if state["behind"] else "as the code wants it"
    return str(state["version"])


class CinderSchema(_Schema):
    """The version of the schema, as `cinder-manage db version` tells it; the newest is the step's."""

    program = "cinder-manage"

    def look(self) -> State:
        return {"version": (run(self.manage("version")).split() or [""])[-1]}

    def wanted(self) -> State:
        return {"version": self.step["version"]}


class GlanceSchema(_Schema):
    """Whether the schema is behind the code, as `glance-manage db check` tells by its exit code."""

    program = "glance-manage"

    def look(self) -> State:
        rc, out, err = result(self.manage("check"))
        if rc not in (0, *BEHIND):
            raise Refused("glance-manage db check ended with %d: %s" % (rc, (err or out).strip()[-300:]))
        return {"behind": rc in BEHIND}

    def wanted(self) -> State:
        return {"behind": False}


class EmptyCache(_Final):
    """A folder of copies of images, by whose ids they are named."""

    def look(self) -> State:
        return {"files": len(self._copies())}

    def preview(self) -> Json:
        copies = self._copies()
        size = sum(os.path.getsize(path) for path in copies)
        what = "%s: %d copies of images, %d bytes, removed" % (self.step["path"], len(copies), size)
        return self._preview({"files": len(copies)}, {"files": 0}, what, "the images themselves stay in their store")

    def do(self, number: int) -> None:
        for path in self._copies():
            os.unlink(path)

    def _copies(self) -> List[str]:
        """Copies that are whole or half; raises Refused where something else lies with them."""
        found: List[str] = []
        for folder, _, names in os.walk(self.step["path"]):
            inside = os.path.relpath(folder, self.step["path"])
            if inside != "." and inside not in OF_THE_CACHE:
                raise Refused("%s is none of the image cache's" % folder)
            strange = [name for name in names if not UUID.fullmatch(name) and name not in OF_THE_CACHE]
            if strange:
                raise Refused("%s: %s is no copy of an image" % (folder, strange[0]))
            found += [os.path.join(folder, name) for name in names if UUID.fullmatch(name)]
        return sorted(found)


class Job(_Final):
    """A unit that does its work once; whether it did is told by when the newest of what it makes was written."""

    def look(self) -> State:
        asked = ["systemctl", "show", "--property=Type,LoadState", self.step["unit"]]
        shown = dict(line.split("=", 1) for line in run(asked).splitlines() if "=" in line)
        if shown.get("LoadState") != "loaded" or shown.get("Type") != "oneshot":
            raise Refused("%s is no unit of this host that does its work and ends (Type=oneshot)" % self.step["unit"])
        return {"written": max([os.stat(path).st_mtime_ns for path in glob.glob(self.step["path"])], default=0)}

    def preview(self) -> Json:
        what = "%s: started, and waited for" % self.step["unit"]
        return self._preview(self.look(), {"written": "anew"}, what, "what it makes stays")

    def do(self, number: int) -> None:
        run(["systemctl", "start", self.step["unit"]], LONG_TIMEOUT)


class BaseImages(_Final):
    """Copies of images that nova-compute downloaded, on a host without local disks: nothing can be based on them."""

    def look(self) -> State:
        return {"files": len(self._copies())}

    def preview(self) -> Json:
        copies = self._copies()
        what = "%s: %d base images, %d bytes, removed" % (self._folder, len(copies), sum(map(os.path.getsize, copies)))
        return self._preview({"files": len(copies)}, {"files": 0}, what, "the images themselves stay in their store")

    def do(self, number: int) -> None:
        for path in self._copies():
            os.unlink(path)

    @property
    def _folder(self) -> str:
        return os.path.join(self.step["path"], "_base")

    def _copies(self) -> List[str]:
        """Those that are there; raises Refused where something may be based on one, or has one open."""
        paths = [os.path.join(self._folder, name) for name in self.step["names"]]
        there = [path for path in paths if os.path.exists(path)]
        if there:
            self._refuse_local_disks()
            _refuse_open(there)
        return there

    def _refuse_local_disks(self) -> None:
        for folder, _, names in os.walk(self.step["path"]):
            disks = [name for name in names if name.startswith("disk") and not name.startswith(BESIDE_DISKS)]
            if disks and folder != self._folder:
                raise Refused("%s is a local disk, which may be based on one" % os.path.join(folder, disks[0]))


def _refuse_open(paths: List[str]) -> None:
    wanted = {os.path.realpath(path) for path in paths}
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended meanwhile
            for name in os.listdir("/proc/%s/fd" % process):
                if os.path.realpath("/proc/%s/fd/%s" % (process, name)) in wanted:
                    raise Refused("process %s has a base image open" % process)
