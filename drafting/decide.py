"""What the cloud file should say, from what was seen: values with where they were found, or a question; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from drafting.errors import DraftError
from drafting.placing import cephadm_fsids, places
from drafting.seen import Account, Seen
from fixtures.cloud.model import CLIENT_ROLES, OPENSTACK_ROLES, Role
from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts
from fixtures.integration import RBD_DRIVER, SINGLE_STORE, glance_stores, section_of
from fixtures.oslo import OsloConfig

Path: TypeAlias = tuple[str, ...]
"""Keys of the cloud file, from the top down."""

CEPH_CONF: Final = "/etc/ceph/ceph.conf"
_KEYSTONE: Final = (("keystone_authtoken", "www_authenticate_uri"), ("keystone_authtoken", "auth_url"))


@dataclass(frozen=True)
class Value:
    """A value of a key; None: the cloud has none, so the key is left out."""

    value: Any
    found: str = ""
    """Where, for a person to look: host, file, section, option."""
    confirm: str = ""
    """What a person should know before leaving it so."""


@dataclass(frozen=True)
class Open:
    """A question that the cloud does not answer by itself."""

    question: str
    candidates: tuple[str, ...] = ()
    required: bool = False
    """Without an answer the file cannot be used."""


Entry: TypeAlias = Value | Open
Draft: TypeAlias = dict[Path, Entry]
Entries: TypeAlias = Iterator[tuple[Path, Entry]]


@dataclass(frozen=True)
class Option:
    """A service's option on one host, with where it stands."""

    host: str
    config: OsloConfig
    section: str
    key: str
    default: str = ""

    @property
    def value(self) -> str:
        """As the service reads it."""
        return self.config.get(self.section, self.key, self.default)

    @property
    def where(self) -> str:
        """As "controller: /etc/nova/nova.conf:12 [libvirt] rbd_user"."""
        place = self.config.where(self.section, self.key)
        return f"{self.host}: {'default of' if place == 'unset' else place} [{self.section}] {self.key}"


@dataclass(frozen=True)
class Backend:
    """An RBD back end of Cinder as one host has it."""

    name: str
    pool: Option
    user: Option
    shown_as: str
    """Its volume_backend_name."""

    def option(self, key: str, default: str = "") -> Option:
        """Return another option of it on that host."""
        return _backend_option(self.pool.host, self.pool.config, self.name, key, default)

    def __str__(self) -> str:
        return f"{self.name}: pool {self.pool.value}, user {self.user.value or 'unset'} ({self.pool.where})"


class Integration:
    """What the services' own configuration says of Ceph."""

    def __init__(self, seen: Seen) -> None:
        """Take what was seen of the hosts."""
        self.seen = seen

    def configs(self, role: Role) -> dict[str, OsloConfig]:
        """Return each host's configuration of a role; without those that could not be read."""
        found: dict[str, OsloConfig] = {}
        for name in self.hosts_with(role):
            service = self._facts(name).services.get(role) if isinstance(self.seen.hosts.get(name), HostFacts) else None
            if service and not isinstance(service, Unreadable) and not isinstance(service.entries, Unreadable):
                found |= {name: OsloConfig(service.entries)} if service.entries else {}
        return found

    def hosts_with(self, *roles: Role) -> list[str]:
        """Return the hosts on which a role was found."""
        return [name for name, survey in sorted(self.seen.surveys.items()) if set(places(survey)) & set(roles)]

    def unread(self, role: Role) -> str:
        """Say why a role's configuration is not known."""
        hosts = self.hosts_with(role)
        return f"no configuration of {role} could be read on {', '.join(hosts)}" if hosts else f"no {role} was found"

    def _facts(self, name: str) -> HostFacts:
        facts = self.seen.hosts[name]
        assert isinstance(facts, HostFacts)
        return facts

    # -- Glance

    def glance(self) -> Draft:
        """Store, pool and user."""
        configs = self.configs("glance-api")
        if not configs:
            return _all_open(self.unread("glance-api"), ("ceph", "pools", "images"), ("ceph", "users", "glance"))
        stores = {host: _rbd_stores(config) for host, config in configs.items()}
        every = sorted({store for found in stores.values() for store in found})
        if len(every) != 1:
            listed = [f"{store} ({_store_text(configs[h], store, h)})" for h in stores for store in stores[h]]
            question = "which of Glance's RBD stores is judged?" if every else "Glance has no RBD store; which pool?"
            wanted = (("glance", "store"), ("ceph", "pools", "images"), ("ceph", "users", "glance"))
            return _all_open(question, *wanted, candidates=listed, optional=wanted[:1])
        (store,) = every
        draft: Draft = {
            ("ceph", "pools", "images"): _agreed(_options(configs, store, "rbd_store_pool", "images")),
            ("ceph", "users", "glance"): _agreed(_options(configs, store, "rbd_store_user")),
        }
        if store != SINGLE_STORE:
            draft["glance", "store"] = Value(store, _options(configs, "DEFAULT", "enabled_backends")[0].where)
        return draft

    # -- Cinder

    @cached_property
    def backends(self) -> list[Backend]:
        """Every RBD back end of every host."""
        found: list[Backend] = []
        for host, config in self.configs("cinder-volume").items():
            for name in config.items("DEFAULT", "enabled_backends"):
                if _backend_option(host, config, name, "volume_driver").value == RBD_DRIVER:
                    found.append(_backend(host, config, name))
        return found

    def cinder(self) -> Draft:
        """Back end, pool and user."""
        names = sorted({one.name for one in self.backends})
        wanted = (("cinder", "backend"), ("ceph", "pools", "volumes"), ("ceph", "users", "cinder"))
        if len(names) != 1:
            question = (
                "which back end is judged? A cloud file is about one; write another file for the other"
                if names
                else f"no RBD back end is among enabled_backends ({self._enabled() or self.unread('cinder-volume')})"
            )
            return _all_open(question, *wanted, candidates=[str(one) for one in self.backends])
        enabled = Option(self.backends[0].pool.host, self.backends[0].pool.config, "DEFAULT", "enabled_backends")
        return {
            wanted[0]: Value(names[0], enabled.where),
            wanted[1]: _agreed([one.pool for one in self.backends]),
            wanted[2]: _agreed([one.user for one in self.backends]),
        }

    def _enabled(self) -> str:
        configs = self.configs("cinder-volume")
        return "; ".join(
            f"{host}: {config.get('DEFAULT', 'enabled_backends', 'unset')}" for host, config in configs.items()
        )

    # -- Nova and backup

    def nova(self) -> Draft:
        """Pool of ephemeral disks, and the user of hypervisors."""
        configs = self.configs("nova-compute")
        if not configs:
            return {("ceph", "pools", "vms"): Value(None, self.unread("nova-compute"))}
        kinds = _options(configs, "libvirt", "images_type", "default")
        draft: Draft = {}
        if any(one.value for one in _options(configs, "libvirt", "rbd_user")):
            draft["ceph", "users", "nova"] = _agreed(_options(configs, "libvirt", "rbd_user"))
        if {one.value for one in kinds} == {"rbd"}:
            draft["ceph", "pools", "vms"] = _agreed(_options(configs, "libvirt", "images_rbd_pool", "rbd"))
            draft.setdefault(
                ("ceph", "users", "nova"), Open("[libvirt] rbd_user is unset on all hypervisors", (), True)
            )
        elif any(one.value == "rbd" for one in kinds):
            listed = tuple(f"{one.value} ({one.where})" for one in kinds)
            draft["ceph", "pools", "vms"] = Open("hypervisors disagree whether disks are on RBD", listed)
        else:
            draft["ceph", "pools", "vms"] = Value(None, f"{kinds[0].where} = {kinds[0].value}")
        return draft

    def backup(self) -> Draft:
        """Pool and user of Cinder's backups."""
        configs = self.configs("cinder-backup")
        ceph = {
            host: config for host, config in configs.items() if ".ceph" in config.get("DEFAULT", "backup_driver", "")
        }
        pool, user = ("ceph", "pools", "backups"), ("ceph", "users", "backup")
        if not ceph:
            drivers = _options(configs, "DEFAULT", "backup_driver", "swift")
            told = f"{drivers[0].where} = {drivers[0].value}" if drivers else self.unread("cinder-backup")
            return {pool: Value(None, told), user: Value(None, told)}
        elsewhere = [one for one in _options(ceph, "DEFAULT", "backup_ceph_conf", CEPH_CONF) if one.value != self.conf]
        if elsewhere:
            told = f"backups go to another cluster ({elsewhere[0].where} = {elsewhere[0].value}): not judged"
            return {pool: Value(None, told), user: Value(None, told)}
        return {
            pool: _agreed(_options(ceph, "DEFAULT", "backup_ceph_pool", "backups")),
            user: _agreed(_options(ceph, "DEFAULT", "backup_ceph_user", "cinder")),
        }

    # -- the cluster

    @cached_property
    def conf(self) -> str:
        """Path of the ceph.conf that Cinder's back end reads, else Glance's store."""
        for one in self.backends:
            return one.option("rbd_ceph_conf", CEPH_CONF).value or CEPH_CONF
        for config in self.configs("glance-api").values():
            for store in _rbd_stores(config):
                return config.get(store, "rbd_store_ceph_conf", CEPH_CONF)
        return CEPH_CONF

    @cached_property
    def fsids(self) -> dict[str, str]:
        """Where a cluster is named ("controller: /etc/ceph/ceph.conf") to its fsid."""
        found: dict[str, str] = {}
        for name in self.hosts_with(*CLIENT_ROLES, "ceph-mon", "ceph-mgr", "ceph-osd"):
            survey = self.seen.surveys[name]
            clusters = {} if isinstance(survey.clusters, Unreadable) else survey.clusters
            path = self.conf if self.conf in clusters else CEPH_CONF
            found |= {f"{name}: {path}": clusters[path]} if path in clusters else {}
            found |= {f"{name}: ceph-{fsid}@…": fsid for fsid in cephadm_fsids(survey)}
            found |= self._fsids_inside(name)
        return found

    def _fsids_inside(self, name: str) -> dict[str, str]:
        facts = self.seen.hosts.get(name)
        inside = facts.containers if isinstance(facts, HostFacts) else {}
        found: dict[str, str] = {}
        for container, told in inside.items():
            if isinstance(told, HostFacts) and not isinstance(told.ceph_conf, Unreadable):
                named = [entry.value for entry in told.ceph_conf.entries if entry.key == "fsid"]
                found |= {f"{name}/{container}: {told.ceph_conf.stat.path}": fsid for fsid in named[-1:]}
        return found

    def fsid(self) -> str:
        """Return the cluster's id; "" where no host tells.

        Raises:
            DraftError: hosts are of different clusters.
        """
        every = {fsid: [place for place, it in self.fsids.items() if it == fsid] for fsid in self.fsids.values()}
        if len(every) > 1:
            listed = "\n".join(f"  {fsid}: {', '.join(places)}" for fsid, places in sorted(every.items()))
            raise DraftError(
                f"these hosts belong to {len(every)} Ceph clusters, and a cloud file is about one:\n{listed}\n"
                "name only the hosts of one cluster, and draft another file for the other"
            )
        return next(iter(every), "")

    def cluster(self) -> Draft:
        """Cluster name and ceph.conf, where they are not the defaults; raises DraftError as fsid()."""
        self.fsid()
        draft: Draft = {}
        names = [one.option("rbd_cluster_name", "ceph") for one in self.backends]
        if names and names[0].value != "ceph":
            draft["ceph", "cluster"] = _agreed(names)
        elif PurePosixPath(self.conf).stem != "ceph":
            draft["ceph", "cluster"] = Value(PurePosixPath(self.conf).stem, self.conf)
        if self.conf != CEPH_CONF:
            draft["ceph", "conf"] = Value(
                self.conf, self.backends[0].option("rbd_ceph_conf").where if self.backends else ""
            )
        return draft


def integration(seen: Seen) -> Draft:
    """Return what the services' configuration decides: pools, users, store, back end.

    Raises:
        DraftError: the hosts are of more than one cluster.
    """
    found = Integration(seen)
    return found.cluster() | found.glance() | found.cinder() | found.nova() | found.backup()


# ---------------------------------------------------------------------------- how to ask Ceph and OpenStack


def ceph_access(seen: Seen) -> Draft:
    """Say how the runner asks Ceph: with a keyring of its own, and through a host that has one."""
    found = Integration(seen)
    fsid = found.fsid()
    draft: Draft = {}
    for conf, told in seen.runner.clusters.items():
        if told == fsid:
            keyring = str(PurePosixPath(conf).with_suffix("")) + ".client.admin.keyring"
            draft["ceph", "access", "conf"] = Value(conf, "on the runner, of the same fsid")
            draft["ceph", "access", "keyring"] = Value(keyring, "on the runner")
            break
    hosts = [name for name in _monitors_first(seen) if _has_keyring(seen, name)]
    if hosts:
        draft["ceph", "access", "host"] = Value(
            hosts[0], f"{hosts[0]}: has ceph, rbd and {_has_keyring(seen, hosts[0])}", _others(hosts[1:])
        )
    if not draft:
        without = [name for name in _monitors_first(seen) if "ceph" in seen.surveys[name].commands]
        question = "nobody can ask Ceph: no host has ceph, rbd and an administrator's keyring in /etc/ceph"
        listed = tuple(f"{name} has the commands, but no /etc/ceph/*.client.admin.keyring" for name in without)
        listed += ("conf: and keyring: on the runner (mon 'allow *', mgr 'allow r', osd 'allow r')",)
        draft["ceph", "access", "host"] = Open(question, listed, required=True)
    return draft


def _monitors_first(seen: Seen) -> list[str]:
    return sorted(seen.surveys, key=lambda name: ("ceph-mon" not in places(seen.surveys[name]), name))


def _has_keyring(seen: Seen, name: str) -> str:
    survey = seen.surveys[name]
    admin = [path for path in survey.keyrings if path.endswith(".client.admin.keyring")]
    return admin[0] if admin and {"ceph", "rbd"} <= set(survey.commands) else ""


def _others(names: list[str]) -> str:
    return f"could be too: {', '.join(names)}" if names else ""


def openstack_access(seen: Seen) -> Draft:
    """Choose an entry of the runner's clouds.yaml: of this cloud's Keystone, logging in, an administrator's."""
    known = _keystones(seen)
    ours = [one for one in seen.runner.accounts if not known or _hosts_of([one.auth_url, *one.endpoints]) & set(known)]
    good = [one for one in ours if not one.problem]
    admins = [one for one in good if "admin" in one.roles]
    if len(admins or good) == 1:
        (one,) = admins or good
        weak = "" if admins else f"its roles are {', '.join(one.roles) or 'not told'}: checks want an administrator's"
        told = f"{one.file}: {one.auth_url}"
        return {
            ("openstack", "cloud"): Value(one.name, told, weak),
            ("openstack", "clouds_yaml"): Value(one.file, "on the runner"),
        }
    listed = tuple(_account_text(one) for one in (admins or good or ours or seen.runner.accounts))
    places_ = [f"{name}:{path}" for name, survey in sorted(seen.surveys.items()) for path in survey.clouds]
    listed += tuple(f"{place}: on that host; copy it to the runner (it holds a password)" for place in places_)
    question = "which administrator's entry of clouds.yaml?"
    if not admins and not good:
        at = f" (it is at {', '.join(f'{url}' for url in known.values())})" if known else ""
        question = f"no entry of the runner's clouds.yaml logs in to this cloud's Keystone{at}; which one should?"
    return {("openstack", "cloud"): Open(question, listed, required=True)}


def _account_text(one: Account) -> str:
    return f"{one.name} ({one.file}: {one.auth_url}{f': {one.problem}' if one.problem else ''})"


def _keystones(seen: Seen) -> dict[str, str]:
    """Return the hosts that services know Keystone by, to the address in full."""
    found: dict[str, str] = {}
    for role in OPENSTACK_ROLES:
        for config in Integration(seen).configs(role).values():
            urls = (config.get(section, key, "") for section, key in _KEYSTONE)
            found |= {host: url for url in urls for host in _hosts_of([url])}
    return found


def _hosts_of(urls: Iterable[str]) -> set[str]:
    return {host for url in urls if (host := urlsplit(url).hostname)}


def volume_type(seen: Seen) -> Draft:
    """Choose the volume type that leads to the back end."""
    backends = Integration(seen).backends
    shown = {one.shown_as for one in backends}
    key = ("cinder", "volume_type")
    if isinstance(seen.apis, Unreadable) or seen.apis is None or isinstance(seen.apis.volume_types, Unreadable):
        return {key: Open("which volume type leads to the back end? The block storage API was not asked", (), True)}
    types = seen.apis.volume_types
    leading = [one for one in types if one.extra_specs.get("volume_backend_name") in shown]
    chosen = [one for one in leading if one.is_default] if len(leading) > 1 else leading
    if len(chosen) == 1 and len(shown) == 1:
        told = f"volume type {chosen[0].name}: volume_backend_name = {chosen[0].extra_specs['volume_backend_name']}"
        others = [one.name for one in leading if one != chosen[0]]
        return {key: Value(chosen[0].name, told, f"the default; lead there too: {', '.join(others)}" if others else "")}
    listed = tuple(f"{one.name} ({_specs(one.extra_specs)})" for one in leading or types)
    return {key: Open("which volume type leads to the back end?", listed, required=True)}


def _specs(specs: Mapping[str, str]) -> str:
    return f"volume_backend_name = {specs.get('volume_backend_name', 'unset: any back end')}"


# ---------------------------------------------------------------------------- helpers


def _rbd_stores(config: OsloConfig) -> list[str]:
    """Return the ids of the RBD stores; in the single store's form its section."""
    stores = glance_stores(config)
    if stores:
        return [store for store, kind in stores.items() if kind == "rbd"]
    listed = config.items(SINGLE_STORE, "stores", ("file", "http"))
    return [SINGLE_STORE] if "rbd" in listed or any(".rbd." in name for name in listed) else []


def _store_text(config: OsloConfig, store: str, host: str) -> str:
    pool = Option(host, config, store, "rbd_store_pool", "images")
    return f"pool {pool.value}, user {config.get(store, 'rbd_store_user', 'unset')}; {pool.where}"


def _backend(host: str, config: OsloConfig, name: str) -> Backend:
    pool = _backend_option(host, config, name, "rbd_pool", "rbd")
    user = _backend_option(host, config, name, "rbd_user")
    return Backend(name, pool, user, _backend_option(host, config, name, "volume_backend_name", name).value)


def _backend_option(host: str, config: OsloConfig, name: str, key: str, default: str = "") -> Option:
    return Option(host, config, section_of(config, name, key), key, default)


def _options(configs: Mapping[str, OsloConfig], section: str, key: str, default: str = "") -> list[Option]:
    return [Option(host, config, section, key, default) for host, config in sorted(configs.items())]


def _agreed(options: list[Option]) -> Entry:
    """Return the value that all hosts have, else the question which of them holds."""
    values = {one.value for one in options}
    if values == {""}:
        return Open(f"[{options[0].section}] {options[0].key} is unset", tuple(one.where for one in options), True)
    if len(values) == 1:
        more = f" and {len(options) - 1} more" if len(options) > 1 else ""
        return Value(options[0].value, options[0].where + more)
    listed = tuple(f"{one.value or 'unset'} ({one.where})" for one in options)
    return Open(f"hosts disagree in {options[0].key}; which holds?", listed, required=True)


def _all_open(question: str, *paths: Path, candidates: Iterable[str] = (), optional: Iterable[Path] = ()) -> Draft:
    listed, free = tuple(candidates), set(optional)
    return {path: Open(question, listed, required=path not in free) for path in paths}
