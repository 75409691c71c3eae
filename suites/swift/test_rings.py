"""Area swift: the hash of names, and the rings that say where everything is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from fixtures.around import odd_ones
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.facts.run import Facts
from fixtures.facts.swift import Builder, Ring
from fixtures.swift import ACCOUNT, IN_USE, KINDS, host_of, nodes, off_balance, own_port, rings, wanted_rings

pytestmark = pytest.mark.applies_if(*IN_USE)


@pytest.mark.check("swift.hash", severity="critical", source="S2 SW")
def test_names_are_hashed_alike_everywhere(cloud: Cloud, facts: Facts) -> None:
    """A suffix (or prefix) of the hash is set, is none of the examples of guides, and is the same on every host.

    It is compared by a digest salted for the run; itself it leaves no host.

    Why: a host with another hash looks for every object in another place and answers that there is none; one that
    everybody knows lets tenants aim at a partition.
    """
    told = {name: need(node.hash, f"{name}: swift.conf") for name, node in nodes(cloud, facts).items()}
    where = "swift.conf [swift-hash]"
    unset = [name for name, parts in told.items() if not parts]
    assert not unset, finding(
        where, found=f"nothing set on {', '.join(unset)}", expected="a secret of its own", remedy=_HASH_REMEDY
    )
    known = [f"{part} on {name}" for name, parts in told.items() for part, value in parts.items() if value.example]
    assert not known, finding(
        where, found=f"an example of guides: {', '.join(known)}", expected="a secret of its own", remedy=_HASH_REMEDY
    )
    odd = odd_ones({name: tuple(sorted((it, one.digest) for it, one in parts.items())) for name, parts in told.items()})
    assert not odd, finding(
        where,
        found=f"another hash on {', '.join(odd)} than on most hosts",
        expected="the same on all",
        remedy="copy swift.conf from a host that serves what is there, restart all of Swift there; what was written "
        "meanwhile is found by the other hash only",
    )


_HASH_REMEDY = (
    "only while nothing is stored: set it on all hosts, restart Swift; later it can never be changed, for nothing "
    "would be found any more"
)


@pytest.mark.check("swift.ring.files", severity="critical", source="S2 SW")
def test_rings_are_the_same_on_every_host(cloud: Cloud, facts: Facts) -> None:
    """Each host has all rings, whole, root's or Swift's own, with one digest; their builders are kept.

    A builder is kept on two hosts, or on one and in the backup of keys (recovery.keys).

    Why: servers with different rings look for the same object in different places; without the builder a ring can
    never be changed, not even to take out a dead disk.
    """
    problems = list(_file_problems(cloud, facts))
    assert not problems, finding(
        "rings",
        found=problems,
        expected="every ring that a host needs, the same everywhere, root:swift or swift:swift, not for all to write",
        remedy="copy the newest *.ring.gz from the host that builds them; servers read them within seconds",
    )
    unkept = sorted(_unkept(cloud, facts))
    assert not unkept, finding(
        "builders",
        found=f"fewer than two copies of {', '.join(unkept)}",
        expected="two hosts with each *.builder, or one and the backup of keys",
        remedy="copy *.builder to a second host, and into what recovery.keys names",
    )


def _file_problems(cloud: Cloud, facts: Facts) -> Iterator[str]:
    everywhere = nodes(cloud, facts)
    digests: dict[str, dict[str, str]] = {}
    for name, node in everywhere.items():
        yield from (f"{name}: no {ring} ring" for ring in sorted(wanted_rings(node) - set(node.rings)))
        for ring, told in node.rings.items():
            if isinstance(told, Unreadable):
                yield f"{name}: {told.unreadable}"
                continue
            digests.setdefault(ring, {})[name] = told.md5
            stat = told.stat
            if stat.owner not in ("root", ACCOUNT) or stat.group not in ("root", ACCOUNT) or stat.mode & 0o022:
                yield f"{name}: {stat.path} is {stat.owner}:{stat.group} {stat.mode:04o}"
    for ring, copies in digests.items():
        yield from (f"{name}: another {ring} ring than on most hosts" for name in odd_ones(copies))


def _unkept(cloud: Cloud, facts: Facts) -> set[str]:
    held = Counter(name for node in nodes(cloud, facts).values() for name in node.builders)
    kept = cloud.recovery.keys
    if kept:
        archive = need(facts.host(kept.host).system.archive, f"{kept.host}:{kept.path}")
        held += Counter(name for name in rings(cloud, facts) if any(f"{name}.builder" in it for it in archive.members))
    return {f"{name}.builder" for name in rings(cloud, facts) if held[name] < 2}


@pytest.mark.check("swift.ring.shape", severity="major", source="S2 SW")
def test_rings_spread_copies_as_promised(cloud: Cloud, facts: Facts) -> None:
    """Each ring has enough copies, zones, devices with a weight, an even share for each, and copies in zones apart.

    How many is the cloud file's to say (swift.replicas, swift.zones, swift.balance). Its builder lets a partition
    rest for an hour at least (min_part_hours), and the ring is the one that the builder wrote last.

    Why: copies that share a zone die together; a builder without rest moves two copies of the same partition at once.
    """
    problems = [
        f"{name}: {problem}"
        for name, ring in rings(cloud, facts).items()
        for problem in (*_shape_problems(cloud, ring), *_builder_problems(cloud, facts, name, ring))
    ]
    assert not problems, finding(
        "rings",
        found=problems,
        expected=f"{cloud.swift.replicas:g} copies, {cloud.swift.zones} zones, off balance by under "
        f"{cloud.swift.balance:g} %, min_part_hours of 1 or more",
        remedy="swift-ring-builder FILE add / set_weight / set_min_part_hours, then rebalance, and hand the rings out",
    )


def _shape_problems(cloud: Cloud, ring: Ring) -> Iterator[str]:
    wanted = cloud.swift
    zones = {(device.region, device.zone) for device in ring.devices if device.weight > 0}
    if ring.replicas < wanted.replicas:
        yield f"{ring.replicas:g} copies"
    if len(zones) < wanted.zones:
        yield f"{len(zones)} zones"
    if len(ring.devices) < ring.replicas:
        yield f"{len(ring.devices)} devices"
    yield from (f"{device} has no weight" for device in ring.devices if device.weight <= 0 and device.parts)
    off = {device: value for device, value in off_balance(ring).items() if abs(value) > wanted.balance}
    yield from (f"{device} holds {value:+.1f} % of its due" for device, value in off.items())
    if ring.crowded:
        yield f"{ring.crowded} partitions with two copies in one zone while another has none"


def _builder_problems(cloud: Cloud, facts: Facts, name: str, ring: Ring) -> Iterator[str]:
    held = [node.builders[name] for node in nodes(cloud, facts).values() if name in node.builders]
    read = [builder for builder in held if isinstance(builder, Builder)]
    if held and not read:
        raise NotMeasured(f"{name}.builder could not be read on any host")
    if not read:
        return
    version = max(builder.version for builder in read)
    newest = [builder for builder in read if builder.version == version]
    if (hours := min(builder.min_part_hours for builder in newest)) < 1:
        yield f"min_part_hours {hours}"
    if ring.version is not None and ring.version != version:
        yield f"version {ring.version}, the builder's is {version}"


@pytest.mark.check("swift.ring.ports", severity="critical", source="S2 SW")
def test_rings_lead_to_servers_that_listen(cloud: Cloud, facts: Facts) -> None:
    """Each address and port of the rings is where a server of that kind is told to listen, and a proxy reaches it.

    Why: a ring with the ports of an older release leads to nobody, or to a server of another kind; the proxy then
    counts the device as failed and writes its copies elsewhere.
    """
    wrong = sorted(set(_wrong_ports(cloud, facts)))
    assert not wrong, finding(
        "rings",
        found=wrong,
        expected="the bind_port of the server of that kind on that host",
        remedy="swift-ring-builder FILE set_info --ip IP --change-port PORT, write the ring and hand it out; "
        "or set bind_port and restart the server",
    )
    silent = {
        f"{name}: {address}": why
        for name, node in nodes(cloud, facts, "swift-proxy").items()
        for address, why in node.reached.items()
        if why
    }
    assert not silent, finding(
        "rings",
        found=silent,
        expected="a proxy reaches every address of the rings",
        remedy="start the server there, or open the port between proxies and stores",
    )


def _wrong_ports(cloud: Cloud, facts: Facts) -> Iterator[str]:
    roles = {kind: role for role, kind in KINDS.items()}
    for name, ring in rings(cloud, facts).items():
        role = roles[name.partition("-")[0]]
        for device in ring.devices:
            host = host_of(cloud, facts, device)
            if not host or role not in cloud.hosts[host].roles:
                yield f"{name}: {device.ip}:{device.port} is no {role} of the cloud file"
                continue
            told = own_port(facts, host, role)
            if told not in (device.port, None):
                yield f"{name}: {device.ip}:{device.port}, where {role} on {host} has {told}"
