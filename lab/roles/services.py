"""Whether the services that report through the message bus have done so since they started."""

from datetime import UTC, datetime

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import identity, units
from lab.roles.role import poll

_TIMEOUT = 240.0


def reported(plan: Plan, machine: Machine, unit: str, api_type: str) -> None:
    """Wait for the report of a Nova or Cinder service of this host.

    The record alone proves nothing: it also says `up` for a minute after a power-off.
    """
    api = identity.admin(plan)

    def look() -> bool:
        started = units.since(machine, unit)
        found = api.get(api_type, f"/os-services?binary={unit}")["services"]
        mine = [s for s in found if s["host"].split("@")[0] == machine.name]
        return bool(mine) and all(s["state"] == "up" and _moment(s["updated_at"]) >= started for s in mine)

    poll(f"{machine.name}: {unit} reports to the control plane", look, timeout=_TIMEOUT)


def agent_reported(plan: Plan, machine: Machine, unit: str) -> None:
    """Wait for the report of a network agent of this host."""
    api = identity.admin(plan)

    def look() -> bool:
        started = units.since(machine, unit)
        agents = api.get("network", f"/v2.0/agents?host={machine.name}&binary={unit}")["agents"]
        return bool(agents) and all(a["alive"] and _moment(a["heartbeat_timestamp"]) >= started for a in agents)

    poll(f"{machine.name}: {unit} reports to the control plane", look, timeout=_TIMEOUT)


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text else 0.0
