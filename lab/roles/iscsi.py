"""iSCSI over Ceph: a gateway in user space that exports RBD images, and a libvirt host that has them as a pool."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import units
from lab.roles.ceph import client_config
from lab.roles.ini import render
from lab.roles.role import Role, machine_with, table

PORT = 3260
_CHAP = "iscsi-chap"
_MAKE_IMAGES = """
ceph osd pool create {pool} 32 32 --autoscale-mode=on
rbd pool init {pool}
ceph auth get-or-create client.{user} mon 'profile rbd' osd 'profile rbd pool={pool}' >/dev/null
ceph config set osd osd_heartbeat_interval 5
"""
_TARGET = """<target {target}>
    driver iscsi
    bs-type rbd
    bsopts id={user}
    initiator-address {address}
    initiator-name {iqn}
    incominguser {chap_user} {password}
{luns}</target>
"""
_LUN = """    <backing-store {pool}/{image}>
        lun {number}
    </backing-store>
"""
_SECRET = """<secret ephemeral='no' private='yes'>
  <usage type='iscsi'><target>{secret}</target></usage>
</secret>
"""
_POOL = """<pool type='iscsi-direct'>
  <name>{libvirt_pool}</name>
  <source>
    <host name='{gateway}' port='{port}'/>
    <device path='{target}'/>
    <initiator><iqn name='{iqn}'/></initiator>
    <auth type='chap' username='{chap_user}'><secret usage='{secret}'/></auth>
  </source>
</pool>
"""
_SET_SECRET = """
f=$(mktemp -p /dev/shm); trap 'rm -f $f' EXIT; cat > $f
uuid=$(virsh -q secret-list | awk '$2 == "iscsi" {print $1}')
virsh -q secret-set-value "$uuid" --file $f --plain
"""


def _names(plan: Plan) -> dict[str, str]:
    """What the profile says of gateway and target."""
    return {key: text for key, text in table(plan, "iscsi").items() if isinstance(text, str)}


def _images(plan: Plan) -> dict[str, str]:
    """The images that are exported, in the order of their numbers, with their sizes."""
    return {image: str(size) for image, size in table(plan, "iscsi", "images").items()}


def _gateway(machine: Machine, plan: Plan) -> None:
    names = _names(plan)
    monitor = machine_with(plan, "ceph-mon")
    make = "".join(f"rbd create --size {size} {names['pool']}/{image}\n" for image, size in _images(plan).items())
    monitor.run(_MAKE_IMAGES.format(**names) + make)
    machine.write("/etc/ceph/ceph.conf", render(client_config(plan)))
    key = monitor.run(f"ceph auth get-key client.{names['user']}").stdout.strip()
    keyring = f"/etc/ceph/ceph.client.{names['user']}.keyring"
    machine.write(keyring, render({f"client.{names['user']}": {"key": key}}), mode=0o600)
    machine.write("/etc/tgt/conf.d/ceph.conf", _target(plan), mode=0o600)
    # What it exports is on Ceph, which may come later, and be gone before.
    units.patient(machine, "tgt", more={"Service": {"TimeoutStopSec": 10}})
    units.start(machine, "tgt")


def _target(plan: Plan) -> str:
    names = _names(plan)
    luns = (_LUN.format(image=image, number=number, **names) for number, image in enumerate(_images(plan), 1))
    initiator = machine_with(plan, "iscsi-initiator")
    password = plan.secrets.get(_CHAP)
    return _TARGET.format(luns="".join(luns), address=initiator.address, password=password, **names)


def _gateway_ready(machine: Machine, plan: Plan) -> None:
    units.active(machine, "tgt")
    last = f"{_names(plan)['pool']}/{list(_images(plan))[-1]}"
    machine.wait(
        "its target has all its images", f"tgtadm --lld iscsi --op show --mode target | grep -q 'path: {last}$'"
    )


def _initiator(machine: Machine, plan: Plan) -> None:
    names = _names(plan)
    machine.run("virsh -q secret-define /dev/stdin >/dev/null", stdin=_SECRET.format(**names))
    # In memory and gone with the command: a password's text belongs on no disk and in no argv.
    machine.run(_SET_SECRET, stdin=plan.secrets.get(_CHAP))
    gateway = machine_with(plan, "iscsi-gateway")
    pool = _POOL.format(gateway=gateway.address, port=PORT, **names)
    machine.run("virsh -q pool-define /dev/stdin >/dev/null", stdin=pool)
    machine.run("virsh -q pool-autostart {0}; virsh -q pool-start {0}".format(names["libvirt_pool"]))


def _initiator_ready(machine: Machine, plan: Plan) -> None:
    pool = _names(plan)["libvirt_pool"]
    # libvirt does not try again by itself where the target came later.
    machine.wait(
        "its pool runs", f"virsh -q pool-info {pool} | grep -q 'State: *running' || virsh -q pool-start {pool}"
    )


ROLES = (
    Role(
        "iscsi-gateway",
        ("tgt", "tgt-rbd", "ceph-common"),
        ("tgt",),
        _gateway,
        after=("ceph-health",),
        ready=_gateway_ready,
        apart=True,
    ),
    Role(
        "iscsi-initiator",
        ("libvirt-daemon-driver-storage-iscsi-direct", "qemu-block-extra", "qemu-utils"),
        (),
        _initiator,
        after=("libvirt", "iscsi-gateway"),
        ready=_initiator_ready,
        apart=True,
    ),
)
