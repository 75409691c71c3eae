"""libvirt's storage pools on a target of iSCSI: defined, running, and started with libvirt."""

from typing import Any, Dict, Optional
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from remediate.hand import files
from remediate.hand.commands import VIRSH, run
from remediate.hand.files import Json, State

SOURCE = {
    "host": ("source/host", "name"),
    "port": ("source/host", "port"),
    "target": ("source/device", "path"),
    "initiator": ("source/initiator/iqn", "name"),
    "user": ("source/auth", "username"),
    "secret": ("source/auth/secret", "usage"),
}
"""Where a definition has what a step says."""
OF_THE_SOURCE = {path.split("/")[1] for path, _ in SOURCE.values()}


class StoragePool:
    """A pool; what it is defined as is that after its next start."""

    def __init__(self, hand: Any, step: Json) -> None:
        self.hand, self.step, self.name = hand, step, step["name"]

    def look(self) -> State:
        xml = self._xml()
        if xml is None:
            return {"defined": {}, "active": False, "autostart": False}
        told = dict(line.partition(":")[::2] for line in run([*VIRSH, "pool-info", self.name]).splitlines())
        return {
            "defined": definition(xml),
            "active": told.get("State", "").strip() == "running",
            "autostart": told.get("Autostart", "").strip() == "yes",
        }

    def preview(self) -> Json:
        before = self.look()
        wanted = self._wanted() or before["defined"]
        after = {"defined": wanted, "active": True, "autostart": True}
        diff = [
            "pool %s: %s %s -> %s" % (self.name, key, before["defined"].get(key) or "nothing", wanted[key])
            for key in sorted(wanted)
            if before["defined"].get(key) != wanted[key]
        ]
        words = {"active": ("stopped", "running"), "autostart": ("started by hand", "started with libvirt")}
        diff += ["pool %s: %s -> %s" % (self.name, *words[key]) for key in words if before[key] != after[key]]
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        before, xml = self.look(), self._xml()
        if xml is not None:
            files.keep(self.hand.kept(number, ".xml"), xml.encode())
        wanted = self._wanted()
        if wanted and wanted != before["defined"]:
            self._define(led(xml, rendered(self.name, wanted, _uuid(xml))))
        if not before["autostart"]:
            run([*VIRSH, "pool-autostart", self.name])
        if not before["active"]:
            run([*VIRSH, "pool-start", self.name])

    def undo(self, number: int, before: State) -> None:
        now = self.look()
        if now["active"] and not before["active"]:
            run([*VIRSH, "pool-destroy", self.name])
        if not before["defined"]:
            if now["defined"]:
                run([*VIRSH, "pool-undefine", self.name])
            return
        if now["defined"] != before["defined"]:
            self._define(files.kept(self.hand.kept(number, ".xml")).decode())
        if not before["autostart"]:
            run([*VIRSH, "pool-autostart", "--disable", self.name])

    def _wanted(self) -> Dict[str, str]:
        """What it is to be defined as; nothing where that stays."""
        told = self.step["source"]
        return dict(dict.fromkeys(SOURCE, ""), type=self.step["type"], **told) if told else {}

    def _xml(self) -> Optional[str]:
        """Its definition, None where there is none; raises Refused where libvirt does not answer."""
        there = self.name in run([*VIRSH, "pool-list", "--all", "--name"]).split()
        return run([*VIRSH, "pool-dumpxml", "--inactive", self.name]) if there else None

    def _define(self, xml: str) -> None:
        with files.private(xml) as file:
            run([*VIRSH, "pool-define", file.name])


def definition(xml: str) -> Dict[str, str]:
    """What a definition says of where the pool leads."""
    root = ElementTree.fromstring(xml)
    found = {"type": root.get("type") or ""}
    for key, (path, name) in SOURCE.items():
        element = root.find(path)
        found[key] = str(element.get(name) or "") if element is not None else ""
    return found


def rendered(name: str, told: Dict[str, str], uuid: str) -> str:
    """A definition; a pool that is defined anew keeps its uuid."""

    def element(text: str, *keys: str) -> str:
        return text % tuple(quoteattr(told[key]) for key in keys) if all(told[key] for key in keys[:1]) else ""

    port = " port=%s" % quoteattr(told["port"]) if told["port"] else ""
    kernel = "<target><path>/dev/disk/by-path</path></target>" if told["type"] == "iscsi" else ""
    return "".join(
        [
            "<pool type=%s><name>%s</name>" % (quoteattr(told["type"]), name),
            "<uuid>%s</uuid>" % uuid if uuid else "",
            "<source><host name=%s%s/>" % (quoteattr(told["host"]), port),
            element("<device path=%s/>", "target"),
            element("<initiator><iqn name=%s/></initiator>", "initiator"),
            element("<auth type='chap' username=%s><secret usage=%s/></auth>", "user", "secret"),
            "</source>%s</pool>" % kernel,
        ]
    )


def led(old: Optional[str], new: str) -> str:
    """The old definition with the source that a new one has; what else it says stays, where it is of one type."""
    if old is None:
        return new
    kept, told = (ElementTree.fromstring(xml) for xml in (old, new))
    source, fresh = kept.find("source"), told.find("source")
    if source is None or fresh is None or kept.get("type") != told.get("type"):
        return new
    source[:] = [*fresh, *(one for one in source if one.tag not in OF_THE_SOURCE)]
    return ElementTree.tostring(kept, encoding="unicode")


def _uuid(xml: Optional[str]) -> str:
    return ElementTree.fromstring(xml).findtext("uuid") or "" if xml else ""
