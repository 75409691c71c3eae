"""Placement."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, units
from lab.roles.role import Role, poll


def _config(plan: Plan) -> ini.Config:
    base: ini.Config = {
        "DEFAULT": {"log_dir": "/var/log/placement"},
        "placement_database": {"connection": backing.database_url(plan, "placement", "placement")},
        "oslo_policy": {"policy_dirs": "/etc/placement/policy.d"},
    }
    return ini.merge(base, identity.token_checks(plan, "placement"))


def _provision(machine: Machine, plan: Plan) -> None:
    machine.write("/etc/placement/placement.conf", ini.render(_config(plan)), mode=0o640, owner="root:placement")
    units.single_worker(machine, "/etc/placement/placement-api-uwsgi.ini")
    machine.run("runuser -u placement -- placement-manage db sync")
    units.patient(machine, "placement-api")
    units.start(machine, "placement-api")


def _ready(machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    poll(
        "Placement lists its providers",
        lambda: "resource_providers" in api.get("placement", "/resource_providers"),
        timeout=180,
    )


ROLES = (Role("placement", ("placement-api",), ("placement-api",), _provision, after=("database",), ready=_ready),)
