"""What a client of Ceph has in /etc/ceph: the cluster's address and its own keys."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import ini
from lab.roles.ceph import client_config
from lab.roles.role import Role, machine_with

CONF = "/etc/ceph/ceph.conf"
# Which user's key a role reads, and as which account.
_READERS = {
    "glance": (("glance", "glance"),),
    "cinder-volume": (("cinder", "cinder"),),
    "cinder-backup": (("cinder", "cinder"), ("backup", "cinder")),
    "nova-compute": (("nova", "nova"),),
}
# What QEMU's client needs to be asked and to log apart; /run/ceph is closed to all but Ceph itself.
_GUESTS: ini.Config = {
    "client": {
        "admin_socket": "/var/run/ceph/guests/$cluster-$type.$id.$pid.$cctid.asok",
        "log_file": "/var/log/qemu/qemu-guest-$pid.log",
        "rbd_concurrent_management_ops": 20,
    }
}
_GUEST_FOLDERS = """\
d /run/ceph 0771 ceph ceph -
d /run/ceph/guests 0770 libvirt-qemu kvm -
d /var/log/qemu 0770 libvirt-qemu kvm -
"""
_ROTATE = """\
/var/log/qemu/*.log {
    weekly
    rotate 4
    missingok
    compress
    copytruncate
    su libvirt-qemu kvm
}
"""


def key(plan: Plan, part: str) -> str:
    """The key of one part's cephx user."""
    user = plan.profile.users[part]
    return machine_with(plan, "ceph-mon").run(f"ceph auth get-key client.{user}").stdout.strip()


def _provision(machine: Machine, plan: Plan) -> None:
    machine.run("install -d -m 755 -o root -g root /etc/ceph")
    guests = _GUESTS if "libvirt" in machine.roles else {}
    machine.write(CONF, ini.render(ini.merge(client_config(plan), guests)))
    if guests:
        _guest_folders(machine)
    for part, account in sorted(_wanted(machine)):
        path = f"/etc/ceph/ceph.client.{plan.profile.users[part]}.keyring"
        machine.write(path, _only_key(plan, part), mode=0o640, owner=f"{account}:{account}")


def _guest_folders(machine: Machine) -> None:
    # Under the name of the package's own file, which it stands in for.
    machine.write("/etc/tmpfiles.d/ceph.conf", _GUEST_FOLDERS)
    machine.run("systemd-tmpfiles --create /etc/tmpfiles.d/ceph.conf")
    machine.write("/etc/logrotate.d/qemu-guests", _ROTATE)


def _wanted(machine: Machine) -> set[tuple[str, str]]:
    return {reader for role in machine.roles for reader in _READERS.get(role, ())}


def _only_key(plan: Plan, part: str) -> str:
    return ini.render({f"client.{plan.profile.users[part]}": {"key": key(plan, part)}})


ROLES = (Role("ceph-client", ("ceph-common", "python3-rados", "python3-rbd"), (), _provision, after=("ceph-pools",)),)
