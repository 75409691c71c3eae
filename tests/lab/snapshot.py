"""What a lab is, to the byte: every file of /etc, every unit, and what the cluster is told; no secret leaves a host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.machine import Machine

ON_A_HOST = r"""
import hashlib, json, os, subprocess

def files(times):
    for folder, _, names in os.walk("/etc"):
        for name in [".", *names]:
            path = os.path.normpath(os.path.join(folder, name))
            if path in COPIES:
                continue
            try:
                stat = os.lstat(path)
                told = [stat.st_mode, stat.st_uid, stat.st_gid]
                if os.path.islink(path):
                    told.append(os.readlink(path))
                elif os.path.isfile(path):
                    told.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
            except FileNotFoundError:
                continue
            yield path, told + ([stat.st_mtime_ns] if times else [])

# What passwd and its like were before: made anew by whatever package is installed.
COPIES = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-")

def units(times):
    asked = ["systemctl", "show", "*.service", "-p", "Id,ActiveState,UnitFileState,ActiveEnterTimestampMonotonic"]
    told = subprocess.run(asked, stdout=subprocess.PIPE, text=True).stdout
    for block in told.strip().split("\n\n"):
        one = dict(line.split("=", 1) for line in block.splitlines())
        if one["Id"].startswith(SERVICES):
            yield "unit " + one["Id"], list(one.values()) if times else [one["ActiveState"], one["UnitFileState"]]

SERVICES = ("glance", "cinder", "nova", "libvirt", "virtlog", "ceph", "chrony", "neutron", "apache2", "uwsgi")
print(json.dumps({**dict(files(TIMES)), **dict(units(TIMES))}))
"""
# An entity's key is compared by its digest. A cluster that does not answer is silent, whatever it is.
ON_THE_CLUSTER = r"""
import hashlib, json, subprocess

def ceph(*words):
    asked = ["ceph", "--connect-timeout", "10", *words, "-f", "json"]
    return json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout)

MEANT = ("pool_name", "type", "size", "min_size", "crush_rule", "pg_autoscale_mode", "quota_max_bytes",
         "quota_max_objects", "application_metadata", "options", "flags_names")

def cluster():
    for one in ceph("auth", "ls")["auth_dump"]:
        yield "auth " + one["entity"], [hashlib.sha256(one["key"].encode()).hexdigest(), one["caps"]]
    for one in ceph("osd", "pool", "ls", "detail"):
        yield "pool " + one["pool_name"], {key: one[key] for key in MEANT}
    for one in ceph("config", "dump"):
        yield "config %s %s" % (one["section"], one["name"]), one["value"]
    yield "flags", sorted(ceph("osd", "dump")["flags_set"])
    yield "client floor", ceph("osd", "dump")["require_min_compat_client"]

try:
    told = dict(cluster())
except subprocess.CalledProcessError:
    told = {"silent": True}
print(json.dumps(told))
"""

Snapshot = dict[str, Any]
"""Thing, as "HOST /path", "HOST unit NAME", "ceph auth ENTITY"…, to what it is."""


def snapshot(machines: Mapping[str, Machine], *, times: bool = False) -> Snapshot:
    """Take in what all of a lab is; with `times`, also when files were written and units started."""
    with ThreadPoolExecutor(len(machines) + 1) as pool:
        jobs = {
            name: pool.submit(_python, machine, f"TIMES = {times}{ON_A_HOST}") for name, machine in machines.items()
        }
        monitor = next(machine for machine in machines.values() if "ceph-mon" in machine.roles)
        cluster = pool.submit(_python, monitor, ON_THE_CLUSTER)
        found = {f"{name} {thing}": told for name, job in jobs.items() for thing, told in job.result().items()}
        return found | {f"ceph {thing}": told for thing, told in cluster.result().items()}


def changed(old: Snapshot, new: Snapshot) -> set[str]:
    """Return the things that differ."""
    return {thing for thing in old.keys() | new.keys() if old.get(thing) != new.get(thing)}


def _python(machine: Machine, program: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("exec python3 -I -", stdin=program).stdout)
    return found
