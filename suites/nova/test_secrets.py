"""Area nova.secret: the libvirt secrets that open RBD disks."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Digest, NotMeasured, Unreadable, need
from fixtures.facts.host import Secret
from fixtures.facts.run import Facts
from fixtures.integration import (
    DOCUMENTATION_EXAMPLE,
    by_hypervisor,
    config_of,
    find_secret,
    secret_user,
    secret_uuid,
)
from fixtures.parity import odd_ones
from fixtures.targets import SecretUse, auth_of, libvirt_of


def _uuid(use: SecretUse, facts: Facts, cloud: Cloud) -> str:
    return secret_uuid(facts, cloud, facts.host(use.host), use.use)


def _defined(use: SecretUse, facts: Facts, cloud: Cloud) -> Secret:
    uuid = _uuid(use, facts, cloud)
    secret = find_secret(facts.host(use.host), uuid)
    if secret is None:
        raise NotMeasured(f"{use.host}: secret {uuid} is not defined (see nova.secret.exists)")
    return secret


@pytest.mark.check("nova.secret.exists", severity="critical", source="S0 S1 S4 LS")
def test_secret_is_defined(secret_use: SecretUse, facts: Facts, cloud: Cloud) -> None:
    """The secret that Cinder or Nova refers to is defined here, for ceph, not ephemeral, its usage name unique.

    Why: without it no guest with such a disk starts on, or migrates to, this hypervisor.
    """
    uuid = _uuid(secret_use, facts, cloud)
    secrets = libvirt_of(facts.host(secret_use.host)).secrets
    secret = find_secret(facts.host(secret_use.host), uuid)
    where = f"{secret_use.host}: secret {uuid}"
    assert secret, finding(
        where,
        found=[s.uuid for s in secrets],
        expected="the secret",
        remedy="virsh secret-define, secret-set-value --file",
    )
    assert secret.usage_type == "ceph" and not secret.ephemeral, finding(
        where,
        found=f"usage {secret.usage_type}, ephemeral {secret.ephemeral}",
        expected="usage ceph, ephemeral False",
        remedy="define it anew",
    )
    same = [other.uuid for other in secrets if (other.usage_type, other.usage_name) == ("ceph", secret.usage_name)]
    assert same == [secret.uuid], finding(
        where, found=f"usage {secret.usage_name!r} of {same}", expected="a name of its own", remedy="rename one"
    )


@pytest.mark.check("nova.secret.value", severity="critical", source="S0 S1 S4 LS")
def test_secret_holds_the_users_key(secret_use: SecretUse, facts: Facts, cloud: Cloud) -> None:
    """The secret has a value, and it is the key that Ceph has for the user.

    Why: after a key's rotation each hypervisor with the old value fails at the next start or migration only.
    """
    secret = _defined(secret_use, facts, cloud)
    entity = f"client.{secret_user(cloud, secret_use.use)}"
    value = None if secret.value is None else need(secret.value, f"{secret_use.host}: secret {secret.uuid}")
    assert value == auth_of(facts, entity).key, finding(
        f"{secret_use.host}: secret {secret.uuid}",
        found="no value" if value is None else "another key",
        expected=f"the key of {entity}",
        remedy=f"virsh secret-set-value {secret.uuid} --file FILE",
    )


@pytest.mark.check("nova.secret.uniform", severity="critical", source="S0 S1 RO")
@pytest.mark.compares_hosts
def test_hypervisors_agree_on_their_secrets(facts: Facts, cloud: Cloud) -> None:
    """All hypervisors map the same secret uuids to the same keys, and none is the guides' example.

    Why: a guest migrates with the uuid in its definition; the target must know it.
    """
    maps = {
        name: {secret.uuid: secret.value for secret in libvirt_of(host).secrets if secret.usage_type == "ceph"}
        for name, host in by_hypervisor(cloud, facts).items()
    }
    every = {uuid for mapping in maps.values() for uuid in mapping}
    spread = {uuid: odd_ones({name: _held(uuid, found) for name, found in maps.items()}) for uuid in sorted(every)}
    differing = {uuid: odd for uuid, odd in spread.items() if odd}
    assert not differing, finding(
        "hypervisors",
        found=differing,
        expected="the same secrets everywhere",
        remedy="define the missing, mend the differing",
    )
    assert DOCUMENTATION_EXAMPLE not in every or cloud.policy.kind == "lab", finding(
        "hypervisors",
        found=f"the documentation's example uuid {DOCUMENTATION_EXAMPLE}",
        expected="one of your own",
        remedy="uuidgen; define it anew",
    )


def _held(uuid: str, secrets: Mapping[str, Digest | Unreadable | None]) -> str:
    """What a hypervisor holds for a uuid; the value is a digest of this run."""
    if uuid not in secrets:
        return "absent"
    return f"value {secrets[uuid]}" if secrets[uuid] else "without a value"


@pytest.mark.check("nova.secret.persistent", severity="major", source="LP1821696 KA")
def test_secret_survives_a_restart(secret_use: SecretUse, facts: Facts, cloud: Cloud) -> None:
    """The secret's definition and value lie below /etc/libvirt/secrets, of root, mode 0600.

    Why: a secret that only libvirt's memory holds is gone after the next restart.
    """
    secret = _defined(secret_use, facts, cloud)
    for file in (secret.definition, secret.value_file):
        where = f"{secret_use.host}:{file.path}"
        assert file.kind == "file", finding(
            where, found=file.kind, expected="a file", remedy="define it with ephemeral='no' and set its value"
        )
        assert (file.owner, file.mode) == ("root", 0o600), finding(
            where,
            found=f"{file.owner} {file.mode:04o}",
            expected="root 0600",
            remedy=f"chown root {file.path}; chmod 0600 {file.path}",
        )


@pytest.mark.check("nova.secret.private", severity="info", source="LS NI")
def test_secrets_are_told_to_nobody(secret_use: SecretUse, facts: Facts, cloud: Cloud) -> None:
    """The secret is private where nothing is injected into disks, and readable where something is.

    Why: libvirt hands a key that is not private to whoever may talk to it; only injection (libguestfs) needs that.
    """
    secret = _defined(secret_use, facts, cloud)
    injects = config_of(facts.host(secret_use.host), "nova-compute").integer("libvirt", "inject_partition", -2) != -2
    assert secret.private != injects, finding(
        f"{secret_use.host}: secret {secret.uuid}",
        found=f"private {secret.private}, injection {'on' if injects else 'off'}",
        expected=f"private {not injects}",
        remedy="see nova.config.injection" if injects else "virsh secret-define with private='yes'",
    )
