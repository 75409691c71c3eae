"""Area sec: keys, passwords and privileges on the hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.facts.system import ConfigCopy
from fixtures.privileges import (
    is_at_home,
    is_closed,
    is_open_sudoers,
    is_roots_alone,
    may_do_too_much,
    owners_of,
    project_of,
)
from remediate.model import Attributes, File, NeedsOperator, SudoRule
from remediate.places import on_host
from remediate.registry import manual, repairs

KEY_ONLY = re.compile(r"(\.key|\.keyring|secret[^/]*\.xml)$")
"""Files that are there for a key and nothing else."""
CONFIG_MODE, SUDOERS_MODE, KEYRING_MODE = 0o640, 0o440, 0o600


@repairs("sec.host.admin_and_bootstrap", disruption="safe")
def keep_administrators_keyrings_at_home(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[Attributes | File]:
    """Close them beside Ceph; elsewhere take them away, with a copy for root that the operator removes."""
    host = on_host(client_host, facts)
    for file in need(host.system.admin_keyrings, f"{host.name}: keyrings of administrators"):
        if not is_at_home(cloud, host.name):
            yield File(host=host.name, path=file.path, text=None, disruption="destructive")
        elif not is_roots_alone(file):
            owner = file.owner if file.owner in ("root", "ceph") else "root"
            yield Attributes(host=host.name, path=file.path, owner=owner, mode=KEYRING_MODE)


@repairs("sec.host.key_residue", disruption="safe")
def take_keys_away_that_lie_about(client_host: str, facts: Facts) -> Iterator[Attributes | File]:
    """Close keyrings to others; take files away that hold a key and nothing else, with a copy for root."""
    host = on_host(client_host, facts)
    told = need(host.system.residue, f"{host.name}: files with keys")
    left = []
    for residue in told:
        if residue.kind == "file" and residue.where.startswith("/etc/ceph/") and residue.where.endswith(".keyring"):
            yield Attributes(host=host.name, path=residue.where, mode=residue.mode & ~0o007)
        elif residue.kind == "file" and KEY_ONLY.search(residue.where):
            yield File(host=host.name, path=residue.where, text=None, disruption="destructive")
        else:
            left.append(residue.where)
    if left and len(left) == len(told):
        raise NeedsOperator(
            f"{host.name}: what else is in these is not known, and a key on a command line goes only with its "
            "process: take the keys out by hand, and make new ones if others could read them",
            *left,
        )


@repairs("sec.conf.perms", disruption="safe")
def close_configurations_with_secrets(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Leave them to root and the service's group; passwords are not made up."""
    host = on_host(client_host, facts)
    copies = need(host.system.config_copies, f"{host.name}: configurations")
    open_ = [copy for copy in copies if copy.secret and not is_closed(copy, host.name, cloud)]
    if not open_:
        raise NeedsOperator(
            f"{host.name}: a password is easily guessed, or the database lets somebody in without one: choose new "
            "ones, in the service that knows them first and then in the files",
            "openstack user set --password-prompt; rabbitmqctl change_password; mariadb-secure-installation",
        )
    for copy in open_:
        yield _closed(copy, host.name, cloud)


def _closed(copy: ConfigCopy, host: str, cloud: Cloud) -> Attributes:
    """Who could read it as one of many reads it as the project's group from now on."""
    allowed, stat = owners_of(copy, host, cloud), copy.stat
    keeps = stat.group in allowed and not (stat.mode & 0o004 and stat.group == "root")
    return Attributes(
        host=host,
        path=stat.path,
        owner=stat.owner if stat.owner in allowed else "root",
        group=stat.group if keeps else project_of(copy),
        mode=stat.mode & CONFIG_MODE | (0o040 if stat.mode & 0o004 else 0),
    )


@repairs("sec.sudoers", disruption="safe")
def let_nobody_be_root_without_a_password(
    client_host: str, cloud: Cloud, facts: Facts
) -> Iterator[Attributes | SudoRule]:
    """Close the files; make the rules remarks, which may be the way by which somebody gets in."""
    host = on_host(client_host, facts)
    sudoers = need(host.system.sudoers, f"{host.name}: sudoers")
    if sudoers.problem:
        raise NeedsOperator(f"{host.name}: the rules of sudo do not parse: {sudoers.problem}", "visudo -c")
    rules = [rule for rule in sudoers.rules if may_do_too_much(rule, cloud)]
    files = [file for file in sudoers.files if is_open_sudoers(file)]
    if not rules and not files:
        raise NeedsOperator(
            f"{host.name}: accounts of daemons have a password; nobody should log in as one, and who does is not known",
            *(f"passwd -l {name}" for name in sudoers.open_accounts),
        )
    for file in files:
        yield Attributes(host=host.name, path=file.path, owner="root", mode=SUDOERS_MODE)
    for rule in rules:
        yield SudoRule(host=host.name, path=rule.file, line=rule.line, who=rule.who, disruption="disruptive")


manual(
    "a key that stood in a log or an API's answer is known to whoever read it: make a new one for that user (ceph auth "
    "rotate, then keyrings and secrets by this suite), then remove the lines, and set debug = false or upgrade",
    "sec.leak.api",
)
