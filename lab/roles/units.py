"""systemd units of a host: started, started at every boot, and patient."""

import shlex

from lab.machine import Machine
from lab.roles import ini

# Hosts boot together: a service that meets its database before it answers must come back.
PATIENT: ini.Config = {
    "Unit": {"StartLimitIntervalSec": 0},
    "Service": {"Restart": "always", "RestartSec": 2},
}


def drop_in(machine: Machine, unit: str, config: ini.Config) -> None:
    """Add options to a unit of the distribution."""
    name = unit if unit.endswith((".socket", ".target")) else f"{unit}.service"
    machine.write(f"/etc/systemd/system/{name}.d/50-lab.conf", ini.render(config))


def patient(machine: Machine, *units: str, more: ini.Config | None = None) -> None:
    """Let units restart for as long as it takes."""
    for unit in units:
        drop_in(machine, unit, ini.merge(PATIENT, more or {}))
    machine.run("systemctl daemon-reload")


def enable(machine: Machine, *units: str) -> None:
    """Start units at every boot."""
    machine.run(f"systemctl --quiet enable {_quoted(units)} 2>&1")


def start(machine: Machine, *units: str) -> None:
    """Start units now and at every boot."""
    enable(machine, *units)
    machine.run(f"systemctl restart {_quoted(units)}")


def active(machine: Machine, *units: str, timeout: float = 180) -> None:
    """Wait until units run."""
    machine.wait(
        f"{machine.name}: {' '.join(units)} active", f"systemctl --quiet is-active {_quoted(units)}", timeout=timeout
    )


def since(machine: Machine, unit: str) -> float:
    """When the unit was started last, in seconds since the epoch."""
    show = f"systemctl show --timestamp=unix --value -p ActiveEnterTimestamp {shlex.quote(unit)}"
    return float(machine.run(show).stdout.strip().lstrip("@") or "inf")


def single_worker(machine: Machine, uwsgi_ini: str) -> None:
    """One process, which gives up where its application cannot be loaded.

    And one thread: eventlet, which some of the applications patch in, deadlocks across threads.
    """
    path = shlex.quote(uwsgi_ini)
    machine.run(
        f"sed -i -E 's/^(processes|threads) *=.*/\\1 = 1/' {path}\n"
        f"grep -q '^need-app' {path} || printf 'need-app = true\\n' >> {path}"
    )


def _quoted(units: tuple[str, ...]) -> str:
    return " ".join(shlex.quote(unit) for unit in units)
