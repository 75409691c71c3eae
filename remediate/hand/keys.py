"""Keys that Keystone makes tokens with."""

import io
import os
import tarfile
from typing import Any, List

from remediate.hand import files
from remediate.hand.commands import run
from remediate.hand.files import Content, Json, Refused, State


class TokenKeys:
    """A folder of keys named by numbers: the highest signs, 0 is staged to be the next, the others are still taken."""

    def __init__(self, hand: Any, step: Json) -> None:
        self.hand, self.step, self.path = hand, step, step["path"]

    def look(self) -> State:
        return {"signs": max(self._keys(), default=0)}

    def preview(self) -> Json:
        before = self.look()
        if not before["signs"] or 0 not in self._keys():
            raise Refused("%s: no key that signs, or none that is staged: keystone-manage fernet_setup" % self.path)
        after = {"signs": before["signs"] + 1}
        diff = ["%s: key %d signs -> key %d, which is key 0 of now" % (self.path, before["signs"], after["signs"])]
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        signs = self.look()["signs"]
        files.keep(self.hand.kept(number), self._packed())
        run(["runuser", "-u", self.step["account"], "--", "keystone-manage", "fernet_rotate"])
        if self.look()["signs"] <= signs:
            raise Refused("Keystone rotated keys elsewhere than in %s" % self.path)

    def undo(self, number: int, before: State) -> None:
        """Have the folder as it was, times included: by them the age of a key is told."""
        with tarfile.open(fileobj=io.BytesIO(files.kept(self.hand.kept(number)))) as archive:
            were = archive.getmembers()
            for member in were:
                self._put(member, archive)
        for name in {str(number) for number in self._keys()} - {member.name for member in were}:
            os.unlink(os.path.join(self.path, name))

    def _keys(self) -> List[int]:
        return [int(name) for name in os.listdir(self.path) if name.isdigit()]

    def _packed(self) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for number in self._keys():
                archive.add(os.path.join(self.path, str(number)), str(number))
        return packed.getvalue()

    def _put(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        data = archive.extractfile(member)
        if data is None:
            raise Refused("%s/%s was no file" % (self.path, member.name))
        path = os.path.join(self.path, member.name)
        owner, group = member.uname or str(member.uid), member.gname or str(member.gid)
        files.put(path, Content("file", owner, group, member.mode, data.read()), self.hand.tag)
        os.utime(path, (member.mtime, member.mtime))
