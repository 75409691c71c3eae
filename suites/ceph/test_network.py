"""Area ceph: its addresses, tried from each host that uses them."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import Unreadable, need
from fixtures.facts.network import Reached
from fixtures.facts.run import Facts

NO_MSGR2 = "MON_MSGR2_NOT_ENABLED"


@pytest.mark.check("ceph.mon.addr_reachable", severity="critical", source="HC NR CR")
def test_every_monitor_is_reached_from_every_client(facts: Facts, cloud: Cloud) -> None:
    """Each address of each monitor takes connections from every host that uses Ceph, by both protocols.

    Why: Nova and Cinder hand these addresses to guests; one that is not reached counts when the others are gone.
    """
    disabled = [check.message for check in facts.ceph.health_checks if check.code == NO_MSGR2]
    assert not disabled, finding("monitors", found=disabled, expected="both protocols", remedy="ceph mon enable-msgr2")
    addresses = {address for monitor in facts.ceph.monitors for address in monitor.addresses}
    bad = _unreached(facts, cloud, addresses)
    assert not bad, finding(
        "monitors",
        found=bad,
        expected="connections from every host that uses Ceph",
        remedy="open 3300 and 6789/tcp to the monitors; start ceph-mon",
    )


@pytest.mark.check("ceph.osd.net_reachable", severity="critical", source="practice")
def test_every_osd_is_reached_from_every_client(facts: Facts, cloud: Cloud) -> None:
    """Each OSD takes connections from every host that uses Ceph, and packets of the interface's size get there whole.

    Why: what cannot be reached hangs the guests whose data is there; large packets that get lost hang them at random.
    """
    addresses = {address for of_one in facts.ceph.osds.addresses.values() for address in of_one}
    bad = _unreached(facts, cloud, addresses)
    assert not bad, finding(
        "OSDs",
        found=bad,
        expected="connections from every host that uses Ceph",
        remedy="open 6800-7568/tcp (before Reef: 6800-7300) to the hosts of the OSDs",
    )
    cut = {
        f"{host} -> {target}": f"packets of {way.mtu} bytes get lost"
        for host, reached in _reached(facts, cloud).items()
        for target, way in reached.paths.items()
        if not isinstance(way, Unreadable) and way.whole is False
    }
    assert not cut, finding(
        "paths to the OSDs",
        found=cut,
        expected="packets of the interface's MTU arrive",
        remedy="set one MTU on all interfaces, bonds, VLANs and switches between them",
    )


def _reached(facts: Facts, cloud: Cloud) -> dict[str, Reached]:
    return {
        name: need(facts.host(name).reached, f"{name}: addresses of Ceph") for name in cloud.hosts_with(*CLIENT_ROLES)
    }


def _unreached(facts: Facts, cloud: Cloud, addresses: set[str]) -> dict[str, str]:
    """Return addresses that some host does not reach, with the hosts and why."""
    found: dict[str, dict[str, list[str]]] = {}
    for host, reached in _reached(facts, cloud).items():
        for address in sorted(addresses & reached.ports.keys()):
            if reached.ports[address]:
                found.setdefault(address, {}).setdefault(reached.ports[address], []).append(host)
    return {
        address: "; ".join(f"{why} from {', '.join(hosts)}" for why, hosts in by_reason.items())
        for address, by_reason in found.items()
    }
