"""Area swift: servers, daemons, options and owners. What is stored, and where rings send it, is for people to say."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import SWIFT_ROLES
from fixtures.facts.base import Unreadable, need
from fixtures.facts.run import Facts
from fixtures.facts.swift import Ring
from fixtures.integration import SINGLE_STORE, config_of, glance_stores
from fixtures.swift import (
    ACCOUNT,
    GLANCE_SWIFT,
    KINDS,
    ORDER,
    PasteConfig,
    needed_beside,
    nodes,
    own_port,
    rings,
    seen,
    storage_roles,
)
from fixtures.units import ENABLED, unit_problem
from remediate.model import Attributes, Folder, NeedsOperator, Option, Unit
from remediate.options import Configuration, refuse_container
from remediate.registry import manual, repairs
from remediate.services import run_unit

manual(
    "a hash can only be chosen while nothing is stored, and the one under which your objects were written is known to "
    "your backup alone: copy swift.conf from a host that serves them, restart all of Swift on the other",
    "swift.hash",
)
manual(
    "a change of a ring moves data: swift-ring-builder FILE add, set_weight or set_min_part_hours, then rebalance; "
    "wait for min_part_hours and the replicators between two changes, and hand the rings out to all hosts",
    "swift.ring.shape",
)
manual(
    "it shows what swift.services, swift.proxy.conf and ks.catalog.* explain: their repairs heal it; an address in the "
    "catalog is yours to set: openstack endpoint set --url URL ENDPOINT",
    "swift.stat",
)
manual(
    "it shows what swift.services, swift.proxy.conf, swift.ring.* and swift.disk.* explain: their repairs heal it; "
    "else read the logs of the proxy and of the object servers",
    "swift.updown",
    "swift.large_object",
    "swift.acl",
    "swift.device_away",
    "swift.node_away",
)


@repairs("swift.services", disruption="safe")
def run_servers_and_daemons(cloud: Cloud, facts: Facts, swift_host: str) -> Iterator[Unit]:
    """Enable and start what is not; a server that runs and does not say OK is a person's to look at."""
    host = facts.host(swift_host)
    policies = seen(cloud, facts, swift_host).policies
    found = False
    for role in SWIFT_ROLES:
        if role not in cloud.hosts[swift_host].roles:
            continue
        for step in run_unit(cloud, facts, swift_host, role):
            found = True
            yield step
        for unit in needed_beside(host, role, {} if isinstance(policies, Unreadable) else policies):
            if unit_problem(unit):
                found = True
                yield Unit(host=swift_host, unit=unit.name, enable=unit.enabled not in ENABLED)
    if not found:
        raise NeedsOperator(
            f"{swift_host}: all run, and a server does not say OK: read its log", "swift-init all status"
        )


@repairs("swift.proxy.conf", disruption="safe")
def check_tokens_in_the_pipeline(cloud: Cloud, facts: Facts, proxy_host: str) -> Iterator[Option]:
    """Put authtoken and keystoneauth in their place, and the cache where authtoken's is; logins are a person's."""
    files = Configuration(cloud, facts, proxy_host, "swift-proxy")
    paste = PasteConfig(facts.host(proxy_host).of("swift-proxy"), "swift-proxy")
    wanted = _ordered(paste.pipeline)
    if wanted != paste.pipeline:
        yield from files.set("pipeline:main", "pipeline", " ".join(wanted))
        return
    told = need(seen(cloud, facts, proxy_host).memcached, f"{proxy_host}: memcached")
    servers = paste.get("filter:authtoken", "memcached_servers")
    if any(told.values()) and servers and servers != paste.get("filter:cache", "memcache_servers"):
        yield from files.set("filter:cache", "memcache_servers", servers)
        return
    raise NeedsOperator(
        f"{proxy_host}: who logs in for the proxy, which roles may use their account, and where memcached runs is "
        "yours to say",
        "[filter:authtoken]",
        "[filter:keystoneauth] operator_roles = ROLE",
        "[filter:cache] memcache_servers = ADDRESS:11211",
    )


def _ordered(pipeline: tuple[str, ...]) -> tuple[str, ...]:
    """The pipeline with both in their order, where the first of them or another login was, else where one belongs.

    Raises:
        NeedsOperator: it has no place that is sure.
    """
    *both, application = ORDER
    places = [pipeline.index(name) if name in pipeline else -1 for name in ORDER]
    if -1 not in places and places == sorted(places):
        return pipeline
    rest = [name for name in pipeline if name not in both]
    first = next((name for name in pipeline if name in ("tempauth", "copy", "container-quotas", "slo", "dlo")), "")
    if not first or application not in rest:
        raise NeedsOperator(
            "where in the pipeline tokens are to be checked is not sure", f"pipeline = … {' '.join(ORDER)}"
        )
    at = rest.index(first)
    return (*rest[:at], *both, *(name for name in rest[at:] if name != "tempauth"))


@repairs("swift.ring.files", disruption="safe")
def give_rings_to_swift(cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Set owner and mode of ring files; which of two rings is the newer one, and to hand it out, is a person's."""
    found = False
    for name, node in nodes(cloud, facts).items():
        for ring in node.rings.values():
            odd = isinstance(ring, Ring) and ({ring.stat.owner, ring.stat.group} - {"root", ACCOUNT})
            if isinstance(ring, Ring) and (odd or ring.stat.mode & 0o022):
                found = True
                path, mode = ring.stat.path, ring.stat.mode & ~0o022
                yield Attributes(host=name, path=path, owner="root", group=ACCOUNT, mode=mode | 0o040)
    if not found:
        raise NeedsOperator(
            "rings that differ, are not there or have no second copy of their builder are handed out from where they "
            "are built",
            "scp /etc/swift/*.ring.gz HOST:/etc/swift/",
            "scp /etc/swift/*.builder HOST:/etc/swift/",
        )


@repairs("swift.ring.ports", disruption="disruptive")
def listen_where_the_rings_lead(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Have a server listen on the one port that its rings name for its host; to start one is another repair's."""
    found = False
    for name in nodes(cloud, facts, *KINDS):
        for role in storage_roles(cloud, name):
            ports = _named_ports(cloud, facts, name, role)
            if len(ports) == 1 and own_port(facts, name, role) not in (*ports, None):
                found = True
                files = Configuration(cloud, facts, name, role)
                yield from files.set("DEFAULT", "bind_port", str(ports.pop()))
    if not found:
        raise NeedsOperator(
            "the servers are told to listen where the rings lead: start what is down, or open the way to it",
            "swift-ring-builder FILE",
        )


def _named_ports(cloud: Cloud, facts: Facts, host: str, role: Role) -> set[int]:
    own = need(facts.host(host).addresses, f"{host}: addresses")
    kind = KINDS[role]
    mine = (ring for name, ring in rings(cloud, facts).items() if name.partition("-")[0] == kind)
    return {device.port for ring in mine for device in ring.devices if device.ip in own}


@repairs("swift.disk.xfs", disruption="safe")
def look_for_mounts(cloud: Cloud, facts: Facts, store_host: str) -> Iterator[Option]:
    """Take mount_check = false out; what is mounted, and how, is a person's."""
    found = False
    for role in storage_roles(cloud, store_host):
        paste = PasteConfig(facts.host(store_host).of(role), role)
        if not paste.boolean("DEFAULT", "mount_check", True):
            found = True
            yield from Configuration(cloud, facts, store_host, role).unset("DEFAULT", "mount_check")
    if not found:
        raise NeedsOperator(
            f"{store_host}: which disk belongs at a mount point is yours to say",
            "/etc/fstab: UUID=… /srv/node/NAME xfs noatime,nofail 0 0",
            "mount /srv/node/NAME",
        )


@repairs("swift.disk.owner", disruption="safe")
def give_devices_to_swift(cloud: Cloud, facts: Facts, store_host: str) -> Iterator[Attributes | Folder | Unit]:
    """Set the owner of mounted devices and of recon's cache, and run rsync; its modules are a person's."""
    node = seen(cloud, facts, store_host)
    for role in storage_roles(cloud, store_host):
        refuse_container(facts, store_host, role, "chown swift:swift /srv/node/NAME")
    steps: list[Attributes | Folder | Unit] = []
    for device in node.devices.values():
        if (
            not isinstance(device, Unreadable)
            and device.mounted
            and {device.path.owner, device.path.group} != {ACCOUNT}
        ):
            steps.append(Attributes(host=store_host, path=device.path.path, owner=ACCOUNT, group=ACCOUNT))
    cache = node.cache
    if cache and not cache.exists:
        steps.append(Folder(host=store_host, path=cache.path, owner="root", group=ACCOUNT, mode=0o775))
    elif cache and cache.owner != ACCOUNT and not (cache.group == ACCOUNT and cache.mode & 0o020):
        steps.append(Attributes(host=store_host, path=cache.path, group=ACCOUNT, mode=cache.mode | 0o070))
    rsync = need(node.modules, f"{store_host}: modules of rsync").unit
    if rsync and rsync.load == "loaded":
        steps.append(Unit(host=store_host, unit=rsync.name, enable=rsync.enabled not in ENABLED))
    if not steps:
        raise NeedsOperator(
            f"{store_host}: rsync's modules and the address that they are offered at are yours to say",
            "/etc/rsyncd.conf: address = ADDRESS, [account], [container], [object] with path = /srv/node",
        )
    yield from steps


@repairs("swift.recon", disruption="safe")
def have_servers_tell_how_they_are(cloud: Cloud, facts: Facts, store_host: str) -> Iterator[Option]:
    """Put recon before the application of a server whose pipeline lacks it; what recon tells is a person's."""
    found = False
    for role in storage_roles(cloud, store_host):
        paste = PasteConfig(facts.host(store_host).of(role), role)
        if paste.pipeline and "recon" not in paste.pipeline and paste.get("filter:recon", "use"):
            found = True
            *before, application = paste.pipeline
            files = Configuration(cloud, facts, store_host, role)
            yield from files.set("pipeline:main", "pipeline", " ".join((*before, "recon", application)))
    if not found:
        raise NeedsOperator(
            f"{store_host}: what is in quarantine or not mounted is a disk to be looked at by a person, and so is a "
            "replicator that makes no rounds; copies are made good once the disk is back or out of the rings",
            "swift-recon --all",
            "dmesg; smartctl -a DEVICE",
        )


@repairs("swift.glance_store", disruption="safe")
def drop_a_store_that_is_not_enabled(cloud: Cloud, facts: Facts, glance_host: str) -> Iterator[Option]:
    """Take out options of a Swift store that Glance does not load; one that it loads wants a login of yours."""
    config = config_of(facts.host(glance_host).of("glance-api"), "glance-api")
    enabled = "swift" in glance_stores(config).values() or "swift" in config.items(
        SINGLE_STORE, "stores", ("file", "http")
    )
    left = [key for key in GLANCE_SWIFT if (SINGLE_STORE, key) in config]
    if enabled or not left:
        raise NeedsOperator(
            f"{glance_host}: the Swift store's user and key are yours to set",
            *(f"{key} = …" for key in GLANCE_SWIFT),
        )
    for key in left:
        yield from Configuration(cloud, facts, glance_host, "glance-api").unset(SINGLE_STORE, key)
