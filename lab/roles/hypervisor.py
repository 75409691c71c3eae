"""libvirt of a hypervisor: its sockets, its certificates; and the secrets of the cephx users."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import pki, units
from lab.roles.ceph_client import key
from lab.roles.role import Role, option

_SOCKETS = (
    "libvirtd.socket",
    "libvirtd-ro.socket",
    "libvirtd-admin.socket",
    "libvirtd-tls.socket",
    "virtlogd.socket",
    "virtlockd.socket",
)
_LIBVIRT_PKI = "/etc/pki/libvirt"
_QEMU_PKI = "/etc/pki/qemu"
_QEMU_CONF = f"""# The host is a container: its cgroups, namespaces and labels are not libvirt's to change.
cgroup_controllers = [ ]
namespaces = [ ]
security_driver = "none"
default_tls_x509_cert_dir = "{_QEMU_PKI}"
default_tls_x509_verify = 1
"""
_WORKERS = """max_workers = 50
max_client_requests = 20
"""
_LAY_OUT_PKI = """
cd /etc/pki
mkdir -p CA libvirt/private qemu
chmod 755 . CA libvirt qemu; chmod 750 libvirt/private
cat > CA/cacert.pem; cp CA/cacert.pem qemu/ca-cert.pem
mv lab/key.pem libvirt/private/serverkey.pem
cp -p libvirt/private/serverkey.pem libvirt/private/clientkey.pem
cp libvirt/servercert.pem libvirt/clientcert.pem
for end in server client; do
  cp libvirt/servercert.pem qemu/$end-cert.pem
  install -m 640 -g libvirt-qemu libvirt/private/serverkey.pem qemu/$end-key.pem
done
rmdir lab
"""
_SECRET = """<secret ephemeral='no' private='yes'>
  <uuid>{uuid}</uuid>
  <usage type='ceph'><name>client.{user} secret</name></usage>
</secret>
"""


def _provision(machine: Machine, plan: Plan) -> None:
    machine.write("/etc/libvirt/qemu.conf", _QEMU_CONF, mode=0o600)
    ident = plan.secrets.get(f"{machine.name}-host-uuid")
    machine.write("/etc/libvirt/libvirtd.conf", f'host_uuid = "{ident}"\n{_WORKERS}')
    # An idle daemon that goes away would come back only with the next client.
    machine.write("/etc/default/libvirtd", 'LIBVIRTD_ARGS=""\n')
    _certificates(machine, plan)
    units.patient(machine, "libvirtd")
    units.enable(machine, "libvirtd")
    units.start(machine, *_SOCKETS)
    units.start(machine, "libvirtd")
    # Probing QEMU takes long and is remembered: now, while others still wait for databases.
    machine.run("virsh -q capabilities >/dev/null; virsh -q domcapabilities >/dev/null")


def _certificates(machine: Machine, plan: Plan) -> None:
    certificate = pki.issue(machine, plan, "/etc/pki/lab")
    machine.write(f"{_LIBVIRT_PKI}/servercert.pem", certificate)
    machine.run(_LAY_OUT_PKI, stdin=pki.authority(plan))


def _define_secrets(machine: Machine, plan: Plan) -> None:
    for ident, part in _secrets(plan).items():
        _define_secret(machine, plan, ident, part)


def _secrets(plan: Plan) -> dict[str, str]:
    """The secrets by uuid; Cinder's user comes last, and wins where both share one."""
    return {
        plan.secrets.get(option(plan, "ephemeral_secret")): "nova",
        plan.secrets.get(option(plan, "volume_secret")): "cinder",
    }


def _define_secret(machine: Machine, plan: Plan, ident: str, part: str) -> None:
    text = _SECRET.format(uuid=ident, user=plan.profile.users[part])
    machine.run("virsh -q secret-define /dev/stdin >/dev/null", stdin=text)
    # In memory and gone with the command: a key's text belongs on no disk and in no argv.
    machine.run(
        f"f=$(mktemp -p /dev/shm); trap 'rm -f $f' EXIT; cat > $f\nvirsh -q secret-set-value {ident} --file $f",
        stdin=key(plan, part),
    )


def _ready(machine: Machine, plan: Plan) -> None:
    machine.wait("libvirt answers", "virsh -q -c qemu:///system version --daemon")
    for peer in plan.with_role("libvirt"):
        uri = f"qemu+tls://{peer.address}/system"
        machine.wait(f"libvirt of {peer.name} answers over TLS", f"virsh -q -c {uri} hostname")


ROLES = (
    Role(
        "libvirt",
        (
            "libvirt-daemon-system",
            "libvirt-clients",
            "libvirt-daemon-driver-storage-rbd",
            "qemu-system-x86",
            "qemu-block-extra",
            "openssl",
        ),
        ("libvirtd", *_SOCKETS),
        _provision,
        after=("pki",),
        ready=_ready,
    ),
    Role("libvirt-secrets", (), (), _define_secrets, after=("libvirt", "ceph-pools")),
)
