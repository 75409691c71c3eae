"""A backup of the lab, made once when it is provisioned: the database's dump, and keys of the hosts that have some."""

import base64

from lab.machine import Machine
from lab.plan import Plan
from lab.roles.role import Role, machine_with

_FOLDER = "/var/backups/openstack"
_KEEPERS = ("keystone", "libvirt")
_DUMP = """
schemas=$(mysql -N -B -e "select schema_name from information_schema.schemata
  where schema_name not in ('information_schema', 'performance_schema', 'mysql', 'sys')")
mysqldump --single-transaction --routines --triggers --databases $schemas | gzip -1 | base64 -w 0
"""
_PACK = """
cd /
tar -cz $(ls -d etc/keystone/fernet-keys etc/keystone/credential-keys etc/ceph etc/libvirt/secrets 2>/dev/null) \
  | base64 -w 0
"""
_UNPACK = """
umask 077; mkdir -p {folder}; tar -xzC {folder}
rm -f {folder}/etc/libvirt/secrets/*.base64
"""


def save(machine: Machine, plan: Plan) -> None:
    """Keep what there is now, in place of what was kept before."""
    dump = machine_with(plan, "database").run(_DUMP).stdout
    machine.run(f"umask 077; mkdir -p {_FOLDER}; base64 -d > {_FOLDER}/database.sql.gz", stdin=dump)
    for other in {it.name: it for role in _KEEPERS for it in plan.with_role(role)}.values():
        packed = base64.b64decode(other.run(_PACK).stdout)
        machine.run(_UNPACK.format(folder=f"{_FOLDER}/keys/{other.name}"), stdin=packed)


ROLES = (
    Role(
        "backups",
        (),
        (),
        save,
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
