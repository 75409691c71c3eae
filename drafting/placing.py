"""Which roles run on a host and in what, decided from a first look; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

from drafting.seen import Survey
from fixtures.cloud.model import OPENSTACK_ROLES, Role, Service, ServiceSettings
from fixtures.distributions import HYPERVISOR, TABLE, Naming, units_of
from fixtures.facts.base import Unreadable

WEB_SERVERS: Final = frozenset({"apache2", "httpd"})
PLACED: Final[tuple[Role, ...]] = (*OPENSTACK_ROLES, "horizon")
"""Beside those of Ceph; what else a cloud file can say of a host no look at it tells."""
SITES: Final[Mapping[Role, tuple[str, ...]]] = MappingProxyType({"horizon": ("dashboard", "horizon")})
"""What a web server's file is called that hosts it, where not after the project's account."""
ELSEWHERE: Final[Mapping[Role, tuple[str, ...]]] = MappingProxyType({"keystone": ("keystone-wsgi-public",)})
"""Units that only deployment tools name so (OpenStack-Ansible)."""
_DAEMON: Final = re.compile(r"(?:ceph-(?:(?P<fsid>[0-9a-f-]{36})@)?|snap\.microceph\.)(?P<kind>mon|mgr|osd)\b")
_LIBVIRT: Final = "libvirt"


@dataclass(frozen=True)
class Place:
    """A role on a host."""

    found: str
    """What it was recognised by."""
    settings: ServiceSettings | None = None
    """What the cloud file must say of it; None where the defaults find it."""
    image: str = ""
    """Of its container."""


def asked_units() -> list[str]:
    """Return the units that a first look asks systemd for."""
    roles = (*PLACED, "iscsi-gateway")
    named = {unit for role in roles for unit in (*units_of(role), *ELSEWHERE.get(role, ()))}
    return sorted(named | set(HYPERVISOR["kolla"].units))


def places(survey: Survey) -> dict[Role, Place]:
    """Return the roles that run on a host, or should: what is down but starts at boot is there."""
    found = {role: place for role in PLACED if (place := _place(survey, role))}
    return {role: place for role in get_args(Role) if (place := found.get(role) or _ceph(survey, role))}


def running(surveys: Mapping[str, Survey], role: Role) -> dict[str, str]:
    """Return each host on which a unit of a role runs, or starts at boot, with what it was recognised by."""
    found = {name: _on_host(survey, role) for name, survey in sorted(surveys.items())}
    return {name: place.found for name, place in found.items() if place}


def libvirt_place(survey: Survey) -> Place | None:
    """Return the container that libvirt runs in; None where it runs on the host."""
    return _contained(survey, HYPERVISOR["kolla"].container, "nova-libvirt")


def settings_of(survey: Survey) -> dict[Service, ServiceSettings]:
    """Return what the cloud file must say of a host's services."""
    told = {role: place.settings for role, place in places(survey).items() if place.settings}
    libvirt = libvirt_place(survey)
    if libvirt and libvirt.settings and "nova-compute" in places(survey):
        told |= {_LIBVIRT: libvirt.settings}  # type: ignore[dict-item]
    return told  # type: ignore[return-value]  # Ceph's roles have no settings


def cephadm_fsids(survey: Survey) -> frozenset[str]:
    """Return the clusters whose daemons cephadm runs on a host."""
    return frozenset(match["fsid"] for match in map(_DAEMON.match, _units(survey)) if match and match["fsid"])


# ---------------------------------------------------------------------------- a service of OpenStack


def _place(survey: Survey, role: Role) -> Place | None:
    kolla = TABLE[role]["kolla"]
    return _contained(survey, kolla.container, kolla.container.replace("_", "-")) or _on_host(survey, role)


def _contained(survey: Survey, name: str, image: str) -> Place | None:
    """By its name as kolla-ansible has it, else by its image's."""
    there = {} if isinstance(survey.containers, Unreadable) else survey.containers
    by_image = (one for one, told in sorted(there.items()) if _base(told.image).endswith(image))
    found = name if name in there else next(by_image, "")
    if not found:
        return None
    told = there[found]
    return Place(f"{told.runtime} container {found} ({told.image})", ServiceSettings(container=found), told.image)


def _base(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _units(survey: Survey) -> list[str]:
    return [] if isinstance(survey.units, Unreadable) else list(survey.units)


def _on_host(survey: Survey, role: Role) -> Place | None:
    known = [unit for unit in units_of(role) if f"{unit}.service" in _units(survey)]
    for unit in (*known, *(unit for unit in ELSEWHERE.get(role, ()) if f"{unit}.service" in _units(survey))):
        state = _state(survey, unit)
        if state and (unit not in WEB_SERVERS or _hosted(survey, role)):
            return _unit_place(role, unit, state, default=known[0] if known else "")
    return None


def _unit_place(role: Role, unit: str, state: str, default: str) -> Place:
    kolla = TABLE[role].get("kolla", Naming())
    if unit in kolla.units:
        return Place(f"{unit}.service, {state}", ServiceSettings(container=kolla.container))
    return Place(f"{unit}.service, {state}", None if unit == default else ServiceSettings(units=(unit,)))


def _state(survey: Survey, unit: str) -> str:
    """Return a unit's state in words, "" where it neither runs nor would at boot."""
    told = survey.units[f"{unit}.service"]  # type: ignore[index]  # the caller saw it there
    starts = told.enabled in ("enabled", "enabled-runtime", "alias", "generated")
    if told.active in ("active", "activating", "reloading"):
        return told.active
    return f"{told.active}, but enabled" if starts else ""


def _hosted(survey: Survey, role: Role) -> bool:
    names = SITES.get(role, (TABLE[role]["debian"].account,))
    return any(name in path.rpartition("/")[2] for path in survey.sites for name in names)


# ---------------------------------------------------------------------------- a daemon of Ceph


def _ceph(survey: Survey, role: Role) -> Place | None:
    kind = role.removeprefix("ceph-")
    for unit in _daemons(survey):
        match = _DAEMON.match(unit)
        if match and match["kind"] == kind and kind != role:
            return Place(f"{unit}, {survey.units[unit].active}")  # type: ignore[index]
    return None


def _daemons(survey: Survey) -> Iterator[str]:
    for unit in sorted(_units(survey)):
        told = survey.units[unit]  # type: ignore[index]
        if unit.endswith(".service") and (told.active == "active" or told.enabled.startswith("enabled")):
            yield unit
