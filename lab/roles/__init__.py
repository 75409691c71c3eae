"""The roles of the lab's hosts: a new one is an entry in its module's ROLES."""

from lab.roles import (
    backing,
    backups,
    ceph,
    ceph_client,
    ceph_export,
    clock,
    cloud,
    compute,
    dashboard,
    guest,
    hypervisor,
    identity,
    image,
    iscsi,
    network,
    pki,
    placement,
    radosgw,
    swift,
    volume,
)
from lab.roles.role import Role as Role

_MODULES = (
    ceph,
    ceph_client,
    ceph_export,
    pki,
    backing,
    identity,
    image,
    placement,
    volume,
    compute,
    hypervisor,
    network,
    cloud,
    guest,
    clock,
    backups,
    swift,
    radosgw,
    dashboard,
    iscsi,
)

ROLES: dict[str, Role] = {role.name: role for module in _MODULES for role in module.ROLES}
