"""What runs here, in which containers, of which cluster, and where things lie. No secret is read: names and paths."""

import glob
import json
import os
import re
import socket
import sys
from typing import Any, Callable, Dict, List

from fixtures.observe.collector.base import FAILURES, Json, why
from fixtures.observe.collector.containers import RUNTIMES
from fixtures.observe.collector.files import read_text
from fixtures.observe.collector.ini import parse_ceph
from fixtures.observe.collector.network import client_option
from fixtures.observe.collector.tools import TOOL_PATH, Tools
from fixtures.observe.collector.units import show_units, unit_name

CEPH_UNITS = ["ceph*", "snap.microceph*"]
SITES = ("/etc/apache2/sites-enabled", "/etc/apache2/conf-enabled", "/etc/httpd/conf.d")
CLOUDS = ("/etc/openstack", "/root/.config/openstack", "/etc/kolla", "/home/*/.config/openstack", "/root", "/home/*")
BACKUPS = ("/var/backups", "/backup", "/backups", "/srv/backup", "/srv/backups", "/var/lib/backup", "/var/lib/backups")
DUMP = re.compile(r"((?:\.sql|\.xbstream|\.xbs)(?:\.[a-z0-9]{1,4}){0,3})$")
MOST_FOLDERS, DEEPEST = 500, 4


def main(request: Json) -> None:
    """Print what was found as one line of JSON behind the request's mark."""
    path = os.pathsep.join(filter(None, (os.environ.get("PATH", ""), TOOL_PATH)))
    tools = Tools(path, request["seconds"])
    parts = {
        "units": lambda: units(request["units"], tools),
        "containers": lambda: containers(tools),
        "clusters": clusters,
        "backups": backups,
    }  # type: Dict[str, Callable[[], Any]]
    found = {
        "hostname": socket.gethostname(),
        "root": os.geteuid() == 0,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "commands": [name for name in ("ceph", "rbd") if tools.which(name)],
        "keyrings": sorted(glob.glob("/etc/ceph/*.keyring")),
        "sites": sorted(path for folder in SITES for path in glob.glob(folder + "/*.conf")),
        "clouds": sorted({path for folder in CLOUDS for path in glob.glob(folder + "/clouds.y*ml")}),
        "libvirt": any(os.path.exists("/run/libvirt/" + name) for name in ("libvirt-sock", "virtqemud-sock")),
    }
    found.update((name, read_or_why(read)) for name, read in parts.items())
    sys.stdout.write(request["mark"] + json.dumps(found) + "\n")


def read_or_why(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FAILURES as error:
        return {"unreadable": why(error)}


def units(names: List[str], tools: Tools) -> Dict[str, Json]:
    """All of the names that systemd knows, and every daemon of Ceph."""
    argv = ["systemctl", "list-units", "--all", "--type=service", "--no-legend", "--plain", "--no-pager", *CEPH_UNITS]
    daemons = [line.split()[0] for line in tools.output(argv).splitlines() if line.strip()]
    told = show_units(sorted({unit_name(name) for name in names} | set(daemons)), tools)
    return {
        name: {"load": unit["LoadState"], "active": unit["ActiveState"], "enabled": unit.get("UnitFileState", "")}
        for name, unit in told.items()
        if unit.get("LoadState") not in (None, "", "not-found", "masked")
    }


def containers(tools: Tools) -> Dict[str, Json]:
    """Those that run, by name."""
    found = {}
    for runtime in RUNTIMES:
        if tools.which(runtime):
            out = tools.output([runtime, "ps", "--no-trunc", "--format", "{{.Names}}\t{{.Image}}"])
            rows = [line.split("\t") for line in out.splitlines()]
            found.update({row[0]: {"runtime": runtime, "image": row[1]} for row in rows if len(row) == 2})
    return found


def clusters() -> Dict[str, str]:
    """Path of each ceph.conf to the fsid that it names."""
    return {path: fsid for path in sorted(glob.glob("/etc/ceph/*.conf")) for fsid in [fsid_of(path)] if fsid}


def fsid_of(path: str) -> str:
    try:
        return client_option(parse_ceph(read_text(path))[0], "fsid")
    except FAILURES:
        return ""


def backups() -> Dict[str, List[str]]:
    """Patterns under which dumps of databases lie, and folders that hold maps of Ceph."""
    found = {"dumps": set(), "ceph": set()}  # type: Dict[str, Any]
    left = MOST_FOLDERS
    for root in BACKUPS:
        for folder, inner, files in os.walk(root):
            left -= 1
            if left < 0 or folder.count("/") - root.count("/") >= DEEPEST:
                del inner[:]
            endings = {match.group(1) for match in map(DUMP.search, files) if match}
            found["dumps"].update("%s/*%s" % (folder, ending) for ending in endings)
            found["ceph"].update([folder] if any("monmap" in name for name in files) else [])
    return {what: sorted(paths) for what, paths in found.items()}
