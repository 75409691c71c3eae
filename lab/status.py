"""How a lab is: hosts, services, Ceph, faults in force, and how to reach it."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from lab.errors import LabError
from lab.faults import broken
from lab.host import Host
from lab.lab import Lab
from lab.releases import Release
from lab.roles import ROLES
from lab.schedule import in_parallel

_LOOK_TIMEOUT = 20


@dataclass(frozen=True)
class HostStatus:
    """One host: whether it runs, and the state of every unit of its roles."""

    name: str
    address: str
    running: bool
    units: dict[str, dict[str, str]]

    def lines(self) -> list[str]:
        """What a person is shown of it."""
        head = f"{self.name:<12} {self.address:<15} {'running' if self.running else 'NOT RUNNING'}"
        return [head] + [
            f"    {role:<18} {_units_text(units)}" for role, units in self.units.items() if self.running and units
        ]

    @property
    def well(self) -> bool:
        """Whether it runs and all its units are active."""
        return self.running and all(found == "active" for units in self.units.values() for found in units.values())


def show(lab: Lab) -> tuple[list[str], bool]:
    """The status as lines of text, and whether all is well."""
    found = _look(lab)
    health, healthy = _ceph(lab)
    faults = broken(lab.state)
    lines = [line for host in lab.hosts for line in found[host.name].lines()]
    lines += [health] if health else []
    lines += [f"broken on purpose: {', '.join(faults)} (`python -m lab mend` mends)"] * bool(faults)
    well = _settled(lab) and healthy and not faults and all(host.well for host in found.values())
    return [*_head(lab), *lines, *_reach(lab), "all is well" if well else "NOT all is well"], well


def _head(lab: Lab) -> list[str]:
    record = lab.state.load()
    phase = record.phase if record else "absent"
    return [
        f"lab {lab.state.folder}: {phase}, profile {lab.plan.profile.name}, "
        f"suite {lab.base.suite}, bridge {lab.bridge.name} {lab.plan.subnet}"
    ]


def _settled(lab: Lab) -> bool:
    record = lab.state.load()
    return record is not None and record.phase == "up"


def _reach(lab: Lab) -> list[str]:
    access = lab.state.access
    names = sorted(path.name for path in access.glob("*") if path.is_file())
    return [
        f"reach a host: ssh -F {access}/ssh_config HOST, or python -m lab exec HOST -- COMMAND",
        f"in {access}: {', '.join(names)}",
    ]


def _look(lab: Lab) -> dict[str, HostStatus]:
    found: dict[str, HostStatus] = {}

    def task(host: Host) -> Callable[[], None]:
        def look() -> None:
            found[host.name] = _host(host, lab.plan.release)

        return look

    in_parallel({host.name: task(host) for host in lab.hosts})
    return found


def _host(host: Host, release: Release) -> HostStatus:
    running = host.group.init() is not None
    of_roles = {role: ROLES[role].units_on(release) for role in host.machine.roles}
    units = [unit for those in of_roles.values() for unit in those]
    states = _states(host, units) if running and units else {}
    return HostStatus(
        host.name,
        host.machine.address,
        running,
        {role: {unit: states.get(unit, "unknown") for unit in those} for role, those in of_roles.items()},
    )


def _states(host: Host, units: list[str]) -> dict[str, str]:
    try:
        script = f"systemctl is-active -- {' '.join(units)} || true"
        text = host.machine.run(script, timeout=_LOOK_TIMEOUT).stdout
    except LabError:
        return {}
    return dict(zip(units, text.split(), strict=False))


def _units_text(units: dict[str, str]) -> str:
    wrong = [f"{unit} is {found}" for unit, found in units.items() if found != "active"]
    return f"WRONG: {', '.join(wrong)}" if wrong else f"active: {' '.join(units)}"


def _ceph(lab: Lab) -> tuple[str, bool]:
    monitors = lab.plan.with_role("ceph-mon")
    if not monitors:
        return "", True
    try:
        script = f"timeout {_LOOK_TIMEOUT - 5} ceph health detail --format json"
        health = json.loads(monitors[0].run(script, timeout=_LOOK_TIMEOUT).stdout)
    except (LabError, json.JSONDecodeError) as error:
        return f"ceph: no answer: {str(error).splitlines()[0]}", False
    checks = [f"{name}: {check['summary']['message']}" for name, check in health["checks"].items()]
    return "; ".join([f"ceph: {health['status']}", *checks]), health["status"] == "HEALTH_OK"
