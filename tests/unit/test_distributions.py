"""The table of distributions, and what the collector reads on trees as their packages lay them out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from fixtures.cloud.model import Role
from fixtures.distributions import HYPERVISOR, TABLE, Family, family_of, packages_for, units_beside, units_of
from fixtures.facts.host import ConfigEntry
from fixtures.observe.collector import sources
from fixtures.observe.collector.redact import Redactor
from fixtures.oslo import OsloConfig
from fixtures.roles import ROLES


def test_every_role_has_a_row_and_the_observer_looks_for_all_its_units() -> None:
    assert set(TABLE) == set(ROLES) == set(get_args(Role))
    for role, row in TABLE.items():
        assert (
            {unit for naming in row.values() for unit in naming.units} == set(units_of(role)) == set(ROLES[role].units)
        )


def test_a_web_server_is_looked_for_last() -> None:
    assert units_of("keystone")[-2:] == ("apache2", "httpd")


def test_containers_have_a_name_and_no_packages() -> None:
    kolla = [row["kolla"] for row in (*TABLE.values(), HYPERVISOR) if "kolla" in row]
    assert [naming for naming in kolla if not naming.container or naming.packages] == []


@pytest.mark.parametrize(
    ("distro", "family"),
    [("debian 12", "debian"), ("ubuntu 22.04", "ubuntu"), ("rocky 9.4", "rhel"), ("centos 9", "rhel"), ("", "debian")],
)
def test_a_host_says_its_family(distro: str, family: Family) -> None:
    assert family_of(distro) == family
    assert packages_for("nova-compute", distro)


# Trees


class Rooted(SimpleNamespace):
    """`os` as the collector uses it, with every path below a folder."""

    def __init__(self, root: Path) -> None:
        def below(path: str) -> str:
            return f"{root}{path}"

        real = os.path
        path = SimpleNamespace(
            exists=lambda p: real.exists(below(p)), isdir=lambda p: real.isdir(below(p)),
            isfile=lambda p: real.isfile(below(p)), join=real.join, basename=real.basename, isabs=real.isabs,
        )  # fmt: skip
        super().__init__(path=path, listdir=lambda p: os.listdir(below(p)))  # noqa: PTH208


COMMON = "/var/snap/openstack-hypervisor/common"
INIT = """#!/bin/sh
PROJECT_NAME=nova
NAME=nova-compute
DAEMON=/usr/bin/nova-compute
DAEMON_ARGS="--config-file=/etc/nova/nova-compute.conf"
. /usr/share/openstack-pkg-tools/init-script-template
"""
# Family, role: the words that start the service, its environment, its files in the order in which it reads them.
LAYOUTS: Mapping[tuple[Family, Role], tuple[list[str], dict[str, str], list[str]]] = {
    ("ubuntu", "nova-compute"): (
        ["/etc/init.d/nova-compute", "systemd-start"],
        {},
        ["/etc/nova/nova.conf", "/etc/nova/nova-compute.conf"],
    ),
    ("rhel", "nova-compute"): (
        ["/usr/bin/nova-compute"],
        {},
        ["/usr/share/nova/nova-dist.conf", "/etc/nova/nova.conf", "/etc/nova/nova.conf.d/10-rbd.conf"],
    ),
    ("rhel", "glance-api"): (
        ["/usr/bin/glance-api"],
        {},
        ["/usr/share/glance/glance-api-dist.conf", "/etc/glance/glance-api.conf"],
    ),
    ("rhel", "cinder-volume"): (
        ["/usr/bin/cinder-volume", "--config-file", "/usr/share/cinder/cinder-dist.conf",
         "--config-file", "/etc/cinder/cinder.conf", "--logfile", "/var/log/cinder/volume.log"],
        {},
        ["/usr/share/cinder/cinder-dist.conf", "/etc/cinder/cinder.conf"],
    ),
    ("kolla", "nova-compute"): (["/var/lib/kolla/venv/bin/nova-compute"], {}, ["/etc/nova/nova.conf"]),
    ("kolla", "cinder-volume"): (
        ["/var/lib/kolla/venv/bin/python3", "/var/lib/kolla/venv/bin/cinder-volume",
         "--config-file", "/etc/cinder/cinder.conf"],
        {},
        ["/etc/cinder/cinder.conf"],
    ),
    ("snap", "nova-compute"): (
        ["/snap/openstack-hypervisor/1/bin/nova-compute", f"--config-file={COMMON}/etc/nova/nova.conf",
         f"--config-dir={COMMON}/etc/nova/nova.conf.d"],
        {"SNAP_COMMON": COMMON},
        [f"{COMMON}/etc/nova/nova.conf", f"{COMMON}/etc/nova/nova.conf.d/rbd.conf"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("family", "role"), LAYOUTS, ids=[" ".join(key) for key in LAYOUTS])
def test_files_are_read_in_the_distributions_order(
    family: Family, role: Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, environment, expected = LAYOUTS[family, role]
    files = {path: f"[DEFAULT]\nwinner = {path}\n[from]\nf{number} = x\n" for number, path in enumerate(expected)}
    for path, text in {**files, "/etc/init.d/nova-compute": INIT}.items():
        at = tmp_path / path[1:]
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
    monkeypatch.setattr(sources, "os", Rooted(tmp_path))
    monkeypatch.setattr(sources, "read_text", lambda path, limit=0: (tmp_path / path[1:]).read_text())

    row = ROLES[role]
    launch = sources.launch_of({"ExecStart": f"{{ path=x ; argv[]={' '.join(words)} ; ignore_errors=no ; }}"}, {})
    launch.env.update(environment)
    found = sources.Sources({"project": row.project, "prog": row.prog}, launch)

    assert found.files == expected
    entries = sources.service_entries(found, {}, Redactor(b"salt"))
    config = OsloConfig(ConfigEntry(**entry) for entry in entries)
    assert config.get("DEFAULT", "winner") == expected[-1]
    assert len(config.keys("from")) == len(expected)
    named = [path for path in TABLE[role][family].config if not path.endswith(".d")]
    assert [path for path in named if path not in expected] == []


def test_the_environment_of_a_snap_leads_to_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{COMMON[1:]}/etc/nova").mkdir(parents=True)
    (tmp_path / f"{COMMON[1:]}/etc/nova/nova.conf").write_text("")
    monkeypatch.setattr(sources, "os", Rooted(tmp_path))
    launch = sources.Launch(["/snap/openstack-hypervisor/1/bin/nova-compute"], {"SNAP_COMMON": COMMON}, "/root")
    found = sources.Sources({"project": "nova", "prog": "nova-compute"}, launch)
    assert found.files == [f"{COMMON}/etc/nova/nova.conf"]


def test_what_reads_the_files_of_a_roles_unit_too() -> None:
    assert {"nova-conductor", "openstack-nova-scheduler"} <= set(units_beside("nova-control"))
    assert units_beside("glance-api") == ()
