"""What a draft is made of: everything that was seen of hosts, Ceph, the APIs and the runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fixtures.facts.base import Fact, Unreadable
from fixtures.facts.ceph import CrushRule
from fixtures.facts.host import HostFacts
from fixtures.facts.openstack import ServiceState, VolumeType


class Running(Fact):
    """A unit that systemd knows."""

    load: str
    active: str
    enabled: str


class Container(Fact):
    """A container that runs."""

    runtime: str
    image: str


class Kept(Fact):
    """How a pool keeps its copies."""

    size: int
    min_size: int
    crush_rule: int


class Cluster(Fact):
    """What a draft wants of Ceph."""

    fsid: str
    monitors: int
    versions: tuple[str, ...]
    """Of the running daemons, each once."""
    pools: dict[str, Kept]
    rules: tuple[CrushRule, ...]


class Survey(Fact):
    """A first look at a host: which parts of a cloud are there, by names and paths."""

    hostname: str
    root: bool
    python: str
    commands: tuple[str, ...] = ()
    keyrings: tuple[str, ...] = ()
    """Paths; none is opened."""
    sites: tuple[str, ...] = ()
    """Files by which a web server hosts something."""
    clouds: tuple[str, ...] = ()
    """Paths of clouds.yaml files; none is opened."""
    libvirt: bool = False
    units: dict[str, Running] | Unreadable = {}
    containers: dict[str, Container] | Unreadable = {}
    clusters: dict[str, str] | Unreadable = {}
    """Path of each ceph.conf to its fsid."""
    backups: dict[str, tuple[str, ...]] | Unreadable = {}
    """"dumps": patterns of the database's; "ceph": folders with maps."""

    @property
    def blind(self) -> tuple[str, ...]:
        """Say which parts could not be looked at: without them a host would seem to run nothing."""
        parts = {"units": self.units, "containers": self.containers, "ceph.conf": self.clusters}
        return tuple(f"{what}: {told.unreadable}" for what, told in parts.items() if isinstance(told, Unreadable))


@dataclass(frozen=True)
class Account:
    """An entry of the runner's clouds.yaml, tried."""

    name: str
    auth_url: str
    file: str
    problem: str = ""
    """Why it does not log in; "" if it does."""
    roles: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    """Addresses of the catalog that it got."""


@dataclass(frozen=True)
class Told:
    """What the APIs told the one account that was chosen."""

    volume_types: tuple[VolumeType, ...] | Unreadable
    compute_services: tuple[ServiceState, ...] | Unreadable
    endpoints: dict[str, str] | Unreadable
    networks: tuple[str, ...] | Unreadable
    """Names of those that every project may use."""


@dataclass(frozen=True)
class Runner:
    """What the runner itself has."""

    clusters: Mapping[str, str] = field(default_factory=dict)
    """Path of each ceph.conf that has an administrator's keyring beside it, which may be read, to its fsid."""
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True)
class Seen:
    """All of it; what was not looked at yet is absent."""

    surveys: Mapping[str, Survey]
    hosts: Mapping[str, HostFacts | Unreadable] = field(default_factory=dict)
    runner: Runner = field(default_factory=Runner)
    ceph: Cluster | Unreadable | None = None
    apis: Told | Unreadable | None = None
