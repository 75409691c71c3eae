"""Targets of tgt: who may log in to them, as tgtd has it and as its files keep it."""

import re
from typing import Any, Dict, List, Tuple

from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.tgt_conf import conf_files, directive
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
        before, wanted = self.look(), self._wanted()
        both = sorted(name for kind in KINDS for name in wanted[kind])
        after = {"kept": wanted, "live": both}
        diff = []
        if before["kept"] != wanted:
            diff.append("%s: %s -> %s" % (self._path(), _shown(before["kept"]), _shown(wanted)))
        if before["live"] != both:
            diff.append("%s, now: %s -> %s" % (self.target, ", ".join(before["live"]) or "nobody", ", ".join(both)))
        managed = files.managed_by(files.read(self._path())) if before["kept"] != wanted else ""
        return {"before": before, "after": after, "diff": diff, "managed": managed}

    def do(self, number: int) -> None:
        wanted, path = self._wanted(), self._path()
        old = files.read(path)
        if old is not None and self._kept() != wanted:
            files.keep(self.hand.kept(number), old.data)
            files.put(path, old.with_text(self._with(old.text(), wanted)), self.hand.tag)
        self._bring([name for kind in KINDS for name in wanted[kind]])

    def undo(self, number: int, before: State) -> None:
        if self._kept() != before["kept"]:
            self._put_back(files.kept(self.hand.kept(number)), before["kept"])
        self._bring(before["live"])

    def _put_back(self, was: bytes, lists: Dict[str, List[str]]) -> None:
        """The file as it was to the byte; where somebody changed more of it since, the lists only."""
        path = self._path()
        now = files.read(path)
        if now is not None:
            old = now._replace(data=was)
            ours = now.text() == self._with(old.text(), self._wanted())
            files.put(path, old if ours else now.with_text(self._with(now.text(), lists)), self.hand.tag)

    def _wanted(self) -> Dict[str, List[str]]:
        return {kind: sorted(self.step[kind]) for kind in KINDS}

    # the files

    def _path(self) -> str:
        """The file that has the target."""
        heading = re.compile(r"^\s*<target\s+%s\s*>" % re.escape(self.target), re.MULTILINE)
        for path in _conf_files():
            found = files.read(path)
            if found is not None and heading.search(found.text()):
                return path
        raise Refused("no file of tgt has the target %s" % self.target)

    def _parts(self, text: str) -> Tuple[str, List[str], str]:
        """What is before the target's lines, those lines, and what is behind."""
        lines = r"(?ms)\A(.*?^\s*<target\s+%s\s*>[^\n]*\n)(.*?)(^\s*</target>.*)\Z"
        whole = re.search(lines % re.escape(self.target), text)
        if whole is None:
            raise Refused("%s: the target %s is not closed" % (self._path(), self.target))
        return whole.group(1), whole.group(2).splitlines(True), whole.group(3)

    def _kept(self) -> Dict[str, List[str]]:
        found = files.read(self._path())
        told = [directive(line) for line in self._parts(found.text() if found else "")[1]]
        return {kind: sorted(value for key, value in told if key == name) for kind, name in KINDS.items()}

    def _with(self, text: str, wanted: Dict[str, List[str]]) -> str:
        """The file's text with other lists, where the first line of them stood; else at the head of the target."""
        head, lines, tail = self._parts(text)
        theirs = [directive(line)[0] in KINDS.values() for line in lines]
        place = theirs.index(True) if True in theirs else 0
        new = ["    %s %s\n" % (KINDS[kind], name) for kind in KINDS for name in wanted[kind]]
        rest = [line for line, its in zip(lines, theirs) if not its]
        return "".join([head, *rest[:place], *new, *rest[place:], tail])

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


def _conf_files() -> List[str]:
    try:
        return conf_files(CONF)
    except StepFailed as error:
        raise Refused(str(error))


def _shown(kept: Dict[str, List[str]]) -> str:
    return ", ".join(name for kind in KINDS for name in kept[kind]) or "everybody"
