"""A simulated fleet: one booted host whose sshd answers on as many addresses as a cloud has hypervisors.

Each address runs what it is sent for real. Some are slow, hang, keep silent, refuse, or show another
host key than the one that is known of them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Literal, get_args

from lab import process
from lab.errors import LabError
from lab.lab import Lab
from lab.plan import write_private

Trouble = Literal["slow", "hung", "silent", "refusing", "impostor"]
TROUBLES: Final[tuple[Trouble, ...]] = get_args(Trouble)
NETWORK: Final = IPv4Network("10.71.64.0/18")
"""Where the fleet's addresses lie, behind the booted host."""
SLOW_SECONDS: Final = 8
_CLOSED_PORT: Final = 9

_SLOW = f"""#!/bin/sh
sleep {SLOW_SECONDS}
exec sh -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True)
class Fleet:
    """Names to addresses, and the hosts that are in trouble."""

    addresses: Mapping[str, IPv4Address]
    troubled: Mapping[str, Trouble]

    @classmethod
    def of(cls, size: int, troubles: Mapping[Trouble, int]) -> "Fleet":
        """The fleet of this size, with that many hosts in each trouble, the same ones every time."""
        if not 0 < size < NETWORK.num_addresses - 1:
            raise LabError(f"a fleet has 1 to {NETWORK.num_addresses - 2} hosts, not {size}")
        if sum(troubles.values()) > size:
            raise LabError(f"{sum(troubles.values())} hosts in trouble are more than {size}")
        width = len(str(size))
        names = [f"compute{number:0{width}}" for number in range(1, size + 1)]
        kinds = [kind for kind in TROUBLES for _ in range(troubles.get(kind, 0))]
        chosen = random.Random(size).sample(names, len(kinds))  # not for secrets: the same fleet at each start
        return cls(
            {name: NETWORK[number] for number, name in enumerate(names, 1)}, dict(zip(chosen, kinds, strict=True))
        )

    def those(self, trouble: Trouble) -> list[str]:
        """Addresses of the hosts in a trouble."""
        return sorted(str(self.addresses[name]) for name, kind in self.troubled.items() if kind == trouble)


def set_up(lab: Lab, fleet: Fleet) -> Path:
    """Have the booted host answer as the fleet; the path of the fleet's cloud file."""
    machine = lab.host("fleet").machine
    process.check(["ip", "route", "replace", str(NETWORK), "via", machine.address, "dev", lab.bridge.name])
    machine.write("/usr/local/sbin/slow-login", _SLOW, mode=0o755)
    machine.write("/etc/ssh/sshd_config.d/fleet.conf", _daemon(fleet))
    machine.write("/etc/hosts", "127.0.0.1 localhost\n" + _names(fleet))
    machine.run(
        f"ip route flush table local root {NETWORK}; ip route replace local {NETWORK} dev lo table local\n"
        + "".join(f"ip route replace blackhole {address}/32 table local\n" for address in fleet.those("silent"))
        + "systemctl restart ssh"
    )
    return _hand_out(lab, fleet)


def _daemon(fleet: Fleet) -> str:
    """What sshd does instead of the command at the addresses in trouble."""
    forced = {"slow": "/usr/local/sbin/slow-login", "hung": "/usr/bin/sleep infinity"}
    return "".join(
        f"Match LocalAddress {','.join(places)}\n    ForceCommand {command}\n"
        for kind, command in forced.items()
        if (places := fleet.those(kind))  # type: ignore[arg-type]
    )


def _names(fleet: Fleet) -> str:
    return "".join(f"{address} {name}\n" for name, address in fleet.addresses.items())


def _hand_out(lab: Lab, fleet: Fleet) -> Path:
    """Write the runner's side into the access folder: known hosts, ssh_config, cloud file."""
    access = lab.state.access
    true_key = " ".join((access / "known_hosts").read_text().split()[1:3])
    write_private(access / "fleet_known_hosts", _known_hosts(fleet, true_key))
    write_private(access / "fleet_ssh_config", _ssh_config(access, fleet.those("refusing")))
    write_private(access / "fleet.yaml", cloud_file(fleet, access))
    return access / "fleet.yaml"


def _known_hosts(fleet: Fleet, true_key: str) -> str:
    impostors = fleet.those("impostor")
    lines = [",".join([*(f"!{address}" for address in impostors), "10.71.*"]) + f" {true_key}\n"]
    if impostors:
        lines.append(f"{','.join(impostors)} {_other_key()}\n")
    return "".join(lines)


def _other_key() -> str:
    """A public key that nobody has the other half of: RFC 8032's first test vector."""
    return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"


def _ssh_config(access: Path, refusing: Sequence[str]) -> str:
    closed = f"Host {' '.join(refusing)}\n    Port {_CLOSED_PORT}\n\n" if refusing else ""
    return (
        f'{closed}Host *\n    User root\n    IdentityFile "{access / "id_ed25519"}"\n'
        f'    IdentitiesOnly yes\n    UserKnownHostsFile "{access / "fleet_known_hosts"}"\n'
        "    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    BatchMode yes\n"
    )


def cloud_file(fleet: Fleet, access: Path) -> str:
    """The fleet's cloud file: hypervisors only, so that a static run judges what can be observed of them."""
    rows = "".join(
        f"  {name}: {{address: {address}, roles: [nova-compute]}}\n" for name, address in fleet.addresses.items()
    )
    return f"""# Written by `python -m lab fleet`.
name: fleet

hosts:
{rows}
reach: {{ssh_config: {access}/fleet_ssh_config, connect_timeout: 5, observe_timeout: 30}}

ceph:
  pools: {{images: images, volumes: volumes, vms: vms, backups: backups}}
  users: {{glance: glance, cinder: cinder, nova: cinder, backup: cinder-backup}}

cinder: {{backend: rbd, volume_type: ceph}}

openstack: {{cloud: fleet}}

policy: {{kind: lab, live_migration: false}}  # there is no libvirt
"""
