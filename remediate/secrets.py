"""Which libvirt secret hypervisors shall have, and who refers to it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final, Literal, get_args

from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable
from fixtures.facts.run import Facts
from fixtures.integration import (
    DOCUMENTATION_EXAMPLE,
    backend_option,
    by_hypervisor,
    config_of,
    find_secret,
    secret_user,
)
from fixtures.targets import auth_of, libvirt_of
from remediate.model import NeedsOperator, Secret
from remediate.options import refuse_container

Use = Literal["volumes", "vms"]
USES: Final[tuple[Use, ...]] = get_args(Use)


def wanted_uuid(cloud: Cloud, facts: Facts, use: Use) -> str:
    """Return the uuid by which a use shall know its secret, on all hypervisors alike.

    The one that is in use wins: named by a configuration (the fsid is Cinder's default) and known to a
    hypervisor; else the one that all hypervisors hold the user's key under; else one that is named; else one
    made of cluster and user, which comes out the same each time. The guides' example is none of them.

    Raises:
        NeedsOperator: several are in use.
        NotMeasured: a configuration, libvirt or Ceph's users could not be read.
    """
    named = _named(cloud, facts, use)
    held = _held_by_all(cloud, facts, use)
    related = _named(cloud, facts, "vms" if use == "volumes" else "volumes") if _is_shared(cloud) else set()
    known = {one for one in named | {facts.ceph.fsid} if _known(one, cloud, facts)}
    ranked = (known & named or known, held & related, held, named, related)
    candidates = next((found for found in ranked if found), set())
    if len(candidates) > 1:
        listed = ", ".join(sorted(candidates))
        raise NeedsOperator(f"secrets of {use} are several ({listed}): which is to stay is yours to say")
    made = uuid.uuid5(uuid.UUID(facts.ceph.fsid), f"client.{secret_user(cloud, use)}")
    return candidates.pop() if candidates else str(made)


def _is_shared(cloud: Cloud) -> bool:
    """Whether volumes and disks are opened as one user."""
    return secret_user(cloud, "volumes") == secret_user(cloud, "vms")


def _named(cloud: Cloud, facts: Facts, use: Use) -> set[str]:
    if use == "volumes":
        configs = (config_of(facts.host(name), "cinder-volume") for name in cloud.hosts_with("cinder-volume"))
        found = {backend_option(config, cloud, "rbd_secret_uuid") for config in configs}
    else:
        configs = (config_of(facts.host(name), "nova-compute") for name in cloud.hosts_with("nova-compute"))
        found = {config.get("libvirt", "rbd_secret_uuid", "") for config in configs}
    return {one.lower() for one in found if one} - {DOCUMENTATION_EXAMPLE}


def _known(secret: str, cloud: Cloud, facts: Facts) -> bool:
    return any(find_secret(host, secret) for host in by_hypervisor(cloud, facts).values())


def _held_by_all(cloud: Cloud, facts: Facts, use: Use) -> set[str]:
    """Secrets under which every hypervisor has the key of the user."""
    key = auth_of(facts, f"client.{secret_user(cloud, use)}").key
    held = [
        {secret.uuid.lower() for secret in libvirt_of(host).secrets if secret.value == key}
        for host in by_hypervisor(cloud, facts).values()
    ]
    return set.intersection(*held) if held else set()


def hold(facts: Facts, host: str, secret_uuid: str, user: str, *, close: bool = False) -> Iterator[Secret]:
    """Let a hypervisor hold a user's key in a secret; running guests keep the key that they were started with.

    A new one is private where nothing is injected; one that is there is made so only with `close`.

    Raises:
        NeedsOperator: libvirt runs in a container, or the secret is none of Ceph's.
    """
    refuse_container(facts, host, "libvirt", "virsh secret-set-value --file, inside of it")
    here = facts.host(host)
    secret = find_secret(here, secret_uuid)
    if secret is not None and secret.usage_type != "ceph":
        raise NeedsOperator(
            f"{host}: secret {secret_uuid} is for {secret.usage_type}, which libvirt does not change",
            f"virsh secret-undefine {secret_uuid}",
        )
    private = config_of(here, "nova-compute").integer("libvirt", "inject_partition", -2) == -2
    if secret is not None and not close:
        private = secret.private
    yield Secret(
        host=host,
        uuid=secret.uuid if secret else secret_uuid,
        usage=secret.usage_name if secret else _free_name(facts, host, secret_uuid, user),
        private=private,
        key_of=f"client.{user}",
    )


def _free_name(facts: Facts, host: str, secret_uuid: str, user: str) -> str:
    """A usage name, which libvirt wants once a host."""
    taken = {secret.usage_name for secret in libvirt_of(facts.host(host)).secrets}
    name = f"client.{user} secret"
    return name if name not in taken else f"{name} {secret_uuid}"


def holds(facts: Facts, host: str, secret_uuid: str, user: str) -> bool:
    """Whether a hypervisor has the secret, with the key that Ceph has for the user, as far as can be seen."""
    secret = find_secret(facts.host(host), secret_uuid)
    if secret is None or isinstance(secret.value, Unreadable):
        return False
    return secret.value == auth_of(facts, f"client.{user}").key
