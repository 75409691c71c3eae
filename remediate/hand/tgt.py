"""Targets of tgt: who may log in to them, as tgtd has it and as its files keep it."""

import glob
import os
import re
from typing import Any, Dict, List, Tuple

from remediate.hand import files
from remediate.hand.commands import run
from remediate.hand.files import Json, Refused, State

CONF = "/etc/tgt/targets.conf"
KINDS = {"addresses": "initiator-address", "names": "initiator-name"}
TGTADM = ["tgtadm", "--lld", "iscsi"]


class TgtAccess:
    """A target's access lists: addresses and names of initiators."""

    def __init__(self, hand: Any, step: Json) -> None:
        self.hand, self.step, self.target = hand, step, step["target"]

    def look(self) -> State:
        return {"kept": self._kept(), "live": self._live()[1]}

    def preview(self) -> Json:
        before, wanted = self.look(), {kind: sorted(self.step[kind]) for kind in KINDS}
        both = sorted(name for kind in KINDS for name in wanted[kind])
        after = {"kept": wanted, "live": both}
        diff = []
        if before["kept"] != wanted:
            diff.append("%s: %s -> %s" % (self._path(), _shown(before["kept"]), _shown(wanted)))
        if before["live"] != both:
            diff.append("%s, now: %s -> %s" % (self.target, ", ".join(before["live"]) or "nobody", ", ".join(both)))
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        wanted = {kind: sorted(self.step[kind]) for kind in KINDS}
        self._keep(wanted)
        self._bring([name for kind in KINDS for name in wanted[kind]])

    def undo(self, number: int, before: State) -> None:
        self._keep(before["kept"])
        self._bring(before["live"])

    # the files

    def _path(self) -> str:
        """The file that has the target."""
        heading = re.compile(r"^\s*<target\s+%s\s*>" % re.escape(self.target), re.MULTILINE)
        for path in included(CONF):
            found = files.read(path)
            if found is not None and heading.search(found.text()):
                return path
        raise Refused("no file of tgt has the target %s" % self.target)

    def _parts(self) -> Tuple[str, List[str], str]:
        """What is before the target's lines, those lines, and what is behind."""
        found = files.read(self._path())
        text = found.text() if found else ""
        whole = re.search(
            r"(?s)\A(.*?<target\s+%s\s*>[^\n]*\n)(.*?)(^\s*</target>.*)\Z" % re.escape(self.target), text, re.MULTILINE
        )
        if whole is None:
            raise Refused("%s: the target %s is not closed" % (self._path(), self.target))
        return whole.group(1), whole.group(2).splitlines(True), whole.group(3)

    def _kept(self) -> Dict[str, List[str]]:
        lines = [line.split() for line in self._parts()[1]]
        return {
            kind: sorted(words[1] for words in lines if words[:1] == [directive] and len(words) > 1)
            for kind, directive in KINDS.items()
        }

    def _keep(self, wanted: Dict[str, List[str]]) -> None:
        if self._kept() == wanted:
            return
        path, (head, lines, tail) = self._path(), self._parts()
        rest = [line for line in lines if line.split()[:1] not in [[directive] for directive in KINDS.values()]]
        new = ["    %s %s\n" % (KINDS[kind], name) for kind in KINDS for name in wanted[kind]]
        old = files.read(path)
        if old is not None:
            files.put(path, old.with_text("".join([head, *new, *rest, tail])), self.hand.tag)

    # tgtd

    def _live(self) -> Tuple[str, List[str]]:
        """The target's number, and whom it lets in."""
        for block in re.split(r"^Target ", run([*TGTADM, "--op", "show", "--mode", "target"]), flags=re.MULTILINE):
            head, _, rest = block.partition("\n")
            number, _, name = head.partition(": ")
            if name.strip() == self.target:
                told = rest.partition("    ACL information:\n")[2]
                return number, sorted(line.strip() for line in told.splitlines() if line.strip())
        raise Refused("tgt does not run, or exports no %s" % self.target)

    def _bring(self, wanted: List[str]) -> None:
        number, now = self._live()
        for op, names in (("bind", set(wanted) - set(now)), ("unbind", set(now) - set(wanted))):
            for name in sorted(names):
                kind = KINDS["names"] if re.match(r"(iqn|eui|naa)\.", name) else KINDS["addresses"]
                run([*TGTADM, "--op", op, "--mode", "target", "--tid", number, "--" + kind, name])


def included(path: str, depth: int = 4) -> List[str]:
    """The file, and those that it includes."""
    found = files.read(path) if os.path.exists(path) else None
    named = re.findall(r"^\s*include\s+(\S+)", found.text(), re.MULTILINE) if found and depth else []
    others = (other for pattern in named for other in sorted(glob.glob(pattern)))
    return [path, *(one for other in others for one in included(other, depth - 1))]


def _shown(kept: Dict[str, List[str]]) -> str:
    return ", ".join(name for kind in KINDS for name in kept[kind]) or "everybody"
