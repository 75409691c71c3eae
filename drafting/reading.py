"""Looks at hosts, Ceph, the APIs and the runner, and makes a draft of all that."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import ConfigException, SDKException
from pydantic import ValidationError
from requests import RequestException

from drafting import decide, survey
from drafting.beside import beside
from drafting.choices import choices
from drafting.decide import Draft, Value
from drafting.errors import DraftError
from drafting.inventory import Inventory, Wanted
from drafting.placing import asked_units, places, settings_of
from drafting.seen import Account, Cluster, Kept, Runner, Seen, Survey, Told
from drafting.survey.look import clusters
from fixtures.ceph import Ask, CephError, open_ceph
from fixtures.cloud.model import Cloud, Horizon, Host, Policy, Service, ServiceSettings
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.observe import collector
from fixtures.observe.cluster import crush_rules
from fixtures.observe.host import observe_hosts
from fixtures.observe.openstack import open_openstack, read_some, sdk_config
from fixtures.observe.parcel import FIND_PYTHON, program
from fixtures.observe.turns import default_forks
from fixtures.reach import Hosts, Reach

SURVEY_SECONDS: Final = 90
_TOOL_SECONDS: Final = 45
_NOBODY: Final = "to-be-drafted"
"""Stands for names that are not known yet."""

REFUSED: Final = (SDKException, ClientException, RequestException, OSError)
"""What an API that cannot be asked raises."""

Progress = Callable[[str], None]


def drafted(name: str, inventory: Inventory, clouds_yaml: Path | None, progress: Progress) -> Draft:
    """Look at everything and return the draft.

    Args:
        name: Of the cloud.
        inventory: The hosts.
        clouds_yaml: A file to look for an administrator in; default: openstacksdk's search path.
        progress: Gets a line for each part that is done.

    Raises:
        DraftError: a host cannot be looked at, or the hosts do not make one cloud.
    """
    first = provisional(name, inventory.reach, {one.name: _host(one) for one in inventory.hosts})
    with Hosts(first) as hosts:
        surveys = surveyed(hosts, progress)
    _refuse_blind(surveys)
    known = _by_hostname(inventory, {one: it for one, it in surveys.items() if isinstance(it, Survey)})
    found = {one: it for one, (_, it) in known.items() if places(it)}
    if not found:
        raise DraftError(f"none of these hosts runs a part of a cloud: {', '.join(sorted(known))} ({_looked_for()})")
    cloud = provisional(name, inventory.reach, {one: _placed(*known[one]) for one in found})
    with Hosts(cloud) as hosts:
        seen = _seen(cloud, hosts, found, clouds_yaml, progress)
    return whole(name, inventory, known, seen)


def whole(name: str, inventory: Inventory, known: Mapping[str, tuple[Wanted, Survey]], seen: Seen) -> Draft:
    """Return the draft of what was seen; pure."""
    draft: Draft = {("name",): Value(name)}
    draft |= _hosts(known, inventory)
    draft |= _reach(inventory)
    draft |= decide.integration(seen) | decide.ceph_access(seen)
    draft |= decide.volume_type(seen) | decide.openstack_access(seen)
    return draft | _services(seen) | choices(seen) | beside(seen, {name: told for name, (_, told) in known.items()})


def provisional(name: str, reach: Any, hosts: Mapping[str, Host], **more: Any) -> Cloud:
    """Return a cloud file for looking: only its hosts are meant."""
    ceph = {"pools": {"images": _NOBODY, "volumes": _NOBODY}, "users": {"glance": _NOBODY, "cinder": _NOBODY}}
    told: dict[str, Any] = {"ceph": ceph, "openstack": {"cloud": _NOBODY}, **more}
    if any("horizon" in host.roles for host in hosts.values()):
        told["horizon"] = Horizon(url=f"http://{_NOBODY}/")
    cinder = {"backend": _NOBODY, "volume_type": _NOBODY}
    # No hypervisor is to try the others: their transport is not known yet.
    return Cloud(name=name, hosts=dict(hosts), reach=reach, cinder=cinder, policy=Policy(live_migration=False), **told)


def _host(one: Wanted) -> Host:
    reach = None if one.via == "ssh" else one.via
    return Host(address=one.address, reach=reach, roles=("keystone",))


def _placed(one: Wanted, told: Survey) -> Host:
    return _host(one).model_copy(update={"roles": tuple(places(told)), "services": settings_of(told)})


def _looked_for() -> str:
    return f"looked for units such as {', '.join(asked_units()[:6])}, and for containers of docker and podman"


# ---------------------------------------------------------------------------- hosts


def surveyed(hosts: Hosts, progress: Progress) -> dict[str, Survey | Unreadable]:
    """Take a first look at all hosts at once."""
    with ThreadPoolExecutor(min(default_forks(), max(1, len(hosts))), "survey") as at_once:
        running = {name: at_once.submit(_surveyed, hosts, name) for name in hosts}
        found = {name: future.result() for name, future in running.items()}
    for name, told in found.items():
        progress(_line(name, told))
    return found


def _line(name: str, told: Survey | Unreadable) -> str:
    if isinstance(told, Unreadable):
        return f"{name}: NOT REACHED: {told.unreadable}"
    itself = "" if told.hostname == name else f" (calls itself {told.hostname})"
    return f"{name}{itself}: {', '.join(places(told)) or 'nothing of a cloud'}"


def _surveyed(hosts: Hosts, name: str) -> Survey | Unreadable:
    try:
        return _looked(hosts[name])
    except NotMeasured as blind:
        return Unreadable(unreadable=str(blind).removeprefix(f"{name}: "))


def _looked(reach: Reach) -> Survey | Unreadable:
    mark = f"<<<survey {secrets.token_hex(8)}>>>"
    asked = {"mark": mark, "units": asked_units(), "seconds": _TOOL_SECONDS}
    sent = program(f"{survey.__name__}.look", asked, collector, survey)
    result = reach.run("sh -c %s", FIND_PYTHON, stdin=sent, timeout=SURVEY_SECONDS)
    try:
        told = Survey.model_validate_json(result.stdout.partition(mark)[2].strip())
    except ValidationError:
        return Unreadable(unreadable=result.stderr.strip()[-300:] or f"no answer (exit code {result.rc})")
    if not told.root:
        return Unreadable(unreadable="the login user is not root; add --sudo (sudo -n is used), or log in as root")
    return Unreadable(unreadable="; ".join(told.blind)) if told.blind else told


def _refuse_blind(surveys: Mapping[str, object]) -> None:
    """A draft from half of the hosts would look whole."""
    blind = {name: told.unreadable for name, told in surveys.items() if isinstance(told, Unreadable)}
    if blind:
        listed = "\n".join(f"  {name}: {why.removeprefix(f'{name}: ')}" for name, why in sorted(blind.items()))
        raise DraftError(f"{len(blind)} of {len(surveys)} hosts cannot be looked at; nothing was written:\n{listed}")


def _by_hostname(inventory: Inventory, surveys: Mapping[str, Survey]) -> dict[str, tuple[Wanted, Survey]]:
    """Name hosts as they call themselves, which is how they know each other."""
    found: dict[str, tuple[Wanted, Survey]] = {}
    for one in inventory.hosts:
        told = surveys[one.name]
        name = told.hostname.partition(".")[0]
        if name in found:
            raise DraftError(f"{found[name][0].name} and {one.name} are one host, or call themselves the same: {name}")
        found[name] = (one, told)
    return dict(sorted(found.items()))


# ---------------------------------------------------------------------------- everything


def _seen(
    cloud: Cloud, hosts: Hosts, surveys: Mapping[str, Survey], clouds_yaml: Path | None, progress: Progress
) -> Seen:
    facts = observe_hosts(cloud, secrets.token_bytes(32), progress, hosts, ask_services=False)
    _refuse_blind(facts)
    runner = Runner(clusters=_own_clusters(), accounts=tuple(_accounts(clouds_yaml)))
    seen = Seen(surveys, facts, runner)
    decided = decide.integration(seen) | decide.ceph_access(seen) | decide.openstack_access(seen)
    ceph = _ceph(cloud, decided, hosts, decide.Integration(seen).fsid(), progress)
    apis = _apis(cloud, decided, progress)
    return Seen(surveys, facts, runner, ceph, apis)


def _own_clusters() -> dict[str, str]:
    """Return the clusters that the runner can ask by librados."""
    if any(importlib.util.find_spec(module) is None for module in ("rados", "rbd")):
        return {}
    return {conf: fsid for conf, fsid in clusters().items() if os.access(_admin_keyring(conf), os.R_OK)}


def _admin_keyring(conf: str) -> Path:
    return Path(f"{Path(conf).with_suffix('')}.client.admin.keyring")


def _known(decided: Draft, *path: str) -> Any:
    entry = decided.get(path)
    return entry.value if isinstance(entry, Value) else None


_ASKS: Final = (Ask("status"), Ask("quorum_status"), Ask("osd dump"), Ask("versions"), Ask("osd crush rule dump"))


def _ceph(cloud: Cloud, decided: Draft, hosts: Hosts, fsid: str, progress: Progress) -> Cluster | Unreadable:
    keys = {key: _known(decided, "ceph", "access", key) for key in ("conf", "keyring", "host")}
    nobody = cloud.ceph.model_dump(include={"pools", "users"}, exclude_none=True)
    asked = {
        **nobody,
        "access": {key: value for key, value in keys.items() if value},
        "conf": _known(decided, "ceph", "conf") or decide.CEPH_CONF,
    }
    told = provisional(cloud.name, cloud.reach, cloud.hosts, ceph=asked)
    try:
        with open_ceph(told, hosts) as ceph:
            found = cluster(ceph.many(list(_ASKS)))
    except (CephError, NotMeasured) as error:
        if asked["access"]:
            raise DraftError(f"Ceph was to be asked, and does not answer; nothing was written: {error}") from None
        progress(f"Ceph: NOT ASKED: {error}")
        return Unreadable(unreadable=str(error))
    progress(f"Ceph: asked ({ceph.source})")
    if fsid and found.fsid != fsid:
        raise DraftError(f"{ceph.source} answers for the cluster {found.fsid}, and the hosts' ceph.conf names {fsid}")
    return found


def cluster(answers: Sequence[Any]) -> Cluster:
    """Return the cluster that the answers tell of; raises the first of them that is an error."""
    for answer in answers:
        if isinstance(answer, (CephError, NotMeasured)):
            raise answer
    status, quorum, osds, versions, rules = answers
    return Cluster(
        fsid=status["fsid"],
        monitors=len(quorum["monmap"]["mons"]),
        versions=tuple(sorted(versions["overall"])),
        pools={
            told["pool_name"]: Kept(size=told["size"], min_size=told["min_size"], crush_rule=told["crush_rule"])
            for told in osds["pools"]
        },
        rules=crush_rules(rules),
    )


def _accounts(clouds_yaml: Path | None) -> Iterable[Account]:
    """Try each entry of the runner's clouds.yaml."""
    try:
        config = sdk_config(clouds_yaml)
        names = [name for name in config.get_cloud_names() if config.config_filename]
    except ConfigException as error:
        raise DraftError(f"{clouds_yaml or 'clouds.yaml'}: {first_line(error)}") from None
    with ThreadPoolExecutor(8, "accounts") as at_once:
        return list(at_once.map(lambda name: _account(config, name), names))


def _account(config: Any, name: str) -> Account:
    file, url = str(Path(config.config_filename).resolve()), ""
    try:
        region = config.get_one(name, api_timeout=20)
        url = str(region.config.get("auth", {}).get("auth_url", ""))
        session: Any = Connection(config=region).session
        access = session.auth.get_access(session)
        endpoints = (one["url"] for row in access.service_catalog.catalog for one in row.get("endpoints", ()))
        return Account(name, url, file, "", tuple(access.role_names), tuple(sorted(set(endpoints))))
    except (*REFUSED, AttributeError) as error:
        return Account(name, url, file, first_line(error))


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _apis(cloud: Cloud, decided: Draft, progress: Progress) -> Told | Unreadable:
    name, file = _known(decided, "openstack", "cloud"), _known(decided, "openstack", "clouds_yaml")
    if not name:
        return Unreadable(unreadable="no account to ask as")
    asked = provisional(cloud.name, cloud.reach, cloud.hosts, openstack={"cloud": name, "clouds_yaml": file})
    try:
        with open_openstack(asked) as connection:
            connection.authorize()
            told = read_some(connection, "volume_types", "compute_services", "endpoints")
            networks = _networks(connection)
    except REFUSED as error:
        progress(f"OpenStack: not asked: {first_line(error)}")
        return Unreadable(unreadable=first_line(error))
    progress("OpenStack: asked")
    return Told(networks=networks, **told)


def _networks(connection: Connection) -> tuple[str, ...] | Unreadable:
    try:
        every = list(connection.network.networks(is_shared=True))
    except REFUSED as error:
        return Unreadable(unreadable=first_line(error))
    return tuple(sorted(str(network.name) for network in every if not network.is_router_external))


# ---------------------------------------------------------------------------- the parts that come from the command line


def _hosts(known: Mapping[str, tuple[Wanted, Survey]], inventory: Inventory) -> Draft:
    draft: Draft = {}
    shared = shared_services({name: told for name, (_, told) in known.items()})
    for name, (one, told) in known.items():
        there = places(told)
        if not there:
            continue
        row: dict[str, Any] = {} if one.address == name else {"address": one.address}
        row |= {} if one.via in ("ssh", inventory.reach.via) else {"reach": one.via}
        row["roles"] = {role: place.found for role, place in there.items()}
        own = {service: it for service, it in settings_of(told).items() if shared.get(service) != it}
        row |= {"services": {key: _told(it) for key, it in own.items()}} if own else {}
        missing = sorted(one.promised - there.keys())
        note = f"the inventory promises {', '.join(missing)}, of which nothing was found here" if missing else ""
        draft["hosts", name] = Value(row, note)
    return draft


def shared_services(surveys: Mapping[str, Survey]) -> dict[Service, ServiceSettings]:
    """Return the deviations that are alike on every host that has the service."""
    every: dict[Service, list[ServiceSettings | None]] = {}
    for told in surveys.values():
        own = settings_of(told)
        here = [*places(told), *(("libvirt",) if "nova-compute" in places(told) else ())]
        for service in here:
            every.setdefault(service, []).append(own.get(service))
    return {name: found[0] for name, found in every.items() if found[0] and all(it == found[0] for it in found)}


def _told(settings: ServiceSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_defaults=True)


def _services(seen: Seen) -> Draft:
    shared = shared_services(seen.surveys)
    told = {service: _told(settings) for service, settings in shared.items()}
    return {("services",): Value(told, "as the hosts run them")} if told else {}


def _reach(inventory: Inventory) -> Draft:
    told = inventory.reach.model_dump(mode="json", exclude_defaults=True)
    return {("reach", key): Value(value) for key, value in told.items() if value is not None}


def left_out(inventory: Inventory, draft: Draft) -> list[str]:
    """Return the hosts that were looked at or listed, and are not in the draft."""
    there = {path[1] for path in draft if path[0] == "hosts"}
    addresses = {entry.value.get("address", name) for name in there if isinstance(entry := draft["hosts", name], Value)}
    return [one.name for one in inventory.hosts if one.address not in addresses and one.name not in there]


def cloud_name(path: Path) -> str:
    """Return a cloud's name from its file's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", path.name.split(".")[0]).strip("-._") or "cloud"
