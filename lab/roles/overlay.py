"""A network between hypervisors that Open vSwitch, in user space, has as if it were a card of the host.

Its own tunnels would take the host's address from it, and carry no offloaded segments of guests; those of the kernel do
neither.
"""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import ini, units

NAME = "overlay"
BRIDGE = "br-overlay"
MTU = 1446
"""Of guests: a card's 1500, without the tunnel's 50 bytes and the tag of the network inside."""
_PROGRAM = "/usr/local/sbin/lab-overlay"
_SCRIPT = """#!/bin/sh -e
# A tunnel to each of the others; what no address is known for goes to all of them.
ip link show {name} >/dev/null 2>&1 && exit 0
ip link add {name} mtu {mtu} type vxlan id 77 dstport 4789 local {address}
for peer in {peers}; do bridge fdb append 00:00:00:00:00:00 dev {name} dst $peer; done
ip link set {name} up
"""
_UNIT: ini.Config = {
    "Unit": {"Description": "The tunnels between hypervisors"},
    "Service": {"Type": "oneshot", "RemainAfterExit": True, "ExecStart": _PROGRAM},
    "Install": {"WantedBy": "multi-user.target"},
}
# The kernel has no module of it, and none is wanted; its memory need not be locked.
_NO_MODULE = "install openvswitch /bin/true\n"
_SWITCH = "OVS_CTL_OPTS=--no-mlockall\n"
# Guests leave checksums and segments to the card. Without the option, which is read at its start, the switch would pass
# on what they sent as it is, and no connection of TCP would come about.
_CONFIGURE = """
systemctl start ovsdb-server
ovs-vsctl --no-wait set Open_vSwitch . other_config:userspace-tso-enable=true
"""
_ADD_BRIDGE = f"""
ovs-vsctl --may-exist add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev
ovs-vsctl --may-exist add-port {BRIDGE} {NAME}
"""


def set_up(machine: Machine, plan: Plan, members: str) -> None:
    """Join a host with all others of a role, and run the switch that is to use it."""
    peers = " ".join(other.address for other in plan.with_role(members) if other is not machine)
    # With the tag, which the kernel does not count.
    script = _SCRIPT.format(name=NAME, mtu=MTU + 4, address=machine.address, peers=peers)
    machine.write(_PROGRAM, script, mode=0o755)
    machine.write("/etc/systemd/system/lab-overlay.service", ini.render(_UNIT))
    machine.write("/etc/modprobe.d/openvswitch.conf", _NO_MODULE)
    machine.write("/etc/default/openvswitch-switch", _SWITCH)
    machine.run("systemctl daemon-reload")
    units.start(machine, "lab-overlay")
    machine.run(_CONFIGURE)
    units.start(machine, "openvswitch-switch")
    machine.run(_ADD_BRIDGE)
