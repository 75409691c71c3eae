"""Packages of the distribution: what is there and whole, bringing what is not, and removing what was brought."""

import contextlib
import json
import os
import re
import shutil
from typing import Any, Iterator, List, Set

from remediate.hand import files
from remediate.hand.commands import result, run
from remediate.hand.files import Json, Refused, State

PATIENCE = 600
POLICY = "/usr/sbin/policy-rc.d"
OURS = "# Of ceph-openstack-conformance: packages start and stop no service while this process installs them."
UNTOLD = re.compile(r"/usr/share/(doc|man|info|locale|lintian)(/|$)")
MISSING = re.compile(r"^missing\s+(?:\w\s+)?(/.*?)(?:\s+\(.*\))?$", re.MULTILINE)
QUIET = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
}


class Packages:
    """Packages that must be there whole."""

    def __init__(self, hand: Any, step: Json) -> None:
        self.hand, self.names = hand, list(step["names"])
        self.manager: Any = Apt() if shutil.which("dpkg-query") else Dnf()

    def look(self) -> State:
        there = self.manager.installed()
        return {name: self._state(name, name in there) for name in self.names}

    def preview(self) -> Json:
        before = self.look()
        wanted = not_whole(before)
        if wanted:
            self.manager.check(wanted, back=any(before[name]["installed"] for name in wanted))
        diff = ["package %s: %s" % (name, change(before[name])) for name in wanted]
        after = {name: {"installed": True, "lacking": []} for name in self.names}
        return {"before": before, "after": after, "diff": diff, "managed": ""}

    def do(self, number: int) -> None:
        before = self.look()
        wanted = not_whole(before)
        if not wanted:
            return
        there = self.manager.installed()
        files.keep(self.hand.kept(number), json.dumps(sorted(there)).encode())
        self.manager.check(wanted, back=any(before[name]["installed"] for name in wanted))
        with services_left_alone():
            self.manager.install(wanted, before)
        files.keep(self.hand.kept(number, ".new"), json.dumps(sorted(self.manager.installed() - there)).encode())

    def undo(self, number: int, before: State) -> None:
        brought = self._brought(number) & self.manager.installed()
        if brought:
            with services_left_alone():
                self.manager.remove(sorted(brought))
        for state in before.values():
            for path in state["lacking"]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _brought(self, number: int) -> Set[str]:
        """What the step installed; where it was killed, all that came since it began."""
        told = self.hand.kept(number, ".new")
        if os.path.exists(told):
            return set(json.loads(files.kept(told).decode()))
        return set(self.manager.installed()) - set(json.loads(files.kept(self.hand.kept(number)).decode()))

    def _state(self, name: str, installed: bool) -> Json:
        return {"installed": installed, "lacking": self.manager.lacking(name) if installed else []}


def not_whole(state: State) -> List[str]:
    return [name for name in sorted(state) if not state[name]["installed"] or state[name]["lacking"]]


def change(state: Json) -> str:
    if not state["installed"]:
        return "not installed -> installed"
    return "installed anew, with %s" % ", ".join(state["lacking"][:5])


class Apt:
    """Debian and its kin."""

    def installed(self) -> Set[str]:
        rows = run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\n"]).splitlines()
        return {row.split("\t")[1] for row in rows if row[1:2] == "i"}

    def lacking(self, name: str) -> List[str]:
        """Files that are gone; without documentation, which many hosts leave out."""
        return [path for path in MISSING.findall(result(["dpkg", "--verify", name])[1]) if not UNTOLD.match(path)]

    def check(self, names: List[str], back: bool) -> None:
        """Refuse where it could not be had, or not without changing what else is there."""
        told = run(self._words(names, back, "-s"), env=QUIET)
        coming = dict(re.findall(r"^Inst (\S+) (.*)$", told, re.MULTILINE))
        absent = [name for name in names if name not in coming]
        if absent:
            raise Refused("the package sources of this host do not have %s: apt-get update?" % ", ".join(absent))
        changes = {name: re.match(r"\[(\S+)\] \((\S+)", text) for name, text in coming.items()}
        upgrades = ["%s %s -> %s" % (name, *it.groups()) for name, it in changes.items() if it and it[1] != it[2]]
        if upgrades:
            raise Refused("it would upgrade what services and guests use: %s" % ", ".join(upgrades))

    def install(self, names: List[str], before: State) -> None:
        run(self._words(names, any(before[name]["installed"] for name in names), "-y"), PATIENCE, QUIET)

    def remove(self, names: List[str]) -> None:
        """Just these: dpkg refuses where another one needs them."""
        run(["dpkg", "--purge", *names], PATIENCE, QUIET)

    def _words(self, names: List[str], back: bool, how: str) -> List[str]:
        keep = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
        words = ["apt-get", how, "-q", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=60", *keep]
        return [*words, *(["--reinstall"] if back else []), "install", *names]


class Dnf:
    """The RHEL family."""

    WORDS = ("dnf", "--setopt=install_weak_deps=False")

    def installed(self) -> Set[str]:
        return set(run(["rpm", "-qa", "--qf", "%{NAME}\n"]).split())

    def lacking(self, name: str) -> List[str]:
        return [path for path in MISSING.findall(result(["rpm", "-V", name])[1]) if not UNTOLD.match(path)]

    def check(self, names: List[str], back: bool) -> None:
        absent = [name for name in names if result(["rpm", "-q", name], env=QUIET)[0]]
        if not absent:
            return
        _, told, complaint = result([*self.WORDS, "--assumeno", "install", *absent], PATIENCE, QUIET)
        others = re.findall(r"^(Upgrading|Downgrading|Removing):", told, re.MULTILINE)
        if others:
            raise Refused("it would also mean %s: %s" % (others[0].lower(), ", ".join(absent)))
        if "Installing:" not in told:
            raise Refused("dnf cannot install %s: %s" % (", ".join(absent), (complaint or told).strip()[-300:]))

    def install(self, names: List[str], before: State) -> None:
        for verb, wanted in (("install", False), ("reinstall", True)):
            some = [name for name in names if before[name]["installed"] == wanted]
            if some:
                run([*self.WORDS, "-y", verb, *some], PATIENCE, QUIET)

    def remove(self, names: List[str]) -> None:
        run(["rpm", "-e", *names], PATIENCE, QUIET)


@contextlib.contextmanager
def services_left_alone() -> Iterator[None]:
    """Let Debian's packages start and stop nothing; holds only for as long as this process lives."""
    if not os.path.isdir(os.path.dirname(POLICY)) or (os.path.exists(POLICY) and not is_ours()):
        yield
        return
    new = "%s.%d" % (POLICY, os.getpid())
    with open(new, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n%s\n[ -d /proc/%d ] && exit 101\nexit 0\n" % (OURS, os.getpid()))
    os.chmod(new, 0o755)
    os.rename(new, POLICY)
    try:
        yield
    finally:
        os.unlink(POLICY)


def is_ours() -> bool:
    with open(POLICY, errors="replace") as file:
        return OURS in file.read(4096)
