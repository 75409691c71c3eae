"""What services left behind, and what is removed of it for good."""

import os
import re
from typing import Any, List, Optional

from remediate.hand.commands import result, run
from remediate.hand.files import Json, Refused, State

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OF_THE_CACHE = ("cache.db", "queue", "incomplete", "invalid")
ALIVE = ":-)"
BEHIND = (3, 4, 5)
SYNC_TIMEOUT = 150


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


class GlanceSchema(_Final):
    """Whether the schema is behind the code, as `glance-manage db check` tells by its exit code."""

    def look(self) -> State:
        rc, out, err = result(self._manage("check"))
        if rc not in (0, *BEHIND):
            raise Refused("glance-manage db check ended with %d: %s" % (rc, (err or out).strip()[-300:]))
        return {"behind": rc in BEHIND}

    def preview(self) -> Json:
        what = "the schema of Glance's database: behind the code -> as the code wants it"
        return self._preview(self.look(), {"behind": False}, what, "what was before is in the dump")

    def do(self, number: int) -> None:
        if not self.look()["behind"]:
            return
        run(["systemctl", "stop", self.step["unit"]])
        try:
            run(self._manage("sync"), SYNC_TIMEOUT)
        finally:
            run(["systemctl", "start", self.step["unit"]])

    def _manage(self, verb: str) -> List[str]:
        return ["runuser", "-u", self.step["account"], "--", "glance-manage", "db", verb]


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
