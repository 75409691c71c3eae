"""Area swift: what a tenant does with objects."""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager

import pytest

from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.facts.swift import Device
from fixtures.reach import Hosts
from fixtures.scratch.absence import Absences
from fixtures.scratch.judging import expect_within
from fixtures.scratch.objects import Bucket, Copies, account_of, etag
from fixtures.scratch.project import Stranger
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.swift import RELEASES_A_STORE, SERVES, seen, storage_roles
from fixtures.targets import service_of
from fixtures.waiting import Pending

pytestmark = [pytest.mark.dynamic, pytest.mark.applies_if(*SERVES), pytest.mark.xdist_group("swift")]

KIB = 1024
SEGMENT = 1 << 20
SEGMENTS = 3
OBJECTS = 12
CLOCK = 300.0
"""Seconds by which the runner's clock and the cloud's may differ."""


@pytest.mark.check("swift.updown", severity="critical", source="S2 SW")
def test_object_comes_back_as_it_was(scratch: Scratch, hosts: Hosts, cloud: Cloud, facts: Facts) -> None:
    """5 KiB are uploaded, listed, downloaded byte for byte, under their digest, and removed.

    In Swift the object is soon on each device that its ring names for it.

    Why: it is what the object store is for; an object on fewer devices is lost with the first of them.
    """
    bucket, data = _bucket(scratch), os.urandom(5 * KIB)
    told = bucket.put("some/object", data).headers
    assert told["etag"].strip('"') == etag(data), finding(
        _where(bucket), found=told["etag"], expected=f"{etag(data)}, its MD5", remedy=REMEDIES["container"]
    )
    expect_within(
        _where(bucket),
        "the object listed",
        lambda: bucket.listed() or Pending("an empty listing"),
        float(cloud.journeys.timeout),
        remedy=REMEDIES["container"],
    )
    answer = bucket.get("some/object")
    assert answer.content == data, finding(
        _where(bucket),
        found=f"{len(answer.content)} other bytes",
        expected="what was sent",
        remedy=REMEDIES["container"],
    )
    written = float(answer.headers.get("x-timestamp", "0"))
    assert abs(written - time.time()) < CLOCK, finding(
        _where(bucket), found=f"X-Timestamp {written}", expected="now", remedy="set the proxy's clock"
    )
    if cloud.object_store == "swift":
        _expect_copies(bucket, {"some/object": data}, hosts, cloud, facts)
    scratch.clean_up()


@pytest.mark.check("swift.large_object", severity="major", source="SW")
def test_segments_are_one_object(scratch: Scratch) -> None:
    """Segments under a manifest are read as one object, whole and across their borders.

    Why: what is larger than 5 GiB is kept so; backups and images in Swift are.
    """
    bucket, parts = _bucket(scratch), [os.urandom(SEGMENT) for _ in range(SEGMENTS)]
    for number, part in enumerate(parts):
        bucket.put(f"parts/{number}", part)
    manifest = [
        {"path": f"/{bucket.container}/parts/{number}", "etag": etag(part), "size_bytes": len(part)}
        for number, part in enumerate(parts)
    ]
    bucket.put("whole", json.dumps(manifest).encode(), query="?multipart-manifest=put")
    whole = b"".join(parts)
    answer = bucket.get("whole")
    assert answer.content == whole, finding(
        _where(bucket),
        found=f"{len(answer.content)} bytes, not those of the segments",
        expected=f"the {SEGMENTS} segments as one",
        remedy="put slo and dlo into the proxy's pipeline, after keystoneauth",
    )
    first, last = SEGMENT - 100, SEGMENT + 99
    across = bucket.get("whole", Range=f"bytes={first}-{last}")
    assert across.content == whole[first : last + 1], finding(
        _where(bucket),
        found=f"HTTP {across.status_code}, {len(across.content)} bytes",
        expected="200 bytes of two segments",
        remedy=REMEDIES["container"],
    )
    scratch.clean_up()


@pytest.mark.check("swift.acl", severity="critical", source="SW")
def test_only_those_who_are_let_in_get_in(scratch: Scratch, stranger: Stranger) -> None:
    """Neither nobody nor a member of another project reads or writes; one that is let read may read, and no more.

    Why: a role too many among the operators, or a proxy that does not ask, opens every tenant's data to all others.
    """
    bucket = _bucket(scratch)
    bucket.put("private", b"of this project alone")
    account = str(bucket.connection.object_store.get_endpoint()).rstrip("/")
    theirs = Bucket(stranger.at(account), bucket.container)
    nobody = bucket.connection.session.get(
        f"{account}/{bucket.container}/private", authenticated=False, raise_exc=False
    ).status_code
    found = {"nobody": nobody, "reads": theirs.status("GET", "private"), "writes": theirs.status("PUT", "mine", b"x")}
    assert all(status in (401, 403) for status in found.values()), finding(
        _where(bucket),
        found={what: f"HTTP {status}" for what, status in found.items()},
        expected="401 or 403 for nobody, and for a member of another project that reads or writes",
        remedy="take that member's role out of operator_roles and reseller_admin_role, restart swift-proxy",
    )
    bucket.let(read=f"{stranger.project}:*")
    let = {"reads": theirs.status("GET", "private"), "writes": theirs.status("PUT", "mine", b"x")}
    bucket.let(read="")
    let["reads again"] = theirs.status("GET", "private")
    assert (let["reads"], let["writes"] in (401, 403), let["reads again"] in (401, 403)) == (200, True, True), finding(
        _where(bucket),
        found={what: f"HTTP {status}" for what, status in let.items()},
        expected="200 while it may read, 401 or 403 to write, and once it may not any more",
        remedy="keystoneauth must come before the proxy in the pipeline; read the proxy's log",
    )
    scratch.clean_up()


def _bucket(scratch: Scratch) -> Bucket:
    return Bucket(scratch.tenant.connection, str(scratch.container().name))


def _where(bucket: Bucket) -> str:
    return f"container {bucket.container}"


def _expect_copies(bucket: Bucket, content: dict[str, bytes], hosts: Hosts, cloud: Cloud, facts: Facts) -> None:
    proxy = cloud.hosts_with("swift-proxy")[0]
    copies = Copies(hosts, proxy, seen(cloud, facts, proxy).folder)
    account = account_of(bucket.connection)

    def look() -> bool | Pending:
        lacking = copies.lacking(account, bucket, content)
        return Pending(", ".join(f"{where}: {why}" for where, why in lacking.items())) if lacking else True

    expect_within(
        _where(bucket),
        "each object on every device that the ring names",
        look,
        float(cloud.journeys.timeout),
        remedy="swift.services, swift.ring.ports and swift.disk.owner name the usual causes; see the replicators' logs",
    )


@pytest.mark.disruptive
@pytest.mark.check("swift.device_away", severity="critical", source="SD SW")
@pytest.mark.applies_if(*RELEASES_A_STORE)
def test_objects_outlive_a_device(scratch: Scratch, hosts: Hosts, cloud: Cloud, facts: Facts) -> None:
    """While a device is not mounted, objects are read and taken as before; once it is back it has what belongs on it.

    Why: a disk that dies is the daily business of an object store; one that fills the system's disk instead, or comes
    back without what was written meanwhile, is found by the next failure.
    """
    host = cloud.swift.disruptive_on[0]
    devices = seen(cloud, facts, host).devices
    paths = sorted(it.path.path for it in devices.values() if isinstance(it, Device) and it.mounted)
    applies(bool(paths), f"{host}: no device of the rings is mounted")
    _outlive(scratch, Absences(hosts).of_device(host, paths[0]), cloud, facts, hosts)


@pytest.mark.disruptive
@pytest.mark.check("swift.node_away", severity="critical", source="SD SW")
@pytest.mark.applies_if(*RELEASES_A_STORE)
def test_objects_outlive_a_host(scratch: Scratch, hosts: Hosts, cloud: Cloud, facts: Facts) -> None:
    """While a host's servers are down, objects are read and taken as before; once it is back it has what belongs on it.

    Why: copies that share a host are lost with it, and nothing else shows that they do.
    """
    host = cloud.swift.disruptive_on[0]
    told = facts.host(host)
    units = [
        unit.name
        for role in storage_roles(cloud, host)
        for unit in (service_of(told, role).unit, *service_of(told, role).beside)
        if unit.active == "active"
    ]
    applies(not told.inside, f"{host}: containers are its deployment tool's to stop")
    applies(bool(units), f"{host}: no server of Swift runs")
    _outlive(scratch, Absences(hosts).of_host(host, units), cloud, facts, hosts)


# Both take from the same host: a proxy shuns what failed for a minute, and two hosts away at once are too many.
def _outlive(scratch: Scratch, absence: AbstractContextManager[None], cloud: Cloud, facts: Facts, hosts: Hosts) -> None:
    bucket = _bucket(scratch)
    content = {f"before-{number}": os.urandom(5 * KIB) for number in range(OBJECTS)}
    for name, data in content.items():
        bucket.put(name, data)
    with absence:
        meanwhile = {f"meanwhile-{number}": os.urandom(5 * KIB) for number in range(OBJECTS)}
        for name, data in meanwhile.items():
            bucket.put(name, data)
        content |= meanwhile
        other = [name for name, data in content.items() if bucket.get(name).content != data]
        assert not other, finding(
            _where(bucket), found=f"{len(other)} other objects", expected="all as written", remedy=REMEDIES["container"]
        )
    _expect_copies(bucket, content, hosts, cloud, facts)
    scratch.clean_up()
