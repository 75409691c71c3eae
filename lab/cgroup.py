"""The control group of each host: the truth about what of it still runs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.errors import LabError

TOP = "ceph-osc-lab"


@cache
def hierarchies() -> tuple[Path, ...]:
    """Mount points of the hierarchies in which systemd may track its units."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    named = [m[4] for m in mounts if "cgroup" in m and "name=systemd" in m[-1]]
    unified = [m[4] for m in mounts if "cgroup2" in m]
    found = tuple(Path(path) for path in (*named[:1], *unified[:1]))
    if not found:
        raise LabError("no control groups are mounted: hosts need cgroup2, or cgroup with systemd")
    return found


@dataclass(frozen=True)
class Group:
    """The group of one host of one lab, in every hierarchy in use."""

    lab: str
    host: str

    def paths(self) -> tuple[Path, ...]:
        """The group's folder in each hierarchy."""
        return tuple(top / TOP / self.lab / self.host for top in hierarchies())

    @property
    def container(self) -> str:
        """The name by which this machine tells the host from those of other labs."""
        return f"{self.host}-{self.lab}"

    def create(self) -> None:
        """Make the folders."""
        for path in self.paths():
            path.mkdir(parents=True, exist_ok=True)

    def pids(self) -> set[int]:
        """Every process of the host, its supervisor included, as this machine numbers them."""
        return {pid for path in self.paths() for pid in _pids_below(path)}

    def init(self) -> int | None:
        """The host's own PID 1, as this machine numbers it, once it is up."""
        # Which hierarchy it lives in is the choice of the host's own systemd.
        procs = [path / "payload" / "init.scope" / "cgroup.procs" for path in self.paths()]
        found = (pid for path in procs for pid in _read_pids(path) if _is_init(pid))
        return next(found, None)

    def alive(self) -> bool:
        """Whether any process of the host is there."""
        return bool(self.pids())

    def power_off(self, deadline: float = 60) -> bool:
        """Ask for a clean power-off; False if it had to be killed at the deadline."""
        end = time.monotonic() + deadline
        if (init := self.init()) is not None:
            _signal_all({init}, signal.SIGRTMIN + 4)
            while self.alive() and time.monotonic() < end:
                time.sleep(0.05)
        clean = not self.alive()
        self.kill()
        return clean

    def kill(self, deadline: float = 30) -> None:
        """Cut the power: kill everything of the host, wait until it has gone, clear up."""
        end = time.monotonic() + deadline
        while pids := self.pids():
            _signal_all(pids)
            if time.monotonic() > end:
                raise LabError(f"{self.host}: processes {sorted(pids)} survive SIGKILL")
            time.sleep(0.02)
        self._remove()

    def _remove(self) -> None:
        # A killed systemd-nspawn leaves this behind.
        _rmdir(Path("/run/systemd/nspawn/propagate") / self.container)
        for path in self.paths():
            for folder, _, _ in os.walk(path, topdown=False):
                _rmdir(Path(folder))
            _rmdir(path.parent)
            _rmdir(path.parent.parent)


def groups_of(lab: str) -> list[Group]:
    """The hosts of a lab of which there is anything on this machine, running or not."""
    folders = {path for top in hierarchies() for path in (top / TOP / lab).glob("*/")}
    return [Group(lab, name) for name in sorted({path.name for path in folders if path.is_dir()})]


def _pids_below(path: Path) -> Iterator[int]:
    for folder, _, _ in os.walk(path):
        yield from _read_pids(Path(folder) / "cgroup.procs")


def _read_pids(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text().split()]
    except OSError:
        return []


def _is_init(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = [line.split() for line in status.splitlines() if line.startswith("NSpid:")]
    return status.startswith("Name:\tsystemd\n") and numbers[0][-1] == "1"


def _signal_all(pids: set[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _rmdir(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()
