"""Swift: a proxy, and storage on devices of its own, each a file that the host sees as a disk with XFS on it."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from lab.machine import LabError, Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, units
from lab.roles.role import Role, table

PROXY_PORT = 8080
PORTS = {"account": 6202, "container": 6201, "object": 6200}
DAEMONS = {
    "account": ("auditor", "reaper", "replicator"),
    "container": ("auditor", "replicator", "sync", "updater"),
    "object": ("auditor", "replicator", "reconstructor", "updater"),
}
"""What runs beside each server. A sharder moves nothing unless a container is told to shard: it stays off."""

_PART_POWER, _REPLICAS, _MIN_PART_HOURS = 8, 3, 1
_EVERY = {"replicator": 10, "reconstructor": 10}
_ELSE = 60
"""Seconds between the rounds of each: so few objects take no time, but updaters and auditors fork for each device."""
_PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats container_sync bulk ratelimit authtoken "
    "keystoneauth copy container-quotas account-quotas slo dlo versioned_writes symlink proxy-logging proxy-server"
)
_FILTERS = {
    "catch_errors": "catch_errors",
    "gatekeeper": "gatekeeper",
    "healthcheck": "healthcheck",
    "proxy-logging": "proxy_logging",
    "listing_formats": "listing_formats",
    "container_sync": "container_sync",
    "bulk": "bulk",
    "ratelimit": "ratelimit",
    "copy": "copy",
    "container-quotas": "container_quotas",
    "account-quotas": "account_quotas",
    "slo": "slo",
    "dlo": "dlo",
    "versioned_writes": "versioned_writes",
    "symlink": "symlink",
}

_DISK = """#!/bin/bash
# Shows this host a file as a disk, as udev would show one by its label, and mounts what fstab has for it.
set -eu
label=$1
[ -e /dev/loop-control ] || mknod -m 600 /dev/loop-control c 10 237
for number in $(seq 0 63); do
    [ -e /dev/loop$number ] || mknod -m 660 /dev/loop$number b 7 $number
done
device=$(losetup --find --show "/var/lib/lab-disks/$label.img")
exec 9<>"$device"
# From now on the kernel frees the device when nothing has it open any more: also where the host is killed.
losetup --detach "$device"
mkdir -p /dev/disk/by-label
ln -sfn "$device" "/dev/disk/by-label/$label"
mount "/srv/node/$label"
systemd-notify --ready
exec sleep infinity
"""
_DISK_UNIT: ini.Config = {
    "Unit": {
        "Description": "Disk %i",
        "DefaultDependencies": "no",
        "RequiresMountsFor": "/var",
        "Before": "local-fs.target",
    },
    "Service": {
        "Type": "notify",
        "NotifyAccess": "all",
        "ExecStart": "/usr/local/sbin/lab-disk %i",
        "ExecStopPost": "-umount --lazy /srv/node/%i",
        "Restart": "on-failure",
        "RestartSec": 1,
    },
    "Install": {"WantedBy": "local-fs.target"},
}
_MAKE_DISK = """
mkdir -p /var/lib/lab-disks /srv/node/{name}
truncate -s 1G /var/lib/lab-disks/{name}.img
mkfs.xfs -q -f -L {name} /var/lib/lab-disks/{name}.img
chattr +i /srv/node/{name} 2>/dev/null || chmod 0000 /srv/node/{name}
printf '%s\\n' 'LABEL={name} /srv/node/{name} xfs noatime,nofail 0 0' >> /etc/fstab
systemctl daemon-reload
systemctl --quiet enable lab-disk@{name}.service 2>&1
systemctl restart lab-disk@{name}.service
chown swift:swift /srv/node/{name}
"""


@dataclass(frozen=True)
class Device:
    """A device of the rings."""

    machine: Machine
    zone: int
    name: str
    weight: int

    def words(self, port: int) -> str:
        """How swift-ring-builder is told of it."""
        return f"r1z{self.zone}-{self.machine.address}:{port}/{self.name} {self.weight}"


def devices(plan: Plan) -> Iterator[Device]:
    """The devices of all storage hosts; the profile has "ZONE DEVICE WEIGHT" in `swift.devices.HOST`."""
    for machine in plan.with_role("swift-storage"):
        rows = table(plan, "swift", "devices").get(machine.name)
        if not isinstance(rows, list):
            raise LabError(f"profile {plan.profile.name}: options.swift.devices.{machine.name} is no list")
        for row in rows:
            zone, name, weight = row.split()
            yield Device(machine, int(zone), name, int(weight))


def _rings(machine: Machine, plan: Plan) -> None:
    every = list(devices(plan))
    for server, port in PORTS.items():
        words = " ".join(device.words(port) for device in every)
        machine.run(
            f"cd /etc/swift; builder={server}.builder; mkdir -p backups\n"
            f"swift-ring-builder $builder create {_PART_POWER} {_REPLICAS} {_MIN_PART_HOURS}\n"
            f"swift-ring-builder $builder add {words}\n"
            "swift-ring-builder $builder rebalance"
        )
    machine.run("chown root:swift /etc/swift/*.builder /etc/swift/*.ring.gz; chmod 640 /etc/swift/*.builder")
    rings = machine.run("cd /etc/swift; tar -c *.ring.gz | base64 -w 0").stdout
    builders = machine.run("cd /etc/swift; tar -c *.builder | base64 -w 0").stdout
    for other in _members(plan):
        if other is not machine:
            other.run("tar -xC /etc/swift", stdin=base64.b64decode(rings))
    # A second copy of the builders, without which the rings can never be changed.
    keeper = next(other for other in _members(plan) if other is not machine)
    keeper.run("tar -xC /etc/swift", stdin=base64.b64decode(builders))


def _members(plan: Plan) -> list[Machine]:
    return list({it.name: it for role in ("swift-proxy", "swift-storage") for it in plan.with_role(role)}.values())


def _common(machine: Machine, plan: Plan) -> None:
    hashes: ini.Section = {
        f"swift_hash_path_{part}": plan.secrets.get(f"swift-{part}-hex") for part in ("prefix", "suffix")
    }
    policy: ini.Section = {"name": "Policy-0", "default": "yes"}
    machine.write(
        "/etc/swift/swift.conf",
        ini.render({"swift-hash": hashes, "storage-policy:0": policy}),
        mode=0o640,
        owner="root:swift",
    )
    machine.run("install -d -o root -g swift -m 775 /var/cache/swift")


def _proxy(machine: Machine, plan: Plan) -> None:
    _common(machine, plan)
    machine.write("/etc/swift/proxy-server.conf", ini.render(_proxy_config(machine, plan)), mode=0o640, owner=_OWNER)
    units.patient(machine, "swift-proxy")
    units.start(machine, "swift-proxy")


def _proxy_config(machine: Machine, plan: Plan) -> ini.Config:
    filters: ini.Config = {f"filter:{name}": {"use": f"egg:swift#{egg}"} for name, egg in _FILTERS.items()}
    authtoken: ini.Section = {
        "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
        "www_authenticate_uri": identity.auth_url(plan),
        **identity.credentials(plan, "swift"),
        "memcached_servers": backing.cache_servers(plan),
        "delay_auth_decision": True,
        "service_token_roles_required": True,
    }
    return {
        "DEFAULT": {"bind_ip": machine.address, "bind_port": PROXY_PORT, "workers": 1, "log_name": "swift-proxy"},
        "pipeline:main": {"pipeline": _PIPELINE},
        "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": True},
        **filters,
        "filter:cache": {"use": "egg:swift#memcache", "memcache_servers": backing.cache_servers(plan)},
        "filter:authtoken": authtoken,
        "filter:keystoneauth": {"use": "egg:swift#keystoneauth", "operator_roles": "admin, member"},
    }


def _storage(machine: Machine, plan: Plan) -> None:
    _common(machine, plan)
    _disks(machine, [device.name for device in devices(plan) if device.machine is machine])
    _rsync(machine)
    for server in PORTS:
        machine.write(f"/etc/swift/{server}-server.conf", ini.render(_server(machine, server)), owner=_OWNER)
    names = [f"swift-{server}{daemon}" for server in PORTS for daemon in ("", *(f"-{it}" for it in DAEMONS[server]))]
    units.patient(machine, *names)
    units.start(machine, "rsync", *names)


def _disks(machine: Machine, names: list[str]) -> None:
    machine.write("/usr/local/sbin/lab-disk", _DISK, mode=0o755)
    machine.write("/etc/systemd/system/lab-disk@.service", ini.render(_DISK_UNIT))
    for name in names:
        machine.run(_MAKE_DISK.format(name=name))


def _rsync(machine: Machine) -> None:
    head = f"uid = swift\ngid = swift\nlog file = /var/log/rsyncd.log\naddress = {machine.address}\n\n"
    module: ini.Section = {"max connections": 8, "path": "/srv/node/", "read only": False}
    modules: ini.Config = {server: {**module, "lock file": f"/var/lock/{server}.lock"} for server in PORTS}
    machine.write("/etc/rsyncd.conf", head + ini.render(modules))


def _server(machine: Machine, server: str) -> ini.Config:
    rounds: ini.Config = {f"{server}-{daemon}": {"interval": _EVERY.get(daemon, _ELSE)} for daemon in DAEMONS[server]}
    return {
        "DEFAULT": {
            "bind_ip": machine.address,
            "bind_port": PORTS[server],
            "workers": 1,
            "devices": "/srv/node",
            "mount_check": True,
            "log_name": f"swift-{server}",
        },
        "pipeline:main": {"pipeline": f"healthcheck recon {server}-server"},
        f"app:{server}-server": {"use": f"egg:swift#{server}"},
        "filter:healthcheck": {"use": "egg:swift#healthcheck"},
        "filter:recon": {"use": "egg:swift#recon", "recon_cache_path": "/var/cache/swift"},
        **rounds,
    }


def _proxy_ready(machine: Machine, plan: Plan) -> None:
    _answers(machine, "Swift's proxy", PROXY_PORT)


def _answers(machine: Machine, what: str, port: int) -> None:
    machine.wait(f"{what} answers", f"curl -fsS http://{machine.address}:{port}/healthcheck >/dev/null")


def _storage_ready(machine: Machine, plan: Plan) -> None:
    own = [device.name for device in devices(plan) if device.machine is machine]
    mounted = " && ".join(f"mountpoint -q /srv/node/{name}" for name in own)
    machine.wait("Swift's devices are mounted", mounted)
    for server, port in PORTS.items():
        _answers(machine, f"Swift's {server} server", port)


_OWNER = "root:swift"
_SERVERS = tuple(f"swift-{server}" for server in PORTS)
ROLES = (
    Role("swift-rings", ("swift",), (), _rings, apart=True),
    Role(
        "swift-proxy",
        ("swift-proxy", "python3-keystonemiddleware", "python3-swiftclient"),
        ("swift-proxy",),
        _proxy,
        after=("swift-rings", "keystone", "cache"),
        ready=_proxy_ready,
        apart=True,
    ),
    Role(
        "swift-storage",
        (*_SERVERS, "xfsprogs", "rsync", "e2fsprogs"),
        _SERVERS,
        _storage,
        after=("swift-rings",),
        ready=_storage_ready,
        apart=True,
    ),
)
