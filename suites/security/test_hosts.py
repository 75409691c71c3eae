"""Area sec: keys, passwords and privileges on the hosts."""

from __future__ import annotations

import pytest

from fixtures.around import each_host
from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.system import ConfigCopy, KeyResidue, SudoRule
from fixtures.privileges import is_at_home, is_closed, is_open_sudoers, is_roots_alone, may_do_too_much


@pytest.mark.check("sec.host.admin_and_bootstrap", severity="critical", source="S1 IT")
def test_no_openstack_host_can_command_the_cluster(client_host: HostFacts, cloud: Cloud) -> None:
    """No keyring of client.admin or a bootstrap user is on a host of OpenStack alone; beside Ceph it is root's, 0600.

    Why: who breaks out of a guest, or into an API, has the whole cluster with it.
    """
    keyrings = need(client_host.system.admin_keyrings, f"{client_host.name}: keyrings of administrators")
    at_home = is_at_home(cloud, client_host.name)
    bad = {file.path: f"{file.owner} {file.mode:04o}" for file in keyrings if not at_home or not is_roots_alone(file)}
    assert not bad, finding(
        f"{client_host.name}: keyrings",
        found=bad,
        expected="none" if not at_home else "root's, mode 0600",
        remedy="see that nothing uses it, then remove it; ceph auth rotate if others could read it",
    )


@pytest.mark.check("sec.host.key_residue", severity="critical", source="S0 S1 S4 LS")
def test_no_key_lies_about(client_host: HostFacts) -> None:
    """No cephx key is in a file of /root, a home, /tmp or /etc/ceph that is no keyring, nor on a command line.

    Why: copies from the day of the installation outlive every rotation of owner and mode, and nobody looks for them.
    """
    told = need(client_host.system.residue, f"{client_host.name}: files with keys")
    assert not told, finding(
        f"{client_host.name}: cephx keys",
        found=[_told(residue) for residue in told],
        expected="only in keyrings and in libvirt's secrets",
        remedy="shred -u the file (secret.xml, client.*.key, shell histories); rotate the key if others could read it",
    )


def _told(residue: KeyResidue) -> str:
    mode = f" (mode {residue.mode:04o})" if residue.kind == "file" else ""
    return f"{len(residue.keys)} in {residue.kind} {residue.where}{mode}"


@pytest.mark.check("sec.conf.perms", severity="critical", source="S1 S2")
def test_configurations_keep_their_secrets(client_host: HostFacts, cloud: Cloud) -> None:
    """Configurations with secrets, and their copies, are closed to others; no password is a name.

    Why: nova.conf.bak has the same passwords as nova.conf, and `glance/glance` is what everybody tries first.
    """
    copies = need(client_host.system.config_copies, f"{client_host.name}: configurations")
    open_ = {it.stat.path: _mode(it) for it in copies if it.secret and not is_closed(it, client_host.name, cloud)}
    assert not open_, finding(
        f"{client_host.name}: configurations",
        found=open_,
        expected="root:SERVICE 0640",
        remedy="chown root:SERVICE and chmod 0640; remove copies; change the passwords if others could read them",
    )
    weak = need(client_host.system.weak_passwords, f"{client_host.name}: passwords")
    assert not weak, finding(
        f"{client_host.name}: passwords",
        found=weak,
        expected="none that is its user's name or a word like `password`",
        remedy="change them in Keystone, RabbitMQ or the database, and in the file",
    )
    server = client_host.system.database
    accounts_open = [] if server is None or isinstance(server, Unreadable) else server.accounts
    found = [f"{it.user or 'anonymous'}@{it.host}" for it in accounts_open if not it.password or not it.user]
    assert not found, finding(
        f"{client_host.name}: database accounts",
        found=found,
        expected="none without a name or a password",
        remedy="mariadb-secure-installation; drop user ''@…",
    )


def _mode(copy: ConfigCopy) -> str:
    return f"{copy.stat.owner}:{copy.stat.group} {copy.stat.mode:04o}"


@pytest.mark.check("sec.sudoers", severity="major", source="S1 S4")
def test_nobody_is_root_without_a_password(client_host: HostFacts, cloud: Cloud) -> None:
    """Nobody but whom the cloud file names may do all without a password; the files of sudo are closed and sound.

    Why: accounts made for the installation stay, with a password that was agreed on in a chat.
    """
    sudoers = need(client_host.system.sudoers, f"{client_host.name}: sudoers")
    applies(bool(sudoers.files), f"{client_host.name}: sudo is not installed")
    bad = [_rule(rule) for rule in sudoers.rules if may_do_too_much(rule, cloud)]
    bad += [f"{file.path} {file.mode:04o}" for file in sudoers.files if is_open_sudoers(file)]
    bad += [f"visudo -c: {sudoers.problem}"] if sudoers.problem else []
    bad += [f"account {name} has a password" for name in sudoers.open_accounts]
    assert not bad, finding(
        f"{client_host.name}: sudo",
        found=bad,
        expected="no NOPASSWD: ALL, files of root with 0440, accounts of daemons locked",
        remedy="remove the rule, chmod 0440, passwd -l ceph",
    )


def _rule(rule: SudoRule) -> str:
    return f"{rule.file}:{rule.line} {rule.who} without a password: {rule.commands}"


@pytest.mark.check("sec.leak.api", severity="critical", source="OSSN-0085 OSSA-2019-003 LP1926978 KA-dbc6324")
def test_no_key_is_told_in_logs_or_by_apis(cloud: Cloud, facts: Facts) -> None:
    """No cephx key stands in the services' logs, nor in what the APIs tell of attachments and failed servers.

    Why: logs are copied to where many read them, and a server's fault is shown to its tenant.
    """
    told = [
        f"{name}: {_told(residue)}"
        for name, host in each_host(cloud, facts).items()
        for residue in need(host.system.leaked, f"{name}: logs")
    ]
    told += [
        f"attachment {it.id} of volume {it.volume}: its connection holds a keyring"
        for it in need(facts.openstack.attachments, "attachments")
        if it.holds_key
    ]
    told += list(need(facts.openstack.leaks, "faults of servers"))
    assert not told, finding(
        "cephx keys",
        found=told,
        expected="none in logs and answers",
        remedy="upgrade; take rbd_keyring_conf away; debug = false; remove the lines and rotate the keys",
    )
