"""A lab as a whole: its state folder, its plan, and its parts on this machine."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from lab import host
from lab.base import Base
from lab.cgroup import Group
from lab.errors import LabError
from lab.host import Host
from lab.machine import Machine
from lab.network import Bridge
from lab.plan import PROFILES, Plan, Profile, addresses
from lab.releases import Release, release_of
from lab.roles import ROLES
from lab.schedule import in_parallel
from lab.state import Record, State

ROLES_FOLDER = Path(__file__).parent / "roles"
_RELEASES = Path(__file__).parent / "releases.py"


@dataclass(frozen=True)
class Lab:
    """One lab, put together; making this object touches nothing."""

    state: State
    plan: Plan
    bridge: Bridge
    base: Base
    hosts: tuple[Host, ...]

    @classmethod
    def of(cls, state: State, profile: Profile, suite: str, subnet: IPv4Network) -> "Lab":
        """The lab that the present code would make."""
        _refuse_unknown_roles(profile)
        release = release_of(suite)
        machines = _machines(state.lab, profile, subnet)
        base = Base.of(suite, _packages(profile, release))
        bridge = Bridge(state.lab, str(state.folder), subnet)
        return cls(
            state=state,
            plan=Plan(profile, machines, state.secrets, subnet, state.access, release),
            bridge=bridge,
            base=base,
            hosts=tuple(
                Host(machine, state.hosts / name, state.logs / f"{name}.console", base.path, bridge.name)
                for name, machine in machines.items()
            ),
        )

    @classmethod
    def recorded(cls, state: State) -> "Lab":
        """The lab that a state folder remembers; a LabError where there is none."""
        record = state.load()
        if record is None:
            raise LabError(f"there is no lab in {state.folder}: make one with `python -m lab up`")
        return cls.of_record(state, record)

    @classmethod
    def of_record(cls, state: State, record: Record) -> "Lab":
        """The lab of a record."""
        profile = Profile.load(record.profile)
        return cls.of(state, profile, record.suite, IPv4Network(record.subnet))

    @property
    def provision_key(self) -> str:
        """A digest of everything that decides what provisioning does."""
        digest = hashlib.sha256()
        for part in (self.base.key, self.plan.profile.name, self.plan.subnet, host.IDENTITY):
            digest.update(f"{part}\0".encode())
        for path in [PROFILES / f"{self.plan.profile.name}.toml", _RELEASES, *_sources(ROLES_FOLDER)]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    def host(self, name: str) -> Host:
        """A host by its name."""
        for found in self.hosts:
            if found.name == name:
                return found
        raise LabError(f"no host {name!r} in this lab; there are: {', '.join(found.name for found in self.hosts)}")


def on_each(hosts: Iterable[Host], what: Callable[[Host], object]) -> None:
    """Do something with several hosts at once."""
    in_parallel({found.name: _task(what, found) for found in hosts})


def _task(what: Callable[[Host], object], found: Host) -> Callable[[], None]:
    def task() -> None:
        what(found)

    return task


def _machines(lab: str, profile: Profile, subnet: IPv4Network) -> dict[str, Machine]:
    places = addresses(subnet, profile.machines)
    return {name: Machine(name, places[name], roles, Group(lab, name)) for name, roles in profile.machines.items()}


def _packages(profile: Profile, release: Release) -> set[str]:
    # All but those apart, so that profiles with other role sets still share one base.
    here = {role for roles in profile.machines.values() for role in roles}
    wanted = (role for role in ROLES.values() if not role.apart or role.name in here)
    return {package for role in wanted for package in role.packages_on(release)}


def _refuse_unknown_roles(profile: Profile) -> None:
    unknown = sorted({role for roles in profile.machines.values() for role in roles} - set(ROLES))
    if unknown:
        raise LabError(
            f"profile {profile.name} names roles that do not exist: "
            f"{', '.join(unknown)}; there are: {', '.join(sorted(ROLES))}"
        )


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
