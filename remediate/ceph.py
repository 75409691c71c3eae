"""Area ceph: the cluster itself, and who may connect to it."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud, Role
from fixtures.facts.base import Unreadable, need
from fixtures.facts.ceph import CephFacts
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from remediate.client_options import without_entry
from remediate.model import ClusterOption, Daemon, DaemonOption, Daemons, MinClient, NeedsOperator, Option, OsdFlag
from remediate.registry import manual, repairs

manual(
    "groups become clean by themselves once their OSDs are there and have room; what stays after that is to be "
    "diagnosed before anything is repaired: `ceph health detail`, `ceph pg dump_stuck`, `ceph pg ID query`",
    "ceph.pg.active_clean",
    lags=True,
)
manual(
    "an upgrade is to be finished: restart or remove the daemons that `ceph versions` shows as old, then `ceph osd "
    "require-osd-release NAME`, after which there is no way back",
    "ceph.version.uniform",
)
manual("an upgrade of the cluster, its clients and then of every guest is yours to plan", "ceph.version.security_floor")
manual(
    "the monitors' hosts keep their own time: start chrony there, look at `chronyc tracking` and `chronyc sources`",
    "ceph.mon.clock",
)
manual(
    "slow operations and crashes have a cause that nobody has looked at: `ceph health detail`, `ceph crash info ID`; "
    "`ceph crash archive ID` afterwards",
    "ceph.slow_ops",
)
manual(
    "what is between a client and the monitors is the network's: open 3300 and 6789/tcp; where the monitors do not "
    "offer the new protocol yet, `ceph mon enable-msgr2`, after which there is no way back",
    "ceph.mon.addr_reachable",
)
manual(
    "what is between a client and the OSDs is the network's: open 6800-7568/tcp, and give all interfaces, bonds and "
    "switches on the way one MTU",
    "ceph.osd.net_reachable",
)
manual(
    "keys of the old type are refused only when every key was rotated and every guest re-attached, which only you can "
    "know: `ceph mon set auth_service_cipher aes256k`, rotate, then `ceph mon set auth_allowed_ciphers aes256k`",
    "ceph.auth.allowed_ciphers",
)


# Daemons: one that is stopped is started; one that does not stay up has a reason that a person looks for.


@repairs(
    "ceph.cli.reachable",
    disruption="safe",
    otherwise="no monitor answers, and none is stopped on the hosts of the cloud file: look at mon_host of "
    "ceph.access, at the firewall, and on the hosts of monitors at `systemctl status ceph-mon.target` and the log",
)
@repairs(
    "ceph.mon.quorum",
    disruption="safe",
    otherwise="a monitor that runs and is out of the quorum is so for a reason: `ceph quorum_status` names it, its log "
    "and its clock tell why; how many there are, and where, is yours to say: `ceph mon add`, `ceph mon remove`",
)
def start_monitors(cloud: Cloud) -> Iterator[Daemons]:
    """Start the monitors that are stopped."""
    yield from _running("mon", cloud)


@repairs(
    "ceph.mgr.active",
    disruption="safe",
    otherwise="no manager is stopped: deploy a second one; where one is active and a module of it hangs, "
    "`ceph mgr fail` hands over to the standby",
)
def start_managers(cloud: Cloud) -> Iterator[Daemons]:
    """Start the managers that are stopped."""
    yield from _running("mgr", cloud)


@repairs(
    "ceph.osd.up_in",
    disruption="disruptive",
    otherwise="an OSD that is down and not stopped has a disk, a host or a network to be looked at (`ceph osd tree "
    "down`); one that is up and out was taken out by a person: `ceph osd in ID`, once you know why",
)
def start_osds(cloud: Cloud) -> Iterator[Daemons]:
    """Start the OSDs that are stopped; data moves back to them."""
    yield from _running("osd", cloud)


def _running(daemon: Daemon, cloud: Cloud) -> Iterator[Daemons]:
    role: Role = f"ceph-{daemon}"  # type: ignore[assignment]  # a role for each kind
    yield from (Daemons(host=host, daemon=daemon) for host in cloud.hosts_with(role))


FORGOTTEN_FLAGS = frozenset(
    {"noout", "norebalance", "norecover", "nobackfill", "noscrub", "nodeep-scrub", "nosnaptrim"}
)
"""Set for a maintenance; those that stop clients or OSDs were set for a reason that is worth a look."""
STOPPING_FLAGS = frozenset({"noin", "noup", "nodown", "pauserd", "pausewr", "full"})
HEARTBEATS = {"osd_heartbeat_grace": "20", "osd_heartbeat_interval": "5"}
CEPHX_OPTIONS = ("auth_cluster_required", "auth_service_required", "auth_client_required")


@repairs("ceph.osdmap.flags", disruption="disruptive")
def take_back_forgotten_flags(facts: Facts) -> Iterator[OsdFlag]:
    """Unset what maintenance leaves behind; recovery may begin."""
    forgotten = sorted(facts.ceph.osd_flags & FORGOTTEN_FLAGS)
    stopping = sorted(facts.ceph.osd_flags & STOPPING_FLAGS)
    if stopping and not forgotten:
        raise NeedsOperator(
            f"{', '.join(stopping)} stops clients or OSDs, and whoever set it had a reason",
            *(f"ceph osd unset {flag}" for flag in stopping),
        )
    for flag in forgotten:
        yield OsdFlag(flag=flag, on=False)


@repairs("ceph.health.status", disruption="disruptive", lags=True)
def heal_what_health_tells(facts: Facts) -> Iterator[OsdFlag]:
    """Unset forgotten flags; what else health tells of has checks, and so repairs, of its own, or is a person's."""
    flags = sorted(facts.ceph.osd_flags & FORGOTTEN_FLAGS)
    if not flags:
        told = "; ".join(f"{check.code} ({check.message})" for check in facts.ceph.health_checks)
        raise NeedsOperator(
            f"what is not repaired under another check is to be looked at: {told}", "ceph health detail"
        )
    for flag in flags:
        yield OsdFlag(flag=flag, on=False)


@repairs("ceph.osd.heartbeat_iscsi", disruption="safe")
def notice_failures_in_time(facts: Facts) -> Iterator[ClusterOption]:
    """Have all OSDs look for each other as often as iSCSI's initiators need; nothing of single ones stays."""
    for option, value in HEARTBEATS.items():
        told = facts.ceph.osd_options.get(option, {})
        yield ClusterOption(who="osd", option=option, value=value)
        yield from (ClusterOption(who=osd, option=option, value=None) for osd in sorted(told))


@repairs("ceph.auth.cephx_required", disruption="disruptive")
def require_cephx(facts: Facts, cloud: Cloud) -> Iterator[ClusterOption | DaemonOption | Option]:
    """Require it of all, and take back what says otherwise: of monitors, of what they run with, of ceph.conf."""
    monitors = [f"mon.{monitor.name}" for monitor in facts.ceph.monitors]
    for option in CEPHX_OPTIONS:
        if not facts.ceph.config.get(option, "").startswith("cephx") or "none" in _strict(facts.ceph, option):
            yield ClusterOption(who="global", option=option, value="cephx")
            yield from (ClusterOption(who=who, option=option, value=None) for who in ("mon", *monitors))
            yield from (DaemonOption(daemon=monitor, option=option, value=None) for monitor in monitors)
    for host in facts.hosts.values():
        if isinstance(host, HostFacts) and not isinstance(host.ceph_conf, Unreadable):
            wrong = (entry for entry in host.ceph_conf.entries if entry.key in CEPHX_OPTIONS and entry.value != "cephx")
            yield from (without_entry(host.name, entry, cloud) for entry in wrong)


def _strict(ceph: CephFacts, option: str) -> str:
    """What a client is told of itself may be Ceph's default, "cephx, none"."""
    return "" if option == "auth_client_required" else ceph.config.get(option, "")


@repairs("ceph.auth.global_id_reclaim", disruption="disruptive")
def demand_proof_of_reclaimed_ids(facts: Facts) -> Iterator[ClusterOption]:
    """Refuse clients that prove nothing, once none is connected; one that is would lose its disk."""
    codes = {check.code for check in facts.ceph.health_checks}
    option = "auth_allow_insecure_global_id_reclaim"
    if "AUTH_INSECURE_GLOBAL_ID_RECLAIM" in codes:
        raise NeedsOperator(
            "old clients are connected that would lose their disks: update and restart them, guests too "
            "(`ceph health detail` names them)",
            f"ceph config set mon {option} false",
        )
    if need(facts.ceph.insecure_reclaim, option) != "false":
        yield ClusterOption(who="mon", option=option, value="false")


@repairs("ceph.compat.min_client", disruption="disruptive")
def clone_without_protecting(facts: Facts) -> Iterator[MinClient | ClusterOption]:
    """Let in nobody older than mimic, which nobody connected is, and leave the clones' version to Ceph."""
    old = {
        name: count for name, count in need(facts.ceph.client_releases, "ceph features").items() if name < "luminous"
    }
    if old:
        raise NeedsOperator(
            f"clients are connected that could not come back ({', '.join(sorted(old))}): `ceph features`; update them",
            "ceph osd set-require-min-compat-client mimic",
        )
    if facts.ceph.min_client < "mimic":
        yield MinClient(release="mimic")
    if facts.ceph.clone_format not in ("auto", "2"):
        for who in ("client", "global"):
            yield ClusterOption(who=who, option="rbd_default_clone_format", value=None)
