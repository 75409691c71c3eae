"""Area host: ceph.conf on the client hosts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import ConfigEntry, HostFacts, IniFile
from fixtures.facts.run import Facts
from fixtures.integration import monitor_hosts
from remediate.model import Attributes, File, Folder, NeedsOperator, Option, TidyConf
from remediate.places import clients_on, on_host
from remediate.registry import repairs

MODE, FOLDER_MODE = 0o644, 0o755
USUAL_PORTS = frozenset({"3300", "6789"})
MENDABLE = re.compile(r"line \d+: (starts with a tab|section \[.*\] again|no line end)")
MINIMAL = "[global]\nfsid = {fsid}\nmon_host = {mon_host}\n"
GENERATE = "ceph config generate-minimal-conf"


@repairs("host.ceph_conf.present", disruption="safe")
def let_the_services_read_ceph_conf(
    client_host: str, cloud: Cloud, facts: Facts
) -> Iterator[Folder | File | Attributes]:
    """Write a minimal one where there is none; set owner and mode, of the folder too."""
    host = on_host(client_host, facts, GENERATE)
    conf, folder = need(host.ceph_conf).stat, need(host.ceph_dir)
    mode = (folder.mode | 0o055) & ~0o022 if folder.exists else FOLDER_MODE
    if mode != folder.mode:
        yield Folder(host=host.name, path=folder.path, mode=mode)
    if not conf.exists:
        text = MINIMAL.format(fsid=facts.ceph.fsid, mon_host=_mon_host(cloud, facts))
        yield File(host=host.name, path=conf.path, text=text, **_ROOTS, restarts=clients_on(host, cloud))
    elif (conf.owner, conf.group, conf.mode) != ("root", "root", MODE):
        yield Attributes(host=host.name, path=conf.path, **_ROOTS)


_ROOTS = {"owner": "root", "group": "root", "mode": MODE}


@repairs("host.ceph_conf.fsid_mons", disruption="safe")
def name_this_cluster(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Rewrite fsid and mon_host, where one of them proves that this cluster is meant."""
    host = on_host(client_host, facts, GENERATE)
    conf, known = need(host.ceph_conf), monitor_hosts(facts)
    hosts = need(host.mon_hosts, f"{host.name}: mon_host")
    right = {name for name, told in hosts.items() if not isinstance(told, Unreadable) and set(told) <= known}
    fsid = _entry(conf, "fsid")
    if (fsid is None or fsid.value != facts.ceph.fsid) and hosts and not right:
        raise NeedsOperator(
            f"{host.name} is a client of another cluster: neither fsid nor mon_host is of this one", GENERATE
        )
    if fsid is None or fsid.value != facts.ceph.fsid:
        yield _option(host, cloud, conf, "fsid", facts.ceph.fsid)
    if not hosts or right != set(hosts):
        yield _option(host, cloud, conf, "mon_host", _mon_host(cloud, facts))


def _entry(conf: IniFile, key: str) -> ConfigEntry | None:
    """The one that clients go by."""
    found = {entry.section: entry for entry in conf.entries if entry.key == key}
    return found.get("client") or found.get("global")


def _option(host: HostFacts, cloud: Cloud, conf: IniFile, key: str, value: str) -> Option:
    entry = _entry(conf, key)
    return Option(
        host=host.name,
        path=conf.stat.path,
        section=entry.section if entry else "global",
        key=key,
        value=value,
        reader="ceph",
        restarts=clients_on(host, cloud),
    )


def _mon_host(cloud: Cloud, facts: Facts) -> str:
    """As most of the other clients have it, where that is right; else from the monitors themselves."""
    usual = Counter(filter(None, (_right_mon_host(facts, name) for name in cloud.hosts_with(*CLIENT_ROLES))))
    return usual.most_common(1)[0][0] if usual else _from_monitors(facts)


def _right_mon_host(facts: Facts, name: str) -> str:
    host = facts.hosts.get(name)
    if not isinstance(host, HostFacts) or not isinstance(host.ceph_conf, IniFile):
        return ""
    known, entry = monitor_hosts(facts), _entry(host.ceph_conf, "mon_host")
    named = host.mon_hosts if isinstance(host.mon_hosts, dict) else {}
    right = named and all(not isinstance(told, Unreadable) and set(told) <= known for told in named.values())
    return entry.value if entry and right else ""


def _from_monitors(facts: Facts) -> str:
    """Bare addresses, which every release reads; with ports where these are not the usual ones."""
    every = [monitor.addresses for monitor in facts.ceph.monitors]
    if {address.rpartition(":")[2] for addresses in every for address in addresses} <= USUAL_PORTS:
        return ",".join(sorted(_bracketed(host) for host in monitor_hosts(facts)))
    return ",".join(f"[{','.join(addresses)}]" for addresses in every)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@repairs("host.ceph_conf.parse", disruption="safe")
def put_ceph_conf_in_order(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[TidyConf | Option]:
    """Take tabs away, join sections, and let users without a keyring there find the usual one."""
    host = on_host(client_host, facts)
    conf = need(host.ceph_conf)
    unclear = [problem for problem in conf.problems if not MENDABLE.match(problem)]
    if unclear:
        raise NeedsOperator(f"{host.name}:{conf.stat.path}: what is meant is yours to say", *unclear)
    if conf.problems:
        yield TidyConf(host=host.name, path=conf.stat.path)
    for entry in conf.entries:
        if entry.key == "keyring" and entry.section.startswith("client.") and _is_absent(host, entry.value):
            yield _without_keyring(host, cloud, conf, entry)


def _is_absent(host: HostFacts, path: str) -> bool:
    keyring = host.keyrings.get(path)
    stat = keyring.stat if keyring and not isinstance(keyring, Unreadable) else host.files.get(path)
    return "$" not in path and not need(stat, f"{host.name}:{path}").exists


def _without_keyring(host: HostFacts, cloud: Cloud, conf: IniFile, entry: ConfigEntry) -> Option:
    usual = cloud.ceph.keyring(entry.section.removeprefix("client."))
    keyring = host.keyrings.get(usual)
    if keyring is None or isinstance(keyring, Unreadable) or not keyring.stat.exists:
        raise NeedsOperator(
            f"{host.name}: neither {entry.value} nor {usual} is there", f"ceph auth get {entry.section} -o {usual}"
        )
    return Option(host=host.name, path=conf.stat.path, section=entry.section, key="keyring", value=None, reader="ceph")
