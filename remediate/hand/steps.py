"""The kinds of steps that are taken on a host: what is there, what would be, and how to bring it about."""

import os
import re
from typing import Any, Callable, Dict, List, Optional
from xml.sax.saxutils import escape

from remediate.hand import cells, ceph_ini, edits, files, ini, keys, packages, pools, services, tgt
from remediate.hand.commands import VIRSH, result, run
from remediate.hand.files import Content, Json, Refused, State

SECRETS = "/etc/libvirt/secrets"
KEYRINGS = "/etc/ceph"
DIRECTORY_MODE = 0o755
TRIES = 5


class Hand:
    """What the steps of one request share.

    Args:
        store: Folder for what the way back needs.
        tag: Marks this run's new files, so that those of a killed try are known.
        keys: Cephx keys by entity; they came over stdin and go into files only.
    """

    def __init__(self, store: str, tag: str, keys: Dict[str, str]) -> None:
        self.store, self.tag, self.keys = store, tag, keys
        self.imagined: Dict[str, Optional[Content]] = {}

    def read(self, path: str) -> Optional[Content]:
        """What is at a path, or would be after the steps that were only imagined."""
        path = os.path.realpath(path)
        return self.imagined[path] if path in self.imagined else files.read(path)

    def key(self, entity: str) -> str:
        """The key of a cephx user."""
        if entity not in self.keys:
            raise Refused("the key of %s was not sent" % entity)
        return self.keys[entity]

    def kept(self, number: int, part: str = "") -> str:
        """Where a step's way back is kept."""
        return os.path.join(self.store, "%d%s" % (number, part))


class OnPath:
    """A step that makes a file or folder be another: the option, the content, or owner and mode only."""

    def __init__(self, hand: Hand, step: Json) -> None:
        self.hand, self.step, self.path = hand, step, step["path"]

    def look(self) -> State:
        return files.state_of(self.hand.read(self.path))

    def preview(self) -> Json:
        old = self.hand.read(self.path)
        new = self._new(old)
        self.hand.imagined[os.path.realpath(self.path)] = new
        return {
            "before": files.state_of(old),
            "after": files.state_of(new),
            "diff": files.difference(self.path, old, new),
            "managed": files.managed_by(old) if self.step["kind"] in _EDITS else "",
            "changed": os.stat(self.path).st_ctime if os.path.exists(self.path) else 0,
        }

    def do(self, number: int) -> None:
        old = files.read(self.path)
        new = self._new(old)
        if old == new:
            return
        if old is not None and old.kind == "file":
            files.keep(self.hand.kept(number), old.data)
        files.put(self.path, new, self.hand.tag)

    def undo(self, number: int, before: State) -> None:
        if before["kind"] == "absent":
            files.put(self.path, None, self.hand.tag)
            return
        data = files.kept(self.hand.kept(number)) if before["kind"] == "file" else b""
        old = Content(before["kind"], before["owner"], before["group"], int(before["mode"], 8), data)
        if old.state() != before:
            raise Refused("the copy of %s is not what it was when the run changed it" % self.path)
        files.put(self.path, old, self.hand.tag)

    def _new(self, old: Optional[Content]) -> Optional[Content]:
        return _PATH_KINDS[self.step["kind"]](self.hand, self.step, old)


def _with_option(hand: Hand, step: Json, old: Optional[Content]) -> Content:
    if old is None or old.kind != "file":
        raise Refused("%s: no such file to set an option in" % step["path"])
    edited = ceph_ini.edited if step["reader"] == "ceph" else ini.edited
    return old.with_text(edited(old.text(), step["section"], step["key"], step["value"]))


def _with_text(hand: Hand, step: Json, old: Optional[Content]) -> Optional[Content]:
    if old is not None and old.kind != "file":
        raise Refused("%s: is a folder" % step["path"])
    if step["text"] is None:
        _refuse_linked(step["path"])
        return None
    text = step["text"]
    if step["key_of"]:
        text = text.replace("{key}", hand.key(step["key_of"]))
    return _attributed(Content("file", "root", "root", 0o644), step, old)._replace(data=text.encode())


def _refuse_linked(path: str) -> None:
    """What a keyring's link leads to is in use, whatever its name."""
    for name in os.listdir(KEYRINGS) if os.path.isdir(KEYRINGS) else ():
        link = os.path.join(KEYRINGS, name)
        if os.path.islink(link) and os.path.realpath(link) == os.path.realpath(path):
            raise Refused("%s leads to %s, which is in use" % (link, path))


def _with_attributes(hand: Hand, step: Json, old: Optional[Content]) -> Content:
    if old is None:
        raise Refused("%s: is not there" % step["path"])
    return _attributed(old, step, old)


def _as_folder(hand: Hand, step: Json, old: Optional[Content]) -> Content:
    if old is not None and old.kind != "dir":
        raise Refused("%s: is a file" % step["path"])
    return _attributed(Content("dir", "root", "root", DIRECTORY_MODE), step, old)


def _rules_in_yaml(hand: Hand, step: Json, old: Optional[Content]) -> Content:
    source = hand.read(step["source"])
    if source is None or source.kind != "file":
        raise Refused("%s: no such file" % step["source"])
    new = source.with_text(edits.in_yaml(source.text(), step["source"]))
    if old is not None and old != new:
        raise Refused("%s is there, too: which of the two is meant whoever wrote them knows" % step["path"])
    return new


def _edited(edit: Callable[[str, Json], str]) -> "Callable[[Hand, Json, Optional[Content]], Content]":
    def change(hand: Hand, step: Json, old: Optional[Content]) -> Content:
        if old is None or old.kind != "file":
            raise Refused("%s: no such file" % step["path"])
        return old.with_text(edit(old.text(), step))

    return change


def _attributed(new: Content, step: Json, old: Optional[Content]) -> Content:
    """Owner, group and mode as the step says, else as they were."""
    base = old or new
    return new._replace(
        owner=step["owner"] or base.owner,
        group=step["group"] or base.group,
        mode=base.mode if step["mode"] is None else step["mode"],
    )


_PATH_KINDS: Dict[str, Callable[[Hand, Json, Optional[Content]], Optional[Content]]] = {
    "option": _with_option,
    "file": _with_text,
    "attributes": _with_attributes,
    "folder": _as_folder,
    "tidy-conf": _edited(lambda text, step: ceph_ini.tidied(text)),
    "policy-in-yaml": _rules_in_yaml,
    "sudo-rule": _edited(edits.without_sudo_rule),
    "host-name": _edited(edits.with_host_address),
}
_EDITS = ("option", "file", "tidy-conf", "sudo-rule", "host-name")


class Secret:
    """A libvirt secret with the key of a cephx user; the value goes in by a file, never by a command line."""

    def __init__(self, hand: Hand, step: Json) -> None:
        self.hand, self.step, self.uuid = hand, step, step["uuid"]

    def look(self) -> State:
        definition = _virsh_or_none("secret-dumpxml", self.uuid)
        if definition is None:
            return {"defined": False, "value": "", "private": False, "ephemeral": False}
        value = self._value()
        return {
            "defined": True,
            "value": files.digest_of(value) if value else "",
            "private": _flag(definition, "private"),
            "ephemeral": _flag(definition, "ephemeral"),
        }

    def preview(self) -> Json:
        before = self.look()
        value = files.digest_of(self.hand.key(self.step["key_of"]))
        after = {"defined": True, "value": value, "private": self.step["private"], "ephemeral": False}
        if before["private"] and not after["private"]:
            raise Refused("libvirt does not make secret %s readable again" % self.uuid)
        name = "libvirt secret %s" % self.uuid
        diff = [] if before["defined"] else ["%s: defined, for client %s" % (name, self.step["key_of"])]
        if before["value"] != value:
            diff.append("%s: value %s -> %s" % (name, before["value"] or "none", value))
        if before["defined"]:
            flags = [flag for flag in ("private", "ephemeral") if before[flag] != after[flag]]
            diff += ["%s: %s %s -> %s" % (name, flag, before[flag], after[flag]) for flag in flags]
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        definition, value = _virsh_or_none("secret-dumpxml", self.uuid), self._value()
        if definition is not None:
            files.keep(self.hand.kept(number, ".xml"), definition.encode())
        if value is not None:
            files.keep(self.hand.kept(number), value.encode())
        if definition is None or _flag(definition, "private") != self.step["private"] or _flag(definition, "ephemeral"):
            self._define(self._xml())
        if value != self.hand.key(self.step["key_of"]):
            self._set(self.hand.key(self.step["key_of"]))

    def undo(self, number: int, before: State) -> None:
        """Undefine what libvirt does not take back: a value that was none, and its flags."""
        now = self.look()
        same = all(now[name] == before[name] for name in ("defined", "private", "ephemeral"))
        if now["defined"] and not (same and before["value"]):
            _virsh("secret-undefine", self.uuid)
        if before["defined"] and not (same and before["value"]):
            self._define(files.kept(self.hand.kept(number, ".xml")).decode())
        if before["value"]:
            self._set(files.kept(self.hand.kept(number)).decode())

    def _value(self) -> Optional[str]:
        path = "%s/%s.base64" % (SECRETS, self.uuid)
        if os.path.exists(path):  # of a private secret libvirt tells nobody
            with open(path, encoding="ascii") as file:
                return file.read().strip() or None
        told = _virsh_or_none("secret-get-value", self.uuid)
        return told.strip() if told and told.strip() else None

    def _xml(self) -> str:
        return (
            "<secret ephemeral='no' private='%s'><uuid>%s</uuid><usage type='ceph'><name>%s</name></usage></secret>"
            % (
                "yes" if self.step["private"] else "no",
                escape(self.uuid),
                escape(self.step["usage"]),
            )
        )

    def _define(self, xml: str) -> None:
        with files.private(xml) as file:
            _virsh("secret-define", "--file", file.name)

    def _set(self, key: str) -> None:
        with files.private(key) as file:
            _virsh("secret-set-value", "--secret", self.uuid, "--file", file.name)


def _flag(definition: str, name: str) -> bool:
    """Whether a secret's definition says yes to an attribute."""
    return re.search(r"<secret\b[^>]*\b%s=['\"]yes" % name, definition) is not None


class Unit:
    """A systemd unit that should run, now and after the next boot."""

    def __init__(self, hand: Hand, step: Json) -> None:
        self.hand, self.step, self.unit = hand, step, step["unit"]
        self.behind = step.get("behind", "")

    def look(self) -> State:
        told = run(["systemctl", "show", "--property=ActiveState,UnitFileState", self.unit])
        shown = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        return {"active": shown.get("ActiveState", "") == "active", "enabled": shown.get("UnitFileState") == "enabled"}

    def preview(self) -> Json:
        before = self.look()
        after = {"active": True, "enabled": before["enabled"] or self.step["enable"]}
        words = {"enabled": ("disabled", "enabled"), "active": ("stopped", "running")}
        diff = [
            "%s: %s -> %s" % (self.unit, words[name][before[name]], words[name][after[name]])
            for name in ("enabled", "active")
            if before[name] != after[name]
        ]
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        before = self.look()
        if self.step["enable"] and not before["enabled"]:
            run(["systemctl", "--quiet", "enable", self.unit])
        if not before["active"]:
            _read_anew(self.unit)
            result(["systemctl", "reset-failed", self.unit])
            self._begin("start")

    def undo(self, number: int, before: State) -> None:
        now = self.look()
        if now["enabled"] != before["enabled"]:
            run(["systemctl", "--quiet", "enable" if before["enabled"] else "disable", self.unit])
        if now["active"] and not before["active"]:
            self._begin("stop")
            # One that had to be killed would be listed as failed, even when its package has gone.
            result(["systemctl", "reset-failed", self.unit])
        elif before["active"] and not now["active"]:
            self._begin("start")

    def _begin(self, verb: str) -> None:
        if self.behind:
            self._while_stopped(verb)
        else:
            run(["systemctl", verb, self.unit])

    def _while_stopped(self, verb: str) -> None:
        """Clients of the daemon may start it before the socket is open, by its other sockets; then it is tried anew."""
        for _ in range(TRIES):
            run(["systemctl", "stop", self.behind])
            rc, _, complaint = result(["systemctl", verb, self.unit])
            started = result(["systemctl", "start", self.behind])[0] == 0
            if rc == 0 and started:
                return
            if not started:  # as a daemon without the certificates that it would need
                result(["systemctl", "stop" if verb == "start" else "start", self.unit])
                run(["systemctl", "start", self.behind])
                raise Refused("%s does not start with %s %s" % (self.behind, self.unit, verb))
        raise Refused("%s: %s: %s" % (self.unit, verb, complaint.strip()[-300:]))


def _read_anew(unit: str) -> None:
    """Have systemd read what an earlier step changed of a unit."""
    if "=yes" in run(["systemctl", "show", "--property=NeedDaemonReload", unit]):
        run(["systemctl", "daemon-reload"])


class Daemons:
    """Ceph's daemons of a kind on this host, as packages and cephadm name them; those that start at boot."""

    def __init__(self, hand: Hand, step: Json) -> None:
        self.name = re.compile(r"ceph-%s@.+\.service|ceph-[0-9a-f-]{36}@%s\..+\.service" % ((step["daemon"],) * 2))

    def look(self) -> State:
        listed = run(["systemctl", "list-dependencies", "--plain", "ceph.target"]).split()
        units = sorted(name for name in set(listed) if self.name.fullmatch(name))
        return {unit: result(["systemctl", "is-active", "--quiet", unit])[0] == 0 for unit in units}

    def preview(self) -> Json:
        before = self.look()
        diff = ["%s: stopped -> running" % unit for unit in _stopped(before)]
        return {"before": before, "after": dict.fromkeys(before, True), "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        for unit in _stopped(self.look()):
            result(["systemctl", "reset-failed", unit])
            run(["systemctl", "start", unit])

    def undo(self, number: int, before: State) -> None:
        for unit in _stopped(before):
            run(["systemctl", "stop", unit])


def _stopped(state: State) -> List[str]:
    return [unit for unit, runs in state.items() if not runs]


class Label:
    """The type in a path's SELinux context; the rest of the context stays, as with `restorecon`."""

    ATTRIBUTE = "security.selinux"

    def __init__(self, hand: Hand, step: Json) -> None:
        self.step, self.path = step, os.path.realpath(step["path"])

    def look(self) -> State:
        try:
            return {"context": os.getxattr(self.path, self.ATTRIBUTE).rstrip(b"\0").decode("ascii")}
        except OSError as error:
            raise Refused("%s: its SELinux context: %s" % (self.path, error.strerror))

    def preview(self) -> Json:
        before = self.look()
        after = {"context": self._wanted(before["context"])}
        diff = ["%s: %s -> %s" % (self.path, before["context"], after["context"])] if before != after else []
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        self._set(self._wanted(self.look()["context"]))

    def undo(self, number: int, before: State) -> None:
        self._set(before["context"])

    def _wanted(self, context: str) -> str:
        parts = context.split(":")
        if len(parts) < 3:
            raise Refused("%s: %r is no SELinux context" % (self.path, context))
        return ":".join([*parts[:2], self.step["type"], *parts[3:]])

    def _set(self, context: str) -> None:
        os.setxattr(self.path, self.ATTRIBUTE, context.encode("ascii") + b"\0")


class Restart:
    """A restart: there is nothing to compare and nothing to take back but by another restart."""

    def __init__(self, hand: Hand, step: Json) -> None:
        self.unit = step["unit"]
        self.beside = step.get("beside", ())

    def look(self) -> State:
        return {}

    def preview(self) -> Json:
        return {"before": {}, "after": {}, "diff": ["%s: restart" % self.unit], "managed": ""}

    def do(self, number: int) -> None:
        _read_anew(self.unit)
        running = [unit for unit in self.beside if result(["systemctl", "is-active", "--quiet", unit])[0] == 0]
        run(["systemctl", "restart", self.unit, *running])

    def undo(self, number: int, before: State) -> None:
        self.do(number)


KINDS: Dict[str, Any] = {
    "option": OnPath,
    "file": OnPath,
    "attributes": OnPath,
    "folder": OnPath,
    "tidy-conf": OnPath,
    "sudo-rule": OnPath,
    "host-name": OnPath,
    "policy-in-yaml": OnPath,
    "label": Label,
    "packages": packages.Packages,
    "secret": Secret,
    "storage-pool": pools.StoragePool,
    "tgt-access": tgt.TgtAccess,
    "unit": Unit,
    "daemons": Daemons,
    "restart": Restart,
    "job": services.Job,
    "cinder-row": services.CinderRow,
    "empty-cache": services.EmptyCache,
    "base-images": services.BaseImages,
    "glance-schema": services.GlanceSchema,
    "cinder-schema": services.CinderSchema,
    "token-keys": keys.TokenKeys,
    "cell-hosts": cells.CellHosts,
}


def _virsh(*words: str) -> str:
    return run([*VIRSH, *words])


def _virsh_or_none(*words: str) -> Optional[str]:
    rc, out, _ = result([*VIRSH, *words])
    return out if rc == 0 else None
