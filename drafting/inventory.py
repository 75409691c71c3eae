"""Which hosts to look at: from `--host` specs, or from an Ansible inventory with the roles that its groups promise.

An inventory is read by Ansible's own `ansible-inventory`, so that ranges, children, group_vars and plugins mean what
they mean there. Of the variables only those that say how to connect are looked at; passwords are not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from drafting.errors import DraftError
from fixtures.cloud.model import Reach, Role

Json: TypeAlias = Any
Via: TypeAlias = Literal["ssh", "local", "ansible"]

ANSIBLE_SECONDS: Final = 60
_SPEC: Final = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?:(?P<user>[^@/]+)@)?(?P<host>\[[^]]+\]|[^@/:]*)(?::(?P<port>\d+))?/?"
)
GROUPS: Final[Mapping[str, tuple[Role, ...]]] = MappingProxyType(
    {
        **{
            name: (name,) for name in ("glance-api", "cinder-api", "cinder-scheduler", "cinder-volume", "cinder-backup")
        },
        **dict.fromkeys(("nova-api", "nova-api-os-compute"), ("nova-control",)),
        **{name: (name,) for name in ("nova-conductor", "nova-scheduler", "nova-novncproxy", "placement-api")},
        **dict.fromkeys(("nova-console",), ("nova-novncproxy",)),
        **dict.fromkeys(("nova-compute", "compute"), ("nova-compute",)),
        **dict.fromkeys(("keystone", "keystone-all"), ("keystone",)),
        "neutron-server": ("neutron-server",),
        **dict.fromkeys(("mons", "ceph-mon"), ("ceph-mon",)),
        **dict.fromkeys(("mgrs", "ceph-mgr"), ("ceph-mgr",)),
        **dict.fromkeys(("osds", "ceph-osd"), ("ceph-osd",)),
        # An inventory may have these of a cloud that has nothing of it: they promise nothing.
        **dict.fromkeys(("swift-proxy-server", "swift-account-server", "swift-container-server"), ()),
        **dict.fromkeys(("swift-object-server", "swift-proxy", "swift-acc", "swift-cont", "swift-obj"), ()),
        **dict.fromkeys(("horizon", "horizon-all", "iscsigws", "tgtd"), ()),
    }
)
"""Groups of kolla-ansible, OpenStack-Ansible (with _ for -) and ceph-ansible, to the roles that they promise."""


@dataclass(frozen=True)
class Wanted:
    """A host to look at."""

    name: str
    """As it was given; the file names it by what the host calls itself."""
    address: str
    via: Via = "ssh"
    promised: frozenset[Role] = frozenset()
    """Roles that an inventory's groups give it."""


@dataclass(frozen=True)
class Inventory:
    """Hosts, and how all of them are reached."""

    hosts: tuple[Wanted, ...]
    reach: Reach = field(default_factory=Reach)
    left_out: tuple[str, ...] = ()
    """Hosts of an inventory that are in none of the groups that matter."""


# ---------------------------------------------------------------------------- --host


def from_specs(specs: Sequence[str], reach: Reach) -> Inventory:
    """Return the hosts that `--host` names: ssh://[USER@]HOST[:PORT], local://, or just what ssh knows.

    Raises:
        DraftError: a spec is not of that form, or names a host twice.
    """
    parsed = [_parsed(spec) for spec in specs]
    users = {user for _, user, _, via in parsed if via == "ssh"}
    shared = users.pop() if len(users) == 1 else None
    hosts = tuple(Wanted(host, _address(host, None if shared else user, port), via) for host, user, port, via in parsed)
    _refuse_twice(host.address for host in hosts)
    return Inventory(hosts, reach.model_copy(update={"user": shared or None}))


def _parsed(spec: str) -> tuple[str, str | None, str | None, Via]:
    found = _SPEC.fullmatch(spec)
    scheme = (found["scheme"] or "ssh") if found else ""
    if found is None or scheme not in ("ssh", "local") or (scheme == "ssh" and not found["host"]):
        raise DraftError(f"--host {_shown(spec)}: write ssh://[USER@]HOST[:PORT], local://, or a name that ssh knows")
    if ":" in (found["user"] or ""):
        raise DraftError(f"--host {_shown(spec)}: passwords are not taken; use a key, an agent, or --ssh-config")
    if scheme == "local":
        return found["host"] or "localhost", None, None, "local"
    return found["host"].strip("[]"), found["user"], found["port"], "ssh"


def _shown(spec: str) -> str:
    return re.sub(r":[^:@/]*@", ":…@", spec)


def _address(host: str, user: str | None, port: str | None) -> str:
    bare_ipv6 = host.count(":") > 1
    place = f"[{host}]" if bare_ipv6 and (port or user) else host
    return (f"{user}@" if user else "") + place + (f":{port}" if port else "")


def _refuse_twice(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DraftError(f"{name} is named twice")
        seen.add(name)


# ---------------------------------------------------------------------------- Ansible


def from_ansible(path: Path, reach: Reach) -> Inventory:
    """Return the hosts of an inventory (INI, YAML, or whatever Ansible reads) whose groups run parts of the cloud.

    Raises:
        DraftError: it cannot be read, or none of its groups is known.
    """
    return mapped(_listed(path), path, reach)


def _listed(path: Path) -> Json:
    if not path.exists():
        raise DraftError(f"{path}: is not there")
    if path.suffix == ".json":
        return _generated(path)
    program = shutil.which("ansible-inventory", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise DraftError(
            f"{path}: reading it takes ansible-inventory, which is not on the PATH: pip install ansible-core "
            "(or apt install ansible-core), or name the hosts by --host"
        )
    try:
        done = subprocess.run(
            [program, "--list", "-i", str(path)],
            env=os.environ
            | {"ANSIBLE_VERBOSITY": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1"},
            capture_output=True,
            text=True,
            timeout=ANSIBLE_SECONDS,
        )
        told = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, json.JSONDecodeError) as error:
        raise DraftError(f"{path}: ansible-inventory: {error}") from None
    if told is None:
        raise DraftError(f"{path}: ansible-inventory does not understand it: {_complaint(done.stderr)}")
    return told


def _generated(path: Path) -> Json:
    """Return what a dynamic inventory has kept, as OpenStack-Ansible's openstack_inventory.json."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DraftError(f"{path}: is not JSON: {error}") from None
    if not isinstance(told, dict) or "_meta" not in told:
        raise DraftError(f"{path}: is not what a dynamic inventory prints (it has no _meta)")
    return told


def _complaint(stderr: str) -> str:
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    return "; ".join(lines)[-600:] or "no message"


def mapped(told: Json, path: Path, reach: Reach) -> Inventory:
    """Return the inventory that `ansible-inventory --list` told.

    Args:
        told: Its JSON.
        path: Where it was read from.
        reach: What the command line says of how to reach hosts.

    Raises:
        DraftError: it names no host, or none in a group that is known.
    """
    everybody = _members(told, "all") | {host for group in told for host in _members(told, group)}
    if not everybody:
        raise DraftError(f"{path}: names no host")
    promised: dict[str, set[Role]] = {}
    for group in told:
        roles = GROUPS.get(group.replace("_", "-"))
        if roles is not None:
            for host in _members(told, group):
                promised.setdefault(host, set()).update(roles)
    if not promised:
        groups = ", ".join(sorted(set(told) - {"_meta", "all", "ungrouped"})) or "none"
        raise DraftError(
            f"{path}: no group of kolla-ansible, OpenStack-Ansible or ceph-ansible is in it (its groups: {groups}; "
            f"known: {', '.join(sorted(GROUPS))}); name the hosts by --host"
        )
    variables = told.get("_meta", {}).get("hostvars", {})
    connections = {name: _Connection.of(name, variables.get(name, {})) for name in sorted(promised)}
    left_out = tuple(sorted(everybody - promised.keys()))
    return Inventory(*_reached(connections, promised, path, reach), left_out)


def _members(told: Json, group: str, depth: int = 32) -> set[str]:
    row = told.get(group) if group != "_meta" else None
    if not isinstance(row, Mapping) or not depth:
        return set()
    inner = (_members(told, child, depth - 1) for child in row.get("children", ()))
    return set(row.get("hosts", ())).union(*inner)


@dataclass(frozen=True)
class _Connection:
    """What an inventory says of how to reach a host."""

    host: str
    via: str
    user: str | None
    port: str | None
    identity: str | None
    sudo: bool
    more: bool
    """It says more than a cloud file can: arguments of ssh, another account than root."""

    @classmethod
    def of(cls, name: str, told: Mapping[str, Json]) -> _Connection:
        def first(*names: str) -> str | None:
            return next((str(told[it]) for it in names if told.get(it) not in (None, "")), None)

        become = str(told.get("ansible_become", "")).lower() in ("true", "yes", "1", "on")
        return cls(
            host=first("ansible_host", "ansible_ssh_host") or name,
            via=first("ansible_connection") or "ssh",
            user=first("ansible_user", "ansible_ssh_user"),
            port=first("ansible_port", "ansible_ssh_port"),
            identity=first("ansible_ssh_private_key_file", "ansible_private_key_file"),
            sudo=become,
            more=bool(first("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"))
            or first("ansible_become_user") not in (None, "root"),
        )


def _reached(
    connections: Mapping[str, _Connection], promised: Mapping[str, set[Role]], path: Path, reach: Reach
) -> tuple[tuple[Wanted, ...], Reach]:
    """Plain ssh where a cloud file can say all of it; else the inventory stays the one place that says it."""
    every = list(connections.values())
    remote = [one for one in every if one.via != "local"]
    same = len({(one.identity, one.sudo) for one in remote}) <= 1
    if not same or any(one.more or one.via not in ("ssh", "smart", "paramiko", "paramiko_ssh") for one in remote):
        hosts = (Wanted(name, name, "ansible", frozenset(promised[name])) for name in connections)
        return tuple(hosts), reach.model_copy(update={"via": "ansible", "inventory": path.resolve()})
    users = {one.user for one in remote}
    shared = users.pop() if len(users) == 1 else None
    hosts = (
        Wanted(
            name,
            _address(one.host, None if shared or one.via == "local" else one.user, one.port),
            "local" if one.via == "local" else "ssh",
            frozenset(promised[name]),
        )
        for name, one in connections.items()
    )
    told = {
        "user": shared,
        "identity": reach.identity or _key(remote[0].identity if remote else None, path),
        "sudo": reach.sudo or any(one.sudo and one.user != "root" for one in remote),
    }
    return tuple(hosts), reach.model_copy(update=told)


def _key(identity: str | None, inventory: Path) -> Path | None:
    return inventory.resolve().parent / Path(identity).expanduser() if identity else None
