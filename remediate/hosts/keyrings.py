"""Area host: the cephx keyrings of the services."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.host import IniFile, Keyring
from fixtures.facts.run import Facts
from fixtures.roles import role_on
from fixtures.targets import Client, auth_of
from remediate.model import Attributes, File, NeedsOperator
from remediate.options import refuse_container
from remediate.registry import repairs

KEYRING_MODE = 0o640
KEYRING = "[{entity}]\n\tkey = {{key}}\n"


def _owner(client: Client, cloud: Cloud) -> tuple[str, str]:
    """The accounts of the services that share the keyring; the client's own first."""
    sharing = [role for role in cloud.hosts[client.host].roles if client.user in cloud.users_of(role)]
    rows = [role_on(cloud, client.host, role) for role in sharing]
    first, *others = sorted({(row.account, row.group) for row in rows})
    if others:
        raise NeedsOperator(
            f"{client.host}: services of the accounts {', '.join(account for account, _ in (first, *others))} share "
            f"the keyring of client.{client.user}: who owns it and who is let in by group is yours to say"
        )
    return first


def _keyring(client: Client, cloud: Cloud, facts: Facts) -> Keyring:
    refuse_container(facts, client.host, client.role, f"ceph auth get client.{client.user}")
    path = cloud.ceph.keyring(client.user)
    return need(facts.host(client.host).keyrings.get(path), f"{client.host}:{path}")


@repairs("host.keyring.owner_mode", disruption="safe")
def give_the_keyring_to_its_service(client: Client, cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Set owner, group and mode."""
    stat = _keyring(client, cloud, facts).stat
    owner, group = _owner(client, cloud)
    mode = stat.mode if stat.mode in (0o600, 0o640) else KEYRING_MODE
    if (stat.owner, stat.group, stat.mode) != (owner, group, mode):
        yield Attributes(host=client.host, path=stat.path, owner=owner, group=group, mode=mode)


@repairs("host.keyring.readable", disruption="safe")
def let_the_service_read_the_keyring(client: Client, cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Set owner, group and mode, which is what closes a keyring most often."""
    steps = list(give_the_keyring_to_its_service(client, cloud, facts))
    if not steps:
        path = cloud.ceph.keyring(client.user)
        raise NeedsOperator(
            f"{client.host}: owner and mode of {path} are right: a folder on the way, an access list, or a link that "
            "was laid on purpose keeps the service out",
            f"namei -l {path}; getfacl {path}",
        )
    yield from steps


@repairs("host.keyring.present", "host.keyring.entity_key", disruption="safe")
def write_the_keyring(client: Client, cloud: Cloud, facts: Facts) -> Iterator[File]:
    """Write it with the key that Ceph has; the file of another cluster is left alone."""
    keyring, entity = _keyring(client, cloud, facts), f"client.{client.user}"
    _refuse_another_cluster(client, facts)
    auth_of(facts, entity)
    # Whom Ceph does not know logs in with it nowhere.
    others = {one.entity for one in need(facts.ceph.auth, "users of Ceph")} & set(keyring.keys) - {entity}
    if others:
        raise NeedsOperator(
            f"{client.host}:{keyring.stat.path} also holds {', '.join(sorted(others))}, which may be in use",
            f"ceph auth get {entity}",
        )
    owner, group = _owner(client, cloud)
    mode = keyring.stat.mode if keyring.stat.mode in (0o600, 0o640) else KEYRING_MODE
    text = KEYRING.format(entity=entity)
    yield File(host=client.host, path=keyring.stat.path, text=text, key_of=entity, owner=owner, group=group, mode=mode)


def _refuse_another_cluster(client: Client, facts: Facts) -> None:
    conf = facts.host(client.host).ceph_conf
    if not isinstance(conf, IniFile):
        raise NotMeasured(f"{client.host}: ceph.conf: {conf.unreadable}")
    named = {entry.value for entry in conf.entries if entry.key == "fsid"} - {facts.ceph.fsid}
    if named:
        raise NeedsOperator(f"{client.host} is a client of another cluster ({', '.join(sorted(named))})")


@repairs("backup.host.keyrings", disruption="safe")
def give_the_backup_host_its_keyrings(backup_host: str, cloud: Cloud, facts: Facts) -> Iterator[File | Attributes]:
    """Write what is absent, and let the service read the others."""
    for user in cloud.users_of("cinder-backup"):
        client = Client(backup_host, "cinder-backup", user)
        if _keyring(client, cloud, facts).stat.exists:
            yield from give_the_keyring_to_its_service(client, cloud, facts)
        else:
            yield from write_the_keyring(client, cloud, facts)
