"""Area host: the cephx keyrings of the services."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.host import Keyring
from fixtures.facts.run import Facts
from fixtures.roles import role_on
from fixtures.targets import Client, auth_of


def _present(client: Client, keyring: Keyring) -> Keyring:
    if not keyring.stat.exists:
        raise NotMeasured(f"{client.host}:{keyring.stat.path} is absent (see host.keyring.present)")
    return keyring


@pytest.mark.check("host.keyring.present", severity="critical", source="S0 S1 S4 OB KA OSSN-0085")
def test_keyring_is_present(client: Client, client_keyring: Keyring) -> None:
    """Each service host has its users' keyrings at /etc/ceph/CLUSTER.client.ID.keyring.

    Why: os-brick looks at exactly this path; with another one backup, upload and migration fail.
    """
    stat = client_keyring.stat
    assert stat.kind == "file", finding(
        f"{client.host}:{stat.path}",
        found=stat.kind,
        expected="the keyring",
        remedy=f"ceph auth get client.{client.user}, installed there 0640",
    )


@pytest.mark.check("host.keyring.owner_mode", severity="critical", source="S0 S1 S4")
def test_keyring_belongs_to_the_service_alone(client: Client, client_keyring: Keyring, cloud: Cloud) -> None:
    """The keyring belongs to the service's account and group, with mode 0600 or 0640.

    Why: a wider one hands the pool to every account of the host, a narrower one to nobody.
    """
    stat = _present(client, client_keyring).stat
    where = f"{client.host}:{stat.path}"
    owners = _owners(client, cloud)
    assert f"{stat.owner}:{stat.group}" in owners, finding(
        where, found=f"{stat.owner}:{stat.group}", expected=" or ".join(owners), remedy=f"chown {owners[0]} {stat.path}"
    )
    assert stat.mode in (0o600, 0o640), finding(
        where, found=f"mode {stat.mode:04o}", expected="0600 or 0640", remedy=f"chmod 0640 {stat.path}"
    )


def _owners(client: Client, cloud: Cloud) -> list[str]:
    sharing = [role for role in cloud.hosts[client.host].roles if client.user in cloud.users_of(role)]
    rows = [role_on(cloud, client.host, role) for role in sharing]
    return sorted({f"{row.account}:{row.group}" for row in rows})


@pytest.mark.check("host.keyring.readable", severity="critical", source="S1 OB")
def test_keyring_is_readable_by_the_service(client: Client, client_keyring: Keyring, cloud: Cloud) -> None:
    """The service's own account can open the keyring, tried as that account.

    Why: the right owner behind a closed folder or a foreign label is as good as no keyring.
    """
    keyring = _present(client, client_keyring)
    account = role_on(cloud, client.host, client.role).account
    readable = keyring.readable_by.get(account)
    if readable is None:
        raise NotMeasured(f"{client.host}:{keyring.stat.path}: opening it as {account} could not be tried")
    assert readable, finding(
        f"{client.host}:{keyring.stat.path}",
        found=f"{account} cannot open it",
        expected="readable",
        remedy="mend owner, mode, ACL, folder or label",
    )


@pytest.mark.check("host.keyring.entity_key", severity="critical", source="S0 S1")
def test_keyring_holds_the_clusters_key(client: Client, client_keyring: Keyring, facts: Facts) -> None:
    """The keyring's section is [client.ID] and its key is the one that Ceph has.

    Why: an old key looks right on every host and is refused by every monitor.
    """
    keyring = _present(client, client_keyring)
    where, entity = f"{client.host}:{keyring.stat.path}", f"client.{client.user}"
    assert entity in keyring.keys, finding(
        where,
        found=f"sections {', '.join(sorted(keyring.keys)) or 'none'} {'; '.join(keyring.problems)}".strip(),
        expected=f"[{entity}]",
        remedy=f"write it anew from ceph auth get {entity}",
    )
    assert keyring.keys[entity] == auth_of(facts, entity).key, finding(
        where,
        found="another key than Ceph has",
        expected=f"the key of {entity}",
        remedy=f"write it anew from ceph auth get {entity}",
    )
