"""Area host: ceph.conf on the client hosts."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.facts.host import HostFacts, IniFile
from fixtures.facts.run import Facts
from fixtures.integration import monitor_hosts


def _conf(host: HostFacts) -> IniFile:
    conf = need(host.ceph_conf, f"{host.name}: ceph.conf")
    if not conf.stat.exists:
        raise NotMeasured(f"{host.name}: {conf.stat.path} is absent (see host.ceph_conf.present)")
    return conf


@pytest.mark.check("host.ceph_conf.present", severity="critical", source="S0 S1 S4 RO")
def test_ceph_conf_can_be_read_by_the_services(client_host: HostFacts) -> None:
    """ceph.conf belongs to root, all may read it and only root may write it; so too its folder.

    Why: services and every guest's QEMU read it as their own accounts.
    """
    conf, folder = need(client_host.ceph_conf).stat, need(client_host.ceph_dir)
    where = f"{client_host.name}:{conf.path}"
    assert conf.kind == "file", finding(
        where, found=conf.kind, expected="a file", remedy="install what `ceph config generate-minimal-conf` prints"
    )
    assert (conf.owner, conf.group) == ("root", "root"), finding(
        where, found=f"{conf.owner}:{conf.group}", expected="root:root", remedy=f"chown root:root {conf.path}"
    )
    assert conf.mode & 0o444 == 0o444 and not conf.mode & 0o133, finding(
        where, found=f"mode {conf.mode:04o}", expected="0644", remedy=f"chmod 0644 {conf.path}"
    )
    assert folder.mode & 0o055 == 0o055 and not folder.mode & 0o022, finding(
        f"{client_host.name}:{folder.path}",
        found=f"mode {folder.mode:04o}",
        expected="0755",
        remedy=f"chmod 0755 {folder.path}",
    )


@pytest.mark.check("host.ceph_conf.fsid_mons", severity="critical", source="S0 NREL-1761361")
def test_ceph_conf_names_this_cluster(client_host: HostFacts, facts: Facts) -> None:
    """ceph.conf has the cluster's fsid, and every host of mon_host is a present monitor, by address or by name.

    Why: an old monitor's address works until the last listed one is gone.
    """
    conf = _conf(client_host)
    fsid = _option(conf, "fsid")
    where = f"{client_host.name}:{conf.stat.path}"
    assert fsid == facts.ceph.fsid, finding(
        where, found=f"fsid {fsid or 'unset'}", expected=facts.ceph.fsid, remedy="rewrite fsid"
    )
    known = monitor_hosts(facts)
    hosts = need(client_host.mon_hosts, f"{where}: mon_host")
    strange = {host: told for host, answer in hosts.items() if (told := _not_a_monitor(answer, known))}
    assert hosts and not strange, finding(
        where,
        found=strange or "no mon_host",
        expected=f"only {', '.join(sorted(known))}, or names of these",
        remedy="rewrite mon_host",
    )


def _not_a_monitor(answer: tuple[str, ...] | Unreadable, known: frozenset[str]) -> str:
    if isinstance(answer, Unreadable):
        return answer.unreadable
    return "" if set(answer) <= known else f"{', '.join(answer)} is no monitor"


def _option(conf: IniFile, key: str) -> str:
    values = {entry.section: entry.value for entry in conf.entries if entry.key == key}
    return values.get("client", values.get("global", ""))


@pytest.mark.check("host.ceph_conf.parse", severity="major", source="S1 KA LP1914814 GC")
def test_ceph_conf_parses_and_its_keyrings_exist(client_host: HostFacts) -> None:
    """ceph.conf is a clean INI file, and each keyring that it names exists.

    Why: tools read it with different parsers; what one forgives stops another.
    """
    conf = _conf(client_host)
    where = f"{client_host.name}:{conf.stat.path}"
    assert not conf.problems, finding(
        where, found=conf.problems, expected="a file without faults", remedy="mend these lines"
    )
    named = [e for e in conf.entries if e.key == "keyring" and e.section.startswith("client.") and "$" not in e.value]
    missing = [f"line {e.line}: {e.value}" for e in named if not _exists(client_host, e.value)]
    assert not missing, finding(
        where, found=f"absent keyring at {', '.join(missing)}", expected="existing files", remedy="mend the path"
    )


def _exists(host: HostFacts, path: str) -> bool:
    if path in host.keyrings:
        return need(host.keyrings[path]).stat.exists
    return need(host.files.get(path), f"{host.name}:{path}").exists
