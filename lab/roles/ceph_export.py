"""What would be needed to bring the cluster back without its monitors, kept each half day."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import units
from lab.roles.role import Role

FOLDER = "/var/backups/ceph"
_SECRET = "/etc/ceph/export.secret"
_SCRIPT = f"""#!/bin/sh -e
umask 077
new=$(mktemp -d {FOLDER}.XXXXXX)
cd "$new"
ceph mon getmap -o monmap 2>/dev/null
ceph osd getmap -o osdmap 2>/dev/null
ceph osd getcrushmap -o crushmap 2>/dev/null
ceph config dump -f json > config.json
ceph osd pool ls detail -f json > pools.json
ceph auth export 2>/dev/null | openssl enc -aes-256-cbc -pbkdf2 -salt -pass file:{_SECRET} -out auth.enc
rm -rf {FOLDER}
mv "$new" {FOLDER}
"""
_PROGRAM = "/usr/local/sbin/export-ceph"
_SERVICE = f"[Unit]\nAfter=ceph-mon.target\n[Service]\nType=oneshot\nExecStart={_PROGRAM}\nTimeoutStartSec=60\n"
_TIMER = "[Timer]\nOnBootSec=30\nOnUnitActiveSec=12h\n[Install]\nWantedBy=timers.target\n"


def _provision(machine: Machine, plan: Plan) -> None:
    machine.write(_PROGRAM, _SCRIPT, mode=0o755)
    machine.write(_SECRET, plan.secrets.get("ceph-export") + "\n", mode=0o600)
    machine.write("/etc/systemd/system/export-ceph.service", _SERVICE)
    machine.write("/etc/systemd/system/export-ceph.timer", _TIMER)
    machine.run(f"systemctl daemon-reload; {_PROGRAM}")
    units.enable(machine, "export-ceph.timer")


ROLES = (
    Role(
        "ceph-export",
        ("ceph-common", "openssl"),
        ("export-ceph.timer",),
        _provision,
        after=("ceph-health", "ceph-pools"),
    ),
)
