"""The Ceph cluster: monitor, managers, OSDs on files, pools and cephx users."""

import json
import shlex
from typing import Any

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import access, ini, units
from lab.roles.role import Role, Task, machine_with, option, poll, table

OSDS = 3
MANAGERS = ("a", "b")
_OSD_UNITS = tuple(f"ceph-osd@{number}" for number in range(OSDS))
_MGR_UNITS = tuple(f"ceph-mgr@{name}" for name in MANAGERS)
_OSD_BYTES = 20 << 30
_CEPHX: ini.Section = {f"auth_{what}_required": "cephx" for what in ("cluster", "service", "client")}
# What a running cluster keeps in its own configuration database.
_STORED: ini.Config = {
    "global": _CEPHX,
    "mon": {
        "auth_allow_insecure_global_id_reclaim": False,
        # The machine's disk is shared: its filling is no concern of the lab's cluster.
        "mon_data_avail_warn": 2,
        "mon_data_avail_crit": 1,
        "mon_max_pg_per_osd": 500,
    },
    "osd": {"osd_memory_target": 900 << 20},
}
_CLIENT: ini.Section = {"rbd_cache": True, "rbd_cache_writethrough_until_flush": True}


def client_config(plan: Plan) -> ini.Config:
    """The ceph.conf that a client needs."""
    return {
        "global": {"fsid": plan.secrets.get("fsid-uuid"), "mon_host": _mon_host(plan)},
        "client": _CLIENT,
    }


def cephx_users(plan: Plan) -> dict[str, str]:
    """The cephx ids with the part whose caps each of them has."""
    named = plan.profile.users
    return {named[part]: part for part in table(plan, "caps")}


def caps(plan: Plan, part: str) -> dict[str, str]:
    """The caps of one part, as the profile spells them, with the pools' names."""
    pools = dict(plan.profile.pools)
    told = {**table(plan, "caps", part), **plan.release.caps.get(part, {})}
    return {kind: str(text).format(**pools) for kind, text in told.items()}


def _mon_host(plan: Plan) -> str:
    return option(plan, "mon_host").format(address=machine_with(plan, "ceph-mon").address)


def _daemon_config(plan: Plan) -> ini.Config:
    return {
        "global": {
            "fsid": plan.secrets.get("fsid-uuid"),
            "mon_host": _mon_host(plan),
            "mon_initial_members": "a",
            "public_network": str(plan.subnet),
            **_CEPHX,
            "osd_pool_default_size": 3,
            "osd_pool_default_min_size": 2,
            "osd_crush_chooseleaf_type": 0,
        },
        "osd": {
            "bluestore_block_create": True,
            "bluestore_block_size": _OSD_BYTES,
            "osd_class_update_on_start": False,
        },
    }


_MAKE_MON = """
mkdir -p /etc/ceph /var/lib/ceph/mon/ceph-a
umask 077
exec >/dev/null
ceph-authtool --create-keyring --gen-key -n client.admin /etc/ceph/ceph.client.admin.keyring \
  --cap mon 'allow *' --cap osd 'allow *' --cap mds 'allow *' --cap mgr 'allow *'
seed=$(mktemp -d); trap 'rm -rf "$seed"' EXIT
ceph-authtool --create-keyring --gen-key -n mon. "$seed/keyring" --cap mon 'allow *'
ceph-authtool "$seed/keyring" --import-keyring /etc/ceph/ceph.client.admin.keyring
monmaptool --create --fsid {fsid} --addv a '[v2:{address}:3300,v1:{address}:6789]' "$seed/map"
ceph-mon --mkfs -i a --monmap "$seed/map" --keyring "$seed/keyring"
chown -R ceph:ceph /var/lib/ceph/mon
"""


def _mon(machine: Machine, plan: Plan) -> None:
    machine.write("/etc/ceph/ceph.conf", ini.render(_daemon_config(plan)))
    machine.run(_MAKE_MON.format(fsid=plan.secrets.get("fsid-uuid"), address=machine.address))
    units.patient(machine, "ceph-mon@a")
    units.start(machine, "ceph.target", "ceph-mon.target", "ceph-mon@a")
    machine.wait("the monitor is in quorum", "ceph --connect-timeout 5 mon stat")
    machine.run("ceph config assimilate-conf -i - >/dev/null", stdin=ini.render(ini.merge(_STORED, plan.release.ceph)))
    machine.run("ceph mon enable-msgr2; ceph osd set-require-min-compat-client mimic 2>&1")
    _hand_out_admin(machine, plan)


def _hand_out_admin(machine: Machine, plan: Plan) -> None:
    keyring = machine.read("/etc/ceph/ceph.client.admin.keyring")
    access.hand_out(plan, "ceph.client.admin.keyring", keyring)
    config = client_config(plan)
    where: ini.Config = {"client": {"keyring": str(plan.access / "ceph.client.admin.keyring")}}
    access.hand_out(plan, "ceph.conf", ini.render(ini.merge(config, where)))


_MAKE_MGR = """
dir=/var/lib/ceph/mgr/ceph-{id}; mkdir -p $dir
ceph auth get-or-create mgr.{id} mon 'allow profile mgr' osd 'allow *' mds 'allow *' -o $dir/keyring
chown -R ceph:ceph $dir; chmod 600 $dir/keyring
"""

# Where a module would hash a password: what is enabled here never does.
_IMPORT_BCRYPT_LATE = """
cd /usr/share/ceph/mgr
sed -i -e '/^import bcrypt$/d' -e '/^def password_hash(/a\\    import bcrypt' mgr_util.py
python3 -m py_compile mgr_util.py
"""


def _mgr(machine: Machine, plan: Plan) -> None:
    if plan.release.bcrypt_in_rust:
        machine.run(_IMPORT_BCRYPT_LATE)
    for module in plan.release.without_modules:
        machine.run(f"ceph mgr module disable {module}")
    for name in MANAGERS:
        machine.run(_MAKE_MGR.format(id=name))
    units.patient(machine, *_MGR_UNITS, more={"Unit": {"After": "ceph-mon.target"}})
    units.start(machine, "ceph-mgr.target", *_MGR_UNITS)


_MAKE_OSDS = """
make() {
  uuid=$(cat /proc/sys/kernel/random/uuid)
  key=$(ceph-authtool --gen-print-key)
  id=$(printf '{"cephx_secret": "%s"}' "$key" | ceph osd new "$uuid" -i -)
  dir=/var/lib/ceph/osd/ceph-$id; mkdir -p $dir
  (umask 077; printf '[osd.%s]\\n\\tkey = %s\\n' "$id" "$key" > $dir/keyring)
  ceph-osd -i "$id" --mkfs --osd-uuid "$uuid" 2>$dir.log || { cat $dir.log >&2; return 1; }
  rm $dir.log; chown -R ceph:ceph $dir
}
pids=(); for n in $(seq COUNT); do make & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid"; done
"""


def _osd(machine: Machine, plan: Plan) -> None:
    machine.run(_MAKE_OSDS.replace("COUNT", str(OSDS)))
    units.patient(machine, *_OSD_UNITS, more={"Unit": {"After": "ceph-mon.target"}})
    units.start(machine, "ceph-osd.target", *_OSD_UNITS)


def _up_and_in(machine: Machine, plan: Plan) -> None:
    poll("every OSD is up and in", lambda: _all_up(_status(machine)), timeout=180)


def _pools(machine: Machine, plan: Plan) -> None:
    pools = plan.profile.pools.values()
    machine.run("\n".join(f"ceph osd pool create {name} 32 32 --autoscale-mode=on" for name in pools))
    machine.run("\n".join(f"rbd pool init {name}" for name in pools))
    # Volumes with dependants are moved to the trash; nothing else takes them out again.
    for pool in plan.release.trash:
        schedule = f"rbd trash purge schedule add --pool {plan.profile.pools[pool]} 1d"
        machine.wait("the manager takes a schedule for RBD's trash", schedule)
    for user, part in cephx_users(plan).items():
        words = " ".join(f"{kind} {shlex.quote(text)}" for kind, text in caps(plan, part).items())
        machine.run(f"ceph auth get-or-create client.{user} {words} >/dev/null")


def _healthy(machine: Machine, plan: Plan) -> None:
    def look() -> bool:
        status = _status(machine)
        return _all_up(status) and _managed(status) and _clean(status) and (status["health"]["status"] == "HEALTH_OK")

    poll("Ceph is healthy, all its daemons up, its placement groups clean", look, timeout=240)


def _status(machine: Machine) -> dict[str, dict[str, Any]]:
    text = machine.run("ceph --connect-timeout 5 status -f json").stdout
    parsed: dict[str, dict[str, Any]] = json.loads(text)
    return parsed


def _all_up(status: dict[str, dict[str, Any]]) -> bool:
    osds = status["osdmap"]
    return bool(osds["num_up_osds"] == osds["num_in_osds"] == OSDS)


def _managed(status: dict[str, dict[str, Any]]) -> bool:
    managers = status["mgrmap"]
    return bool(managers["available"]) and managers["num_standbys"] == len(MANAGERS) - 1


def _clean(status: dict[str, dict[str, Any]]) -> bool:
    states = status["pgmap"].get("pgs_by_state", [])
    return bool(states) and all(s["state_name"].startswith("active+clean") for s in states)


def _running(*names: str) -> Task:
    # Whether they work is one question to the cluster as a whole: the role ceph-health asks it.
    return lambda machine, plan: units.active(machine, *names)


ROLES = (
    Role(
        "ceph-mon",
        ("ceph-mon", "ceph-common"),
        ("ceph.target", "ceph-mon.target", "ceph-mon@a"),
        _mon,
        ready=_running("ceph-mon@a"),
    ),
    Role(
        "ceph-mgr",
        ("ceph-mgr", "ceph-common"),
        ("ceph-mgr.target", *_MGR_UNITS),
        _mgr,
        after=("ceph-mon",),
        ready=_running(*_MGR_UNITS),
    ),
    Role(
        "ceph-osd",
        ("ceph-osd", "ceph-common"),
        ("ceph-osd.target", *_OSD_UNITS),
        _osd,
        after=("ceph-mon",),
        ready=_running(*_OSD_UNITS),
    ),
    Role("ceph-health", ("ceph-common",), (), _up_and_in, after=("ceph-mgr", "ceph-osd"), ready=_healthy),
    Role("ceph-pools", ("ceph-common",), (), _pools, after=("ceph-health",)),
)
