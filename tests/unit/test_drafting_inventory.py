"""Inventories of kolla-ansible, OpenStack-Ansible and ceph-ansible, and hosts by name, as hosts to draft from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from drafting.errors import DraftError
from drafting.inventory import Inventory, Wanted, from_ansible, from_specs, mapped
from fixtures.cloud.model import Reach

KOLLA = """
[control]
control[01:03] ansible_user=kolla ansible_become=true
[compute]
compute01 ansible_host=10.0.0.21 ansible_user=kolla ansible_become=true
[storage]
storage01 ansible_user=kolla ansible_become=true
[monitoring]
monitoring01
[deployment]
localhost ansible_connection=local
[baremetal:children]
control
compute
storage
monitoring
[nova:children]
control
[cinder:children]
control
[glance:children]
control
[keystone:children]
control
[glance-api:children]
glance
[nova-api:children]
nova
[nova-conductor:children]
nova
[neutron-server:children]
control
[cinder-api:children]
cinder
[cinder-backup:children]
storage
[cinder-volume:children]
storage
[all:vars]
ansible_ssh_private_key_file=/root/.ssh/kolla
"""
CEPH_ANSIBLE = """
all:
  children:
    mons: {hosts: {"mon[1:2]": {}}}
    mgrs: {hosts: {mon1: {}}}
    osds: {hosts: {osd1: {ansible_port: 2222}}}
    clients: {hosts: {desk: {}}}
  vars: {ansible_user: root}
"""


def _by_name(inventory: Inventory) -> dict[str, Wanted]:
    return {one.name: one for one in inventory.hosts}


def test_an_inventory_of_kolla_ansible(tmp_path: Path) -> None:
    path = tmp_path / "multinode"
    path.write_text(KOLLA)
    inventory = from_ansible(path, Reach())
    hosts = _by_name(inventory)
    assert sorted(hosts) == ["compute01", "control01", "control02", "control03", "storage01"]
    nova = {"nova-control", "nova-conductor"}
    assert hosts["control02"].promised == {"keystone", "glance-api", "cinder-api", "neutron-server"} | nova
    assert hosts["storage01"].promised == {"cinder-volume", "cinder-backup"}
    assert hosts["compute01"].promised == {"nova-compute"}
    assert hosts["compute01"].address == "10.0.0.21"
    assert inventory.reach == Reach(user="kolla", identity=Path("/root/.ssh/kolla"), sudo=True)
    assert inventory.left_out == ("localhost", "monitoring01")


def test_an_inventory_of_ceph_ansible(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(CEPH_ANSIBLE)
    inventory = from_ansible(path, Reach())
    hosts = _by_name(inventory)
    assert {name: set(one.promised) for name, one in hosts.items()} == {
        "mon1": {"ceph-mon", "ceph-mgr"},
        "mon2": {"ceph-mon"},
        "osd1": {"ceph-osd"},
    }
    assert hosts["osd1"].address == "osd1:2222"
    assert inventory.left_out == ("desk",)


def test_an_inventory_that_ansible_does_not_understand(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("[control\nnot: an inventory")
    with pytest.raises(DraftError, match="ansible-inventory does not understand it"):
        from_ansible(path, Reach())


def test_the_kept_inventory_of_openstack_ansible(tmp_path: Path) -> None:
    told = {
        "_meta": {"hostvars": {"infra1": {"ansible_host": "172.29.236.11"}, "compute1": {}}},
        "glance_api": {"hosts": ["infra1"]},
        "nova_api_os_compute": {"hosts": ["infra1"]},
        "cinder_volume": {"hosts": ["infra1"]},
        "keystone": {"hosts": ["infra1"]},
        "keystone_all": {"children": ["keystone"], "hosts": []},
        "nova_compute": {"hosts": ["compute1"]},
        "ceph-mon": {"hosts": ["infra1"]},
    }
    path = tmp_path / "openstack_inventory.json"
    path.write_text(json.dumps(told))
    hosts = _by_name(from_ansible(path, Reach()))
    assert hosts["infra1"].promised == {"glance-api", "nova-control", "cinder-volume", "keystone", "ceph-mon"}
    assert hosts["infra1"].address == "172.29.236.11"
    assert hosts["compute1"].promised == {"nova-compute"}


@pytest.mark.parametrize(
    ("variables", "more"),
    [
        ({"ansible_ssh_private_key_file": "/k1"}, {"ansible_ssh_private_key_file": "/k2"}),
        ({"ansible_ssh_common_args": "-J jump"}, {}),
        ({"ansible_become": True, "ansible_become_user": "stack"}, {}),
        ({"ansible_connection": "docker"}, {}),
    ],
)
def test_what_a_cloud_file_cannot_say_stays_in_the_inventory(variables: Any, more: Any) -> None:
    told = {"_meta": {"hostvars": {"a": variables, "b": more}}, "mons": {"hosts": ["a", "b"]}}
    inventory = mapped(told, Path("inv"), Reach())
    assert inventory.reach.via == "ansible"
    assert inventory.reach.inventory == Path("inv").resolve()
    assert [one.address for one in inventory.hosts] == ["a", "b"]


def test_groups_that_every_inventory_has_promise_nothing_and_are_looked_at() -> None:
    told = {"_meta": {}, "mons": {"hosts": ["a"]}, "swift_obj": {"hosts": ["a", "b"]}, "iscsigws": {"hosts": ["c"]}}
    promised = {one.name: one.promised for one in mapped(told, Path("inv"), Reach()).hosts}
    assert promised == {"a": {"ceph-mon"}, "b": frozenset(), "c": frozenset()}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"_meta": {"hostvars": {}}, "all": {"children": ["ungrouped"]}}, "names no host"),
        ({"_meta": {}, "webservers": {"hosts": ["w1"]}}, "its groups: webservers"),
    ],
)
def test_an_inventory_without_a_cloud(told: Any, message: str) -> None:
    with pytest.raises(DraftError, match=message):
        mapped(told, Path("inv"), Reach())


def test_no_ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    (tmp_path / "inv").touch()
    with pytest.raises(DraftError, match="pip install ansible-core"):
        from_ansible(tmp_path / "inv", Reach())


def test_hosts_by_name() -> None:
    inventory = from_specs(["ssh://root@ctl1", "ssh://root@[fd00::1]:2222", "ssh://root@10.0.0.3/"], Reach())
    assert [one.address for one in inventory.hosts] == ["ctl1", "[fd00::1]:2222", "10.0.0.3"]
    assert inventory.reach.user == "root"


def test_hosts_of_different_users_keep_them() -> None:
    inventory = from_specs(["ssh://root@ctl1:22", "cmp1", "local://"], Reach())
    assert [(one.address, one.via) for one in inventory.hosts] == [
        ("root@ctl1:22", "ssh"),
        ("cmp1", "ssh"),
        ("localhost", "local"),
    ]
    assert inventory.reach.user is None


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["telnet://ctl1"], r"write ssh://\[USER@\]HOST"),
        (["ssh://"], r"write ssh://\[USER@\]HOST"),
        (["ssh://root:geheim@ctl1"], "passwords are not taken"),
        (["ctl1", "ctl1"], "named twice"),
    ],
)
def test_hosts_that_are_none(specs: list[str], message: str) -> None:
    with pytest.raises(DraftError, match=message) as caught:
        from_specs(specs, Reach())
    assert "geheim" not in str(caught.value)
