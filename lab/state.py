"""The state folder of a lab: what it remembers between two commands."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from lab.errors import LabError
from lab.plan import Secrets, write_private

DEFAULT_PARENT = Path("/var/lib/ceph-osc-lab")
VERSION = 1
# lab.json goes last, so that an interrupted purge still leaves something known as a lab.
_OWN = ("hosts", "logs", "access", "secrets.json", "broken.json", "lock.holder", "lock", "lab.json")

Phase = Literal["provisioning", "resetting", "starting", "up", "stopped"]


@dataclass(frozen=True)
class Record:
    """lab.json: what the lab was provisioned from, and how far the last command came."""

    profile: str
    suite: str
    subnet: str
    base: str
    provision_key: str
    phase: Phase
    hosts: tuple[str, ...]
    boot_id: str = ""
    version: int = VERSION


class State:
    """The folder, its files and its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if set(str(self.folder)) & set(':,\\"\n'):
            raise LabError(f'the state folder {self.folder} must not have : , \\ or " in its path')

    @property
    def lab(self) -> str:
        """A short id of this lab on this machine, from the folder's path."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def access(self) -> Path:
        """Keys and addresses for whoever wants to reach the lab."""
        return self.folder / "access"

    @property
    def hosts(self) -> Path:
        """The disk layers of the hosts."""
        return self.folder / "hosts"

    @property
    def logs(self) -> Path:
        """The consoles of the hosts."""
        return self.folder / "logs"

    @property
    def broken(self) -> Path:
        """The faults that are in force now."""
        return self.folder / "broken.json"

    @property
    def secrets(self) -> Secrets:
        """The lab's passwords and ids."""
        return Secrets(self.folder / "secrets.json")

    def create(self) -> None:
        """Make the folder, closed to everyone else; refuse one that holds something else."""
        if self.folder.is_dir() and (foreign := self._foreign()):
            raise LabError(
                f"{self.folder} holds other things ({', '.join(foreign[:3])}): name an empty or new folder by --state"
            )
        for folder in (self.folder, self.access, self.hosts, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def load(self) -> Record | None:
        """What was recorded, or None where no lab was ever made."""
        path = self.folder / "lab.json"
        if not path.exists():
            return None
        fields = json.loads(path.read_text())
        if fields.get("version") != VERSION:
            raise LabError(
                f"{path} is of another version of the lab: remove it with "
                f"`python -m lab --state {self.folder} down --purge`"
            )
        return Record(**{**fields, "hosts": tuple(fields["hosts"])})

    def save(self, record: Record) -> Record:
        """Record it on disk, in one step."""
        write_private(self.folder / "lab.json", json.dumps(asdict(record), indent=1) + "\n")
        return record

    def enter(self, record: Record, phase: Phase) -> Record:
        """Record that the lab is now in this phase."""
        return self.save(replace(record, phase=phase, boot_id=boot_id()))

    def purge(self) -> None:
        """Remove what the lab put into the folder, and the folder if nothing else is there."""
        for path in [*self.folder.glob(".*.new"), *(self.folder / name for name in _OWN)]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    @contextmanager
    def locked(self, word: str) -> Iterator[None]:
        """Hold the lab for one command that changes it; say who has it otherwise."""
        self.create()
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise LabError(f"another command holds this lab: {self._holder()}. Wait for it, or end it first") from None
        try:
            self._sign(word)
            yield
        finally:
            if self.load() is None:
                self.purge()
            lock.release()

    def _foreign(self) -> list[str]:
        names = {path.name for path in self.folder.iterdir() if path.suffix != ".new"}
        return sorted(names - set(_OWN))

    def _sign(self, word: str) -> None:
        since = time.strftime("%H:%M:%S")
        (self.folder / "lock.holder").write_text(f"`python -m lab {word}`, process {os.getpid()}, since {since}")

    def _holder(self) -> str:
        try:
            return (self.folder / "lock.holder").read_text()
        except OSError:
            return "unknown"


def boot_id() -> str:
    """Which boot of this machine we are in."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
