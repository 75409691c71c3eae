"""radosgw: Ceph's own object store, which asks Keystone who somebody is, in Swift's place."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import identity, units
from lab.roles.role import Role

PORT = 7480
_UNIT = "ceph-radosgw@rgw.a"
_ID = "client.rgw.a"
_PASSWORD = "/etc/ceph/radosgw.keystone"
_LOGIN = """
dir=/var/lib/ceph/radosgw/ceph-rgw.a; mkdir -p $dir
ceph auth get-or-create {who} mon 'allow rw' osd 'allow rwx' mgr 'allow rw' -o $dir/keyring
chown -R ceph:ceph /var/lib/ceph/radosgw; chmod 600 $dir/keyring
"""


def _config(machine: Machine, plan: Plan) -> dict[str, str]:
    login = identity.credentials(plan, "radosgw")
    return {
        "rgw_frontends": f"beast endpoint={machine.address}:{PORT}",
        "rgw_swift_account_in_url": "true",
        "rgw_keystone_implicit_tenants": "true",
        "rgw_keystone_api_version": "3",
        "rgw_keystone_url": str(login["auth_url"]).removesuffix("/v3"),
        "rgw_keystone_admin_user": str(login["username"]),
        "rgw_keystone_admin_password_path": _PASSWORD,
        "rgw_keystone_admin_project": str(login["project_name"]),
        "rgw_keystone_admin_domain": str(login["user_domain_name"]),
        "rgw_keystone_accepted_roles": "admin,member",
    }


def _provision(machine: Machine, plan: Plan) -> None:
    # It makes a handful of pools, of which three OSDs cannot carry the default number of placement groups.
    machine.run("ceph config set global osd_pool_default_pg_num 8")
    machine.run(_LOGIN.format(who=_ID))
    machine.write(_PASSWORD, str(identity.credentials(plan, "radosgw")["password"]), mode=0o600, owner="ceph:ceph")
    machine.run("\n".join(f"ceph config set {_ID} {key} '{value}'" for key, value in _config(machine, plan).items()))
    units.patient(machine, _UNIT)
    units.start(machine, "ceph-radosgw.target", _UNIT)


def _ready(machine: Machine, plan: Plan) -> None:
    machine.wait("radosgw answers", f"curl -fsS http://{machine.address}:{PORT}/ >/dev/null")


ROLES = (
    Role(
        "radosgw",
        ("radosgw", "ceph-common"),
        ("ceph-radosgw.target", _UNIT),
        _provision,
        after=("ceph-health", "keystone"),
        ready=_ready,
        apart=True,
    ),
)
