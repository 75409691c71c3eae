"""What a cloud has beside the integration: dashboard, object store, iSCSI; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from drafting.decide import Draft, Entries, Integration, Open, Value
from drafting.placing import places, running
from drafting.seen import Seen, Survey
from fixtures.cloud.model import SWIFT_ROLES
from fixtures.distributions import Family, family_of
from fixtures.facts.base import Unreadable
from fixtures.facts.dashboard import Dashboard
from fixtures.facts.host import HostFacts, Service

_PREFIXES: Final[Mapping[Family, str]] = {"debian": "/horizon/", "ubuntu": "/horizon/", "rhel": "/dashboard/"}
"""Where distributions' packages put it."""
_RADOSGW: Final = "/swift/v1"


def beside(seen: Seen, surveys: Mapping[str, Survey]) -> Draft:
    """Return what the cloud file says of them; `surveys`: those of hosts without a role, too."""
    return dict([*_dashboard(seen), *_object_store(seen), *_iscsi(surveys)])


def _dashboard(seen: Seen) -> Entries:
    """Users are taken to reach it where they reach Keystone."""
    hosts = Integration(seen).hosts_with("horizon")
    if not hosts:
        return
    key, question = ("horizon", "url"), "under which address do users have the dashboard?"
    prefixes = {name: _prefix(seen, name) for name in hosts}
    listed = tuple(f"{name}: below {prefix}" for name, prefix in prefixes.items())
    keystone = _endpoint(seen, "identity")
    if keystone is None or len(set(prefixes.values())) > 1:
        yield key, Open(question, listed, required=True)
        return
    url = urlsplit(keystone)
    shown = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    told = f"{listed[0]}; the catalog has Keystone at {keystone}"
    yield key, Value(f"{url.scheme}://{shown}{prefixes[hosts[0]]}", told, "where Keystone is; open it in a browser")


def _prefix(seen: Seen, name: str) -> str:
    """The path below which a host's web server has it, with a slash at either end."""
    host, place = seen.hosts.get(name), places(seen.surveys[name])["horizon"]
    contained = place.settings and place.settings.container
    if contained or not isinstance(host, HostFacts):
        return "/"
    service = host.services.get("horizon")
    found = service.dashboard if isinstance(service, Service) else None
    if isinstance(found, Dashboard) and found.site:
        return f"/{found.site.prefix.strip('/')}/".replace("//", "/")
    return _PREFIXES[family_of(host.distro)]


def _object_store(seen: Seen) -> Entries:
    if Integration(seen).hosts_with(*SWIFT_ROLES):
        return
    url = _endpoint(seen, "object-store")
    if url is not None and _RADOSGW in urlsplit(url).path:
        yield ("swift", "served_by"), Value("radosgw", f"catalog: object-store at {url}")


def _endpoint(seen: Seen, service: str) -> str | None:
    """The address that the catalog has for a type of service; None where regions differ."""
    if seen.apis is None or isinstance(seen.apis, Unreadable) or isinstance(seen.apis.endpoints, Unreadable):
        return None
    found = {url for place, url in seen.apis.endpoints.items() if place.partition(" in ")[0] == service}
    return found.pop() if len(found) == 1 else None


def _iscsi(surveys: Mapping[str, Survey]) -> Entries:
    """Who is given which images stands nowhere but in people's plans."""
    gateways = running(surveys, "iscsi-gateway")
    if gateways:
        yield (
            ("iscsi", "target"),
            Open(
                "do these export RBD images over iSCSI? Then give them the role iscsi-gateway, hypervisors with such "
                "disks iscsi-initiator, and fill in this section",
                tuple(f"{name}: {unit}" for name, unit in gateways.items()),
            ),
        )
