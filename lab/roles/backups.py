"""A backup of the lab, made by units of the host that keeps it: the database's dump, and keys of the hosts with some.

Both run once when the lab is provisioned.
"""

from collections.abc import Iterable

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import ini
from lab.roles.backing import DUMPER
from lab.roles.role import Role, machine_with

_FOLDER = "/var/backups/openstack"
_KEEPERS = ("keystone", "libvirt")
_LOGIN = "/etc/dump-openstack.cnf"
_DUMP = f"""#!/bin/bash -e
set -o pipefail
umask 077
login=--defaults-extra-file={_LOGIN}
schemas=$(mysql $login -N -B -e "select schema_name from information_schema.schemata
  where schema_name not in ('information_schema', 'performance_schema', 'mysql', 'sys')")
mkdir -p {_FOLDER}
new=$(mktemp {_FOLDER}/.new.XXXXXX)
trap 'rm -f "$new"' EXIT
mysqldump $login --single-transaction --routines --triggers --databases $schemas | gzip -1 >"$new"
mv "$new" {_FOLDER}/database.sql.gz
"""
_PACKER = "/usr/local/sbin/pack-keys"
_PACK = """#!/bin/sh -e
cd /
exec tar -cz --exclude='etc/libvirt/secrets/*.base64' \\
  $(ls -d etc/keystone/fernet-keys etc/keystone/credential-keys etc/ceph etc/libvirt/secrets 2>/dev/null)
"""
_SSH = "/etc/save-keys"
_SAVE = f"""#!/bin/bash -e
set -o pipefail
umask 077
mkdir -p {_FOLDER}
new=$(mktemp -d {_FOLDER}/.keys.XXXXXX)
trap 'rm -rf "$new"' EXIT
while IFS=', ' read -r name address _; do
  mkdir "$new/$name"
  ssh -n -F {_SSH}/config "$address" | tar -xzC "$new/$name"
done <{_SSH}/known_hosts
rm -rf {_FOLDER}/keys
mv "$new" {_FOLDER}/keys
"""
_CONFIG = f"User root\nBatchMode yes\nIdentityFile {_SSH}/key\nUserKnownHostsFile {_SSH}/known_hosts\n"
_PROGRAMS = {"dump-openstack": _DUMP, "save-keys": _SAVE}
_SERVICE = "[Service]\nType=oneshot\nExecStart={program}\n"


def _provision(machine: Machine, plan: Plan) -> None:
    login = {"user": DUMPER, "password": plan.secrets.get(f"{DUMPER}-database")}
    host = {"host": machine_with(plan, "database").address}
    machine.write(_LOGIN, ini.render({"client": {**login, **host}}), mode=0o600)
    _let_in(machine, {it.name: it for role in _KEEPERS for it in plan.with_role(role)}.values())
    for name, text in _PROGRAMS.items():
        program = f"/usr/local/sbin/{name}"
        machine.write(program, text, mode=0o755)
        machine.write(f"/etc/systemd/system/{name}.service", _SERVICE.format(program=program))
    machine.run(f"systemctl daemon-reload; systemctl start {' '.join(f'{name}.service' for name in _PROGRAMS)}")


def _let_in(machine: Machine, keepers: Iterable[Machine]) -> None:
    """Let the host of the backups ask those that have keys for them, and for nothing else."""
    machine.run(f"mkdir -p {_SSH}; [ -s {_SSH}/key ] || ssh-keygen -q -t ed25519 -N '' -C save-keys -f {_SSH}/key")
    mine, known = machine.read(f"{_SSH}/key.pub"), []
    for other in keepers:
        other.write(_PACKER, _PACK, mode=0o755)
        other.write("/root/.ssh/authorized_keys2", f'restrict,command="{_PACKER}" {mine}', mode=0o600)
        known.append(f"{other.name},{other.address} {other.read('/etc/ssh/ssh_host_ed25519_key.pub')}")
    machine.write(f"{_SSH}/known_hosts", "".join(known))
    machine.write(f"{_SSH}/config", _CONFIG)


ROLES = (
    Role(
        "backups",
        (),
        (),
        _provision,
        after=(
            "cloud",
            "volume-type",
            "keystone",
            "glance",
            "placement",
            "cinder-api",
            "nova-control",
            "nova-compute",
            "neutron-server",
            "ceph-client",
            "libvirt-secrets",
        ),
    ),
)
