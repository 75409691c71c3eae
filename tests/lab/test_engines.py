"""Hosts observed by OpenSSH and by Ansible: the same facts from the same hosts, also through a jump host and become."""

from __future__ import annotations

import base64
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.cloud import Cloud, load_cloud
from fixtures.cloud.model import Reach
from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts
from fixtures.facts.network import Reached
from fixtures.observe.host import observe_hosts
from fixtures.observe.reachability import tried_by_ansible
from tests.lab.harness import PROJECT, LabUnderTest

ACCOUNT = "inventory-login"
"""May become root with a password only; the hypervisors are reached as this account, through the controller."""
MOMENTARY = {"collected_at", "free"}
WRITTEN_TO = ("swift", "cache", "mtime")
"""Swift's daemons put their figures there all the time."""


@pytest.fixture(scope="module")
def password(lab: LabUnderTest) -> Iterator[str]:
    """Of the account, which is there meanwhile."""
    told = secrets.token_hex(16)
    key = (lab.state.access / "id_ed25519.pub").read_text().strip()
    keys = f"/home/{ACCOUNT}/.ssh"
    for name in ("compute1", "compute2"):
        lab.machine(name).run(
            f"useradd --create-home --shell /bin/sh {ACCOUNT}; echo '{ACCOUNT}:{told}' | chpasswd\n"
            f"install -d -o {ACCOUNT} -m 700 {keys}; echo '{key}' > {keys}/authorized_keys\n"
            f"chown {ACCOUNT} {keys}/authorized_keys; echo '{ACCOUNT} ALL=(ALL) ALL' > /etc/sudoers.d/{ACCOUNT}"
        )
    yield told
    for name in ("compute1", "compute2"):
        lab.machine(name).run(f"userdel --remove --force {ACCOUNT}; rm -f /etc/sudoers.d/{ACCOUNT}")


@pytest.fixture(scope="module")
def by_ssh(lab: LabUnderTest) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSC_LAB_STATE", str(lab.state.folder))
        yield load_cloud(PROJECT / lab.cloud_file)


@pytest.fixture
def site(lab: LabUnderTest, by_ssh: Cloud, password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's inventory, its variables in a vault, and its ansible.cfg, which has Ansible log all that it can."""
    config, log = lab.state.access / "ssh_config", tmp_path / "ansible.log"
    others = "\n".join(by_ssh.hosts.keys() - by_ssh.hosts_with("nova-compute"))
    (tmp_path / "hosts").write_text(
        f"{others}\n[computes]\ncompute1\ncompute2\n"
        f"[all:vars]\nansible_ssh_common_args=-F {config}\n"
        f"[computes:vars]\nansible_user={ACCOUNT}\nansible_become=true\n"
        "ansible_become_password={{ of_the_vault }}\n"
        f"ansible_ssh_common_args=-F {config} -J controller\n"
    )
    (tmp_path / "vault-password").write_text(secrets.token_hex(16))
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/computes.yml").write_text(f"of_the_vault: {password}\n")
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\nvault_password_file = {tmp_path}/vault-password\nlog_path = {log}\nforks = 4\n"
    )
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    subprocess.run(["ansible-vault", "encrypt", str(tmp_path / "group_vars/computes.yml")], check=True)
    return tmp_path


def _by_ansible(cloud: Cloud, site: Path) -> Cloud:
    reach = Reach.model_validate({"engine": "ansible", "inventory": str(site / "hosts")})
    return cloud.model_copy(update={"reach": reach})


def _leaves(told: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each single value and where it is, but for what changes from one look to the next."""
    parts = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else None
    if parts is None:
        yield path, told
        return
    for key, value in parts:
        if key not in MOMENTARY and (*path, key) != WRITTEN_TO:
            yield from _leaves(value, (*path, str(key)))


def _same(one: Any, other: Any) -> bool:
    """Whether both are one value; a start is told by the kernel to a hundredth of a second, and reckoned to less."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 0.005
    return bool(one == other)


def test_facts_are_the_same_by_either_engine(lab: LabUnderTest, by_ssh: Cloud, site: Path) -> None:
    salt = secrets.token_bytes(32)
    first = observe_hosts(by_ssh, salt, print, ask_services=False)
    second = observe_hosts(_by_ansible(by_ssh, site), salt, print, ask_services=False)
    again = observe_hosts(by_ssh, salt, print, ask_services=False)
    for name in by_ssh.hosts:
        told = second[name]
        assert isinstance(told, HostFacts), told
        one, other, third = (dict(_leaves(found[name].model_dump(mode="json"))) for found in (first, second, again))
        seen = {at: (one.get(at), third.get(at)) for at in one.keys() | other.keys()}
        differing = {at for at, looks in seen.items() if not any(_same(other.get(at), look) for look in looks)}
        assert not differing, {at: (one.get(at), other.get(at), third.get(at)) for at in differing}
    log = (site / "ansible.log").read_text()
    assert base64.b64encode(salt).decode() not in log and "hmac:" not in log
    assert ".ansible" not in lab.machine("compute1").run(f"ls -A /home/{ACCOUNT} /root /tmp").stdout


def test_addresses_of_ceph_are_tried_by_ansible(lab: LabUnderTest, by_ssh: Cloud, site: Path) -> None:
    address = lab.machine("storage").address
    asked = {"seconds": 5, "ports": [["open", address, 3300], ["closed", address, 9]], "hosts": [address]}
    found: dict[str, Reached | Unreadable] = {}
    names = ["compute1", "compute2", "controller"]
    tried_by_ansible(_by_ansible(by_ssh, site), names, asked, found.__setitem__, None)
    assert sorted(found) == names
    for told in found.values():
        assert isinstance(told, Reached), told
        assert told.ports == {"open": "", "closed": "Connection refused"}


def test_a_host_that_fails_become_is_told_with_ansibles_words(by_ssh: Cloud, site: Path) -> None:
    (site / "host_vars").mkdir()
    (site / "host_vars/compute1.yml").write_text("ansible_become_password: another\n")
    found = observe_hosts(_by_ansible(by_ssh, site), b"salt", print, ask_services=False)
    blind = found["compute1"]
    assert isinstance(blind, Unreadable)
    assert "sudo password" in blind.unreadable
    assert isinstance(found["compute2"], HostFacts)
