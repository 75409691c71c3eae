"""Time: one host of the lab tells it, the others follow; the machine's own clock is left alone."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import units
from lab.roles.role import Role, machine_with

_FOLLOW = "server {server} iburst minpoll 2 maxpoll 5\n"
_TELL = "local stratum 8\nallow {subnet}\n"
_COMMON = "driftfile /var/lib/chrony/chrony.drift\ncmdport 0\n"


def _provision(machine: Machine, plan: Plan) -> None:
    first = machine_with(plan, "clock")
    telling = _TELL.format(subnet=plan.subnet)
    own = telling if machine is first else _FOLLOW.format(server=first.address)
    machine.write("/etc/chrony/chrony.conf", own + _COMMON)
    # A container may not set the clock: chronyd measures it, and thinks that it is the only one to correct it.
    machine.write("/etc/default/chrony", 'DAEMON_OPTS="-x"\n')
    units.patient(machine, "chrony", more={"Unit": {"ConditionCapability": ""}})
    units.start(machine, "chrony")


def _ready(machine: Machine, plan: Plan) -> None:
    machine.wait("its clock is synchronised", "chronyc -c -n tracking | grep -q ',Normal$'")


ROLES = (Role("clock", ("chrony",), ("chrony",), _provision, ready=_ready),)
