"""What a lab is to become: profile, secrets, machines and addresses."""

import json
import os
import secrets as random
import threading
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lab.errors import LabError
from lab.machine import Machine
from lab.releases import Release

PROFILES = Path(__file__).parent / "profiles"
FIRST_HOST = 10


def _same_name(name: str) -> str:
    if not name.isascii() or not name.replace("-", "a").isalnum() or len(name) > 32:
        raise ValueError("a host name: letters, digits, dashes, at most 32 of them")
    return name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _MachineTable(_Strict):
    roles: tuple[str, ...]


class _PoolTable(_Strict):
    images: str
    volumes: str
    vms: str
    backups: str


class _UserTable(_Strict):
    glance: str
    cinder: str
    nova: str
    backup: str


class _ProfileFile(_Strict):
    suite: str = "bookworm"
    subnet: IPv4Network
    caps_style: str = "profile"
    machines: dict[Annotated[str, AfterValidator(_same_name)], _MachineTable] = Field(min_length=1)
    pools: _PoolTable
    users: _UserTable
    memory: float = Field(8, gt=0, description="GiB that must be available to boot it, about twice what it takes.")
    options: dict[str, Any] = {}


@dataclass(frozen=True)
class Profile:
    """One way to set up the lab, from lab/profiles/NAME.toml; names only, no secrets."""

    name: str
    suite: str
    machines: Mapping[str, tuple[str, ...]]
    pools: Mapping[str, str]
    users: Mapping[str, str]
    caps_style: str
    subnet: IPv4Network
    memory: float
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, folder: Path = PROFILES) -> "Profile":
        """Read a profile; a LabError names the file and every wrong key."""
        path = folder / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.toml"))) or "none"
            raise LabError(f"no profile {name!r} in {folder}; there are: {known}")
        return cls._of(name, _parse(path))

    @classmethod
    def _of(cls, name: str, parsed: _ProfileFile) -> "Profile":
        return cls(
            name=name,
            suite=parsed.suite,
            machines={host: table.roles for host, table in parsed.machines.items()},
            pools=parsed.pools.model_dump(),
            users=parsed.users.model_dump(),
            caps_style=parsed.caps_style,
            subnet=parsed.subnet,
            memory=parsed.memory,
            options=parsed.options,
        )


class Secrets:
    """Passwords and ids, each made up once and then kept, readable by root alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()

    def get(self, name: str) -> str:
        """The secret of this name; one ending in `-uuid` is a UUID, in `-hex` 256 bits in hex, in `-chap` for CHAP."""
        with self._guard:
            known = self._load()
            if name not in known:
                known[name] = _make_up(name)
                self._save(known)
            return known[name]

    def all(self) -> dict[str, str]:
        """Every secret made so far, by name; for tests that search outputs for them."""
        with self._guard:
            return self._load()

    def _load(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        loaded: dict[str, str] = json.loads(self._path.read_text())
        return loaded

    def _save(self, known: dict[str, str]) -> None:
        write_private(self._path, json.dumps(known, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Plan:
    """All that provisioning needs to know about one lab."""

    profile: Profile
    machines: dict[str, Machine]
    secrets: Secrets
    subnet: IPv4Network
    access: Path
    release: Release

    def with_role(self, role: str) -> list[Machine]:
        """The machines that carry a role, in the profile's order."""
        return [machine for machine in self.machines.values() if role in machine.roles]


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step, never readable by others, on disk before it is named."""
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)


def addresses(subnet: IPv4Network, names: Mapping[str, object]) -> dict[str, str]:
    """An address for each machine, the same at every start."""
    if FIRST_HOST + len(names) >= subnet.num_addresses:
        raise LabError(f"subnet {subnet} is too small for {len(names)} hosts: use a /24")
    return {name: str(subnet[FIRST_HOST + place]) for place, name in enumerate(names)}


def _parse(path: Path) -> _ProfileFile:
    try:
        return _ProfileFile.model_validate(_told(path))
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        wrong = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise LabError("\n".join([f"{path}:", *wrong])) from None


def _told(path: Path) -> dict[str, Any]:
    """What a file says; where it is `like` another, that one's, with its own tables merged in and lists put behind."""
    told = tomllib.loads(path.read_text())
    if "like" not in told:
        return told
    other = path.with_name(f"{told.pop('like')}.toml")
    if not other.is_file():
        raise LabError(f"{path}: like: there is no {other.name} beside it")
    return _merged(_told(other), told)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            merged[key] = _merged(one[key], other[key])
        elif isinstance(one[key], list) and isinstance(other[key], list):
            merged[key] = [*one[key], *other[key]]
    return merged


def _make_up(name: str) -> str:
    if name.endswith("-uuid"):
        return str(uuid.uuid4())
    if name.endswith("-chap"):
        return random.token_hex(8)  # initiators take 12 to 16 characters
    return random.token_hex(32) if name.endswith("-hex") else random.token_urlsafe(24)
