"""Policy, releases, backups, journeys: what a cloud may have either way, drafted as it is found; pure.

A cloud with fewer than three monitors is drafted as a lab and judged as what it is: where it is weaker than the
defaults, the value says so and is to be confirmed. A production cloud keeps the defaults, and fails where it is weaker.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

from drafting.decide import Draft, Entries, Entry, Integration, Open, Value
from drafting.placing import places
from drafting.seen import Cluster, Seen
from fixtures.cloud.model import OPENSTACK_ROLES, SWIFT_ROLES, Policy
from fixtures.crush import separated_by, size_of
from fixtures.distributions import TABLE
from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts
from fixtures.oslo import InvalidOption
from fixtures.versions import ceph_version, openstack

QUORUM: Final = 3
GIB: Final = 1 << 30
_DEFAULTS: Final = Policy()
_RELEASE: Final = re.compile(r"(?:^|[-_])(20\d\d\.[12]|[a-z]+)(?=[-_.]|$)")
_GUEST: Final = (
    "journeys with guests need a raw image that prints a heartbeat: `python -m lab.guest` builds it; "
    "without it they do not apply"
)


def choices(seen: Seen) -> Draft:
    """Return everything that is a choice of the operator's, as found."""
    lab = _is_lab(seen)
    draft: Draft = {}
    for part in _PARTS:
        draft |= dict(part(seen, lab))
    return draft


def _ceph(seen: Seen) -> Cluster | None:
    return seen.ceph if isinstance(seen.ceph, Cluster) else None


def _is_lab(seen: Seen) -> bool:
    ceph = _ceph(seen)
    return ceph is not None and ceph.monitors < QUORUM


def _kind(seen: Seen, lab: bool) -> Entries:
    ceph = _ceph(seen)
    if ceph and lab:
        told = f"Ceph: {ceph.monitors} monitor{'s' * (ceph.monitors > 1)}"
        yield ("policy", "kind"), Value("lab", told, "a production cloud has three; say production, and it fails")


def _pools(seen: Seen, lab: bool) -> Entries:
    """Copies and where they lie, of the pools that the integration uses."""
    ceph, named = _ceph(seen), _pool_names(seen)
    pools = [pool for name, pool in ceph.pools.items() if name in named] if ceph else []
    if not ceph or not pools:
        return
    for key, least in (("size", min(p.size for p in pools)), ("min_size", min(p.min_size for p in pools))):
        if lab and least < getattr(_DEFAULTS, key):
            yield ("policy", key), _weaker(least, "Ceph: the pools of the integration")
    used = {pool.crush_rule for pool in pools}
    kinds = sorted({separated_by(rule) for rule in ceph.rules if rule.id in used}, key=size_of)
    if kinds and kinds[0] and size_of(kinds[0]) > size_of(_DEFAULTS.failure_domain):
        yield ("policy", "failure_domain"), Value(kinds[0], "Ceph: the pools' CRUSH rules")
    elif kinds and kinds[0] and lab and kinds[0] != _DEFAULTS.failure_domain:
        yield ("policy", "failure_domain"), _weaker(kinds[0], "Ceph: the pools' CRUSH rules")


def _pool_names(seen: Seen) -> dict[str, str]:
    found = Integration(seen)
    draft = found.glance() | found.cinder() | found.nova() | found.backup()
    named = {path[-1]: entry for path, entry in draft.items() if path[:2] == ("ceph", "pools")}
    return {str(it.value): use for use, it in named.items() if isinstance(it, Value) and it.value}


def _weaker(value: object, found: str) -> Value:
    return Value(value, found, "weaker than the default, as this cloud is")


def _machines(seen: Seen, lab: bool) -> Entries:
    hosts = Integration(seen).hosts_with(*OPENSTACK_ROLES)
    facts = {name: host for name in hosts if isinstance(host := seen.hosts.get(name), HostFacts)}
    machines = {n: m for n, host in facts.items() if (m := host.system.machine) and not isinstance(m, Unreadable)}
    if not machines or not lab:
        return
    smallest, memory = min(((n, m.memory) for n, m in machines.items()), key=lambda it: it[1])
    fewest, cores = min(((n, m.cores) for n, m in machines.items()), key=lambda it: it[1])
    if memory < _DEFAULTS.min_host_memory * GIB:
        yield ("policy", "min_host_memory"), _weaker(math.floor(memory / GIB * 10) / 10, f"{smallest}: GiB")
    if cores < _DEFAULTS.min_host_cores:
        yield ("policy", "min_host_cores"), _weaker(cores, f"{fewest}: processors")


def _floor(seen: Seen, lab: bool) -> Entries:
    """Only a lab may run what has known holes."""
    ceph = _ceph(seen)
    if not ceph or not lab:
        return
    running = min(ceph_version(text) for text in ceph.versions)
    floors = [ceph_version(text) for text in _DEFAULTS.ceph_security_floor]
    own = [floor for floor in floors if floor[0] == running[0]]
    if (own and running < own[0]) or running < min(floors):
        told = ".".join(str(number) for number in running)
        yield ("policy", "ceph_security_floor"), Value([told], "Ceph: oldest daemon", "it has known holes: upgrade")


def _volumes(seen: Seen, lab: bool) -> Entries:
    """Encrypted volumes need a key manager where they are made and on every hypervisor."""
    found = Integration(seen)
    configs = [*found.configs("cinder-volume").values(), *found.configs("nova-compute").values()]
    if configs and all(config.get("key_manager", "backend") for config in configs):
        told = "cinder-volume and every nova-compute: [key_manager] backend"
        yield ("policy", "encrypted_volumes"), Value(True, told, "they have the same keys")


def _transport(seen: Seen, lab: bool) -> Entries:
    configs = Integration(seen).configs("nova-compute")
    if len(Integration(seen).hosts_with("nova-compute")) < 2:
        told = "fewer than two hypervisors"
        yield ("policy", "live_migration"), Value(False, told)
        yield ("policy", "evacuation"), Value(False, told)
        return
    schemes = {
        name: config.get("libvirt", "live_migration_scheme") or _scheme(config.get("libvirt", "live_migration_uri", ""))
        for name, config in configs.items()
    }
    listed = tuple(f"{scheme} ({name})" for name, scheme in schemes.items())
    known = set(schemes.values())
    if len(known) > 1:
        yield ("policy", "migration_transport"), Open("hypervisors disagree about what they migrate over", listed)
    elif known and known <= {"tls", "tcp", "ssh"}:
        (scheme,) = known
        name = next(iter(configs))
        told = f"{name}: {configs[name].where('libvirt', 'live_migration_scheme')} [libvirt] live_migration_scheme"
        weak = "" if scheme == "tls" else "guests' memory crosses the network in the clear" if scheme == "tcp" else ""
        yield ("policy", "migration_transport"), Value(scheme, told, weak)


def _scheme(uri: str) -> str:
    found = re.match(r"[a-z]+\+(tls|tcp|ssh)://", uri)
    return found[1] if found else "tcp"


def _images(seen: Seen, lab: bool) -> Entries:
    """What Glance promises: conversion, and to whom it shows locations."""
    configs = Integration(seen).configs("glance-api")
    plugins = {n: str(c.get("image_import_opts", "image_import_plugins", "")) for n, c in configs.items()}
    if plugins and all("image_conversion" in told for told in plugins.values()):
        name = next(iter(configs))
        place = configs[name].where("image_import_opts", "image_import_plugins")
        yield ("policy", "converts_images"), Value(True, f"{name}: {place} [image_import_opts] image_import_plugins")
    shown: dict[str, bool] = {}
    for name, config in configs.items():
        try:
            shown[name] = bool(config.boolean("DEFAULT", "show_image_direct_url", False))
        except InvalidOption:
            return
    mode = ("policy", "location_mode")
    if shown and not any(shown.values()):
        name = next(iter(configs))
        place = f"{name}: {configs[name].where('DEFAULT', 'show_image_direct_url')} [DEFAULT] show_image_direct_url"
        yield mode, Value("hardened", place, "then nothing is cloned unless Nova and Cinder ask another Glance")
    elif shown and not all(shown.values()):
        inside = tuple(f"{name}: {'shown' if it else 'not shown'}" for name, it in shown.items())
        yield mode, Open("locations are shown by some Glances only: is that cow-internal?", inside)


def _encryption(seen: Seen, lab: bool) -> Entries:
    if seen.apis is None or isinstance(seen.apis, Unreadable) or isinstance(seen.apis.endpoints, Unreadable):
        return
    clear = sorted(url for url in seen.apis.endpoints.values() if not url.startswith("https:"))
    if clear and lab:
        weak = "passwords and tokens cross the network in the clear"
        yield ("policy", "encrypted"), Value([], f"catalog: {clear[0]}", weak)


# ---------------------------------------------------------------------------- backups


def _recovery(seen: Seen, lab: bool) -> Entries:
    yield ("recovery", "database"), _dumps(seen, lab)
    yield ("recovery", "keys"), Open("where are keys and configuration of the hosts saved?")
    yield ("recovery", "ceph"), _export(seen)
    stored = [name for name, use in _pool_names(seen).items() if use != "backups"]
    if lab and stored:
        told = dict.fromkeys(stored, "drafted as a lab's, which nobody misses")
        yield ("recovery", "risk_accepted"), Value(told, "kind: lab", "who accepts that these have no second copy?")


def _dumps(seen: Seen, lab: bool) -> Entry:
    own = {name for name, host in seen.hosts.items() if isinstance(host, HostFacts) and _has_database(host)}
    listed = list(_kept(seen, "dumps"))
    away = [(host, path) for host, path in listed if host not in own]
    if len(away) != 1:
        return Open("where are the database's dumps?", tuple(f"{host}: {path}" for host, path in listed))
    (host, path) = away[0]
    plain = not path.endswith((".gpg", ".age", ".enc"))
    told = {"host": host, "path": path} | ({"encrypted": False} if plain and lab else {})
    return Value(told, f"{host}: {path}", "they are not encrypted" if plain else "")


def _has_database(host: HostFacts) -> bool:
    return host.system.database is not None and not isinstance(host.system.database, Unreadable)


def _export(seen: Seen) -> Entry:
    listed = list(_kept(seen, "ceph"))
    if len(listed) != 1:
        return Open("where is the export of Ceph's maps and keys?", tuple(f"{host}: {path}" for host, path in listed))
    ((host, path),) = listed
    return Value({"host": host, "path": path}, f"{host}: {path} holds a monmap")


def _kept(seen: Seen, what: str) -> Iterator[tuple[str, str]]:
    for name, survey in sorted(seen.surveys.items()):
        if not isinstance(survey.backups, Unreadable) and places(survey):
            yield from ((name, path) for path in survey.backups.get(what, ()))


# ---------------------------------------------------------------------------- journeys, releases


def _journeys(seen: Seen, lab: bool) -> Entries:
    yield ("journeys", "image"), Open(_GUEST)
    if seen.apis is None or isinstance(seen.apis, Unreadable):
        return
    networks = () if isinstance(seen.apis.networks, Unreadable) else seen.apis.networks
    if len(networks) == 1:
        yield ("journeys", "network"), Value(networks[0], "the only network that is shared")
    elif networks:
        yield ("journeys", "network"), Open("which network may test servers use?", networks)
    services = () if isinstance(seen.apis.compute_services, Unreadable) else seen.apis.compute_services
    zones = sorted({service.zone for service in services if service.binary == "nova-compute"})
    if len(zones) == 1 and zones[0] != "nova":
        yield ("journeys", "availability_zone"), Value(zones[0], "zone of all hypervisors")
    elif len(zones) > 1 and "nova" not in zones:
        yield ("journeys", "availability_zone"), Open("in which zone may test servers run?", tuple(zones))


def _releases(seen: Seen, lab: bool) -> Entries:
    """Images of containers are named by release; where neither they nor packages tell, a person must."""
    images = {place.image for survey in seen.surveys.values() for place in places(survey).values() if place.image}
    named = {release for image in images if (release := release_of(image))}
    silent = _without_packages(seen)
    if len(named) == 1:
        yield ("releases", "openstack"), Value(named.pop(), min(images), "by the images' tag")
    elif images or silent:
        question = "which release runs? Neither packages nor tags of images tell"
        yield ("releases", "openstack"), Open(question, (*sorted(images), *silent))


def _without_packages(seen: Seen) -> list[str]:
    """Return the services on hosts that no package brought: installed from source. No check asks Swift's release."""
    found: list[str] = []
    for name, survey in sorted(seen.surveys.items()):
        facts = seen.hosts.get(name)
        packages = facts.packages if isinstance(facts, HostFacts) else {}
        for role, place in places(survey).items():
            project = TABLE[role]["debian"].account
            told = isinstance(packages, Unreadable) or any(project in package for package in packages)
            released = role in OPENSTACK_ROLES and role not in SWIFT_ROLES
            if released and not place.image and not told:
                found.append(f"{name}: {role} ({place.found}): no package of it")
    return found


def release_of(image: str) -> str:
    """Return the release in an image's tag ("…/glance-api:2023.1-ubuntu-jammy", "…:zed-rocky-9"), "" if none is."""
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    for word in _RELEASE.findall(tag):
        try:
            return openstack(word).name
        except ValueError:
            continue
    return ""


_PARTS: Final = (
    _kind,
    _pools,
    _machines,
    _floor,
    _transport,
    _volumes,
    _images,
    _encryption,
    _recovery,
    _journeys,
    _releases,
)
