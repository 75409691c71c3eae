"""Reports made up for tests: every outcome, values that no format may stumble over, and any size."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reports.model import Description, Entry, Joint, Left, Measurement, Outcome, Remediation, Repair, Report, Round, Run

NASTY = '</script><script>alert(1)</script> <img src=x onerror=alert(2)> `a` | b & "c" \\ *d* [e](f) $g$ \u2028 é'
WAIVER = {"check": "glance.config.stores", "target": "*", "owner": "ann", "reason": "until | we < move", "code": ""}
PLACES = (
    ("ceph.pool.size", ("pool_name",), ("images", "volumes", "vms", "backups")),
    ("ceph.auth.mgr_profile", ("cephx_user",), ("client.glance", "client.cinder", "client.backup")),
    ("host.keyring.present", ("client",), ("ctl/glance-api/client.glance", "hv1/nova-compute/client.cinder")),
    ("nova.secret.value", ("secret_use",), ("hv1/volumes", "hv1/vms", "hv2/volumes", "hv2/vms")),
    ("glance.config.stores", ("glance_host",), ("ctl",)),
    ("nova.config.discard", ("hypervisor",), ("hv1", "hv2")),
    ("ceph.health.status", (), ("cloud",)),
)
JOINTS = (
    Joint(role="glance-api", hosts=("ctl",), user="glance", pool="images"),
    Joint(role="cinder-volume", hosts=("ctl",), user="cinder", pool="volumes"),
    Joint(role="cinder-backup", hosts=("ctl",), user="backup", pool="backups"),
    Joint(role="nova-compute", hosts=("hv1", "hv2"), user="cinder", pool="volumes", secret="volumes"),
    Joint(role="nova-compute", hosts=("hv1", "hv2"), user="cinder", pool="vms", secret="vms"),
)


def entry(check: str, target: str, outcome: Outcome = "passed", **more: Any) -> Entry:
    """Return what became of a check, telling where and what it found if it failed."""
    told = {}
    if outcome in ("failed", "needs operator", "waived"):
        told = {"where": f"{target}:/etc/x", "found": f"1 on {target}", "expected": "2", "remedy": f"set {target}"}
        told["message"] = "{where}: found {found}; expected {expected}. Remedy: {remedy}".format(**told)
    if outcome in ("not measured", "not applicable"):
        told = {"message": f"{target} was not asked"}
    node = f"suites/x/test_y.py::test_z[{check}:{target}]"
    fields = {"severity": "major", "seconds": 0.01, "nodeid": node} | told | more
    return Entry(check=check, target=target, outcome=outcome, **fields)


def report(*entries: Entry, started: str = "2026-11-20T02:00:00+00:00", **run: Any) -> Report:
    """Return a report of these entries, on top of a healthy cloud's where they say nothing."""
    said = {(one.check, one.target): one for one in entries}
    healthy = {(check, target): entry(check, target) for check, _, targets in PLACES for target in targets}
    every = tuple(one for _, one in sorted((healthy | said).items()))
    return whole(every, started=started, **run)


def whole(entries: tuple[Entry, ...], **run: Any) -> Report:
    """Return a report of just these entries."""
    about: dict[str, Any] = {
        "cloud": "prod",
        "cloud_file": "clouds/prod.yaml",
        "duration": 61.5,
        "command_line": ("pytest", "--cloud", "clouds/prod.yaml"),
        "exit_code": 0,
        "interrupted": False,
        "suite_version": "0.1.0",
        "python_version": "3.11.2",
        "joints": JOINTS,
        "counts": Counter(one.outcome for one in entries),
        "collected": len(entries),
        "started": "2026-11-20T02:00:00+00:00",
    }
    kinds = {check: kinds for check, kinds, _ in PLACES}
    checks = {one.check: _about(one.check, kinds.get(one.check, ("hypervisor",))) for one in entries}
    return Report(run=Run(**about | run), entries=entries, checks=checks)


def _about(check: str, kinds: tuple[str, ...]) -> Description:
    title = check.replace(".", " ")
    return Description(
        title=title, holds=f"{title} holds.", why="else it breaks", source="Z1", dynamic=False, asked_of=kinds
    )


def broken() -> Report:
    """Return a report with every outcome, a repair's plan, measurements, waivers and values out to break formats."""
    found = report(
        entry("ceph.pool.size", "volumes", "failed", severity="critical", found=NASTY, remedy=NASTY),
        entry("ceph.pool.size", "vms", "needs operator"),
        entry("ceph.auth.mgr_profile", "client.cinder", "healed", message=f"was: {NASTY}"),
        entry("nova.secret.value", "hv1/volumes", "failed"),
        entry("nova.secret.value", "hv2/volumes", "failed"),
        entry("nova.config.discard", "hv2", "not measured", message=NASTY),
        entry("glance.config.stores", "ctl", "waived", waiver=WAIVER | {"until": "2027-01-31"}),
        entry("ceph.health.status", "cloud", "not applicable", severity="info"),
        entry(
            "jour.boot",
            "hv1",
            measurements=(
                Measurement(name="boot to ACTIVE", value=4.2, unit="s"),
                Measurement(name="boot to first beat", value=9.5, unit="s"),
                Measurement(name="stored by the server's disk", value=30, unit="MiB"),
            ),
        ),
        exit_code=1,
        unreached={"hv2": NASTY},
        expired_waivers=(WAIVER | {"until": "2026-01-31"},),
        unused_waivers=(WAIVER | {"until": "2027-01-31", "why": "nothing failed there"},),
    )
    repair = Repair(
        what="hv1: secret volumes",
        disruption="safe",
        checks=("nova.secret.value [hv1/volumes]",),
        diff=("--- /etc/x", "+++ /etc/x", "@@ -1 +1,2 @@", " [a]", "-b = 1", f"+b = {NASTY}"),
    )
    left = Left(check="ceph.pool.size", target="vms", reason="data moves", lines=("ceph osd pool set vms size 3",))
    told = Remediation(run="abc", applied=True, rounds=(Round(repairs=(repair,), left=(left,)),), told=("looking",))
    return found.model_copy(update={"remediation": told})
