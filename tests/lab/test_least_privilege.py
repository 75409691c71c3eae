"""All static checks with nothing but what docs/security.md asks for, given and taken back by its own commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.lab import Lab
from tests.lab.harness import PROJECT, LabUnderTest

PAGE = (PROJECT / "docs/security.md").read_text()
NAME, PASSWORD = "conformance", "a-password-of-the-test"
CEPH_HOST = "storage"


def _block(title: str) -> str:
    """Return the commands of the page that stand under a title."""
    found = re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def _on_each_host(lab: LabUnderTest, title: str, head: str = "") -> None:
    for machine in Lab.recorded(lab.state).plan.machines.values():
        machine.run(head + _block(title))


def _as_openstack_administrator(lab: LabUnderTest, title: str) -> None:
    access = {"OS_CLIENT_CONFIG_FILE": str(lab.state.folder / "access/clouds.yaml"), "OS_CLOUD": "lab"}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | access | {"PASSWORD": PASSWORD, "PATH": programs}
    subprocess.run(["sh", "-ec", _block(title)], env=environment, check=True)


def _runner(lab: LabUnderTest) -> str:
    """The runner's address as the hosts see it."""
    ssh = ["ssh", "-F", str(lab.state.folder / "access/ssh_config"), CEPH_HOST]
    done = subprocess.run([*ssh, "echo $SSH_CONNECTION"], check=True, capture_output=True, text=True)
    return done.stdout.split()[0]


def _merged(whole: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in more.items():
        whole[key] = _merged(whole[key], value) if isinstance(value, dict) else value
    return whole


def _write_cloud_file(lab: LabUnderTest, folder: Path) -> Path:
    """Write the lab's cloud file with what the page adds to it, and what that names beside it."""
    yaml = YAML(typ="safe")
    cloud = _merged(yaml.load(PROJECT / lab.cloud_file), yaml.load(_block("added to the cloud file")))
    clouds = yaml.load(lab.state.folder / "access/clouds.yaml")["clouds"]
    mine = {"username": NAME, "password": PASSWORD, "project_name": NAME}
    yaml.dump({"clouds": {NAME: _merged(clouds["lab"], {"auth": mine})}}, folder / "clouds.yaml")
    shutil.copy(lab.state.folder / "access/ceph.conf", folder / "ceph.conf")
    path = folder / "cloud.yaml"
    yaml.dump(cloud, path)
    return path


@pytest.fixture(scope="module")
def cloud_file(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cloud file whose accounts have just what the page gives them."""
    folder = tmp_path_factory.mktemp("least")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / NAME], check=True)
    key = (folder / f"{NAME}.pub").read_text().strip()
    ceph_host = Lab.recorded(lab.state).plan.machines[CEPH_HOST]
    with ExitStack() as undone:
        undone.callback(_on_each_host, lab, "on each host, to undo")
        _on_each_host(lab, "on each host", f"RUNNER={_runner(lab)} KEY='{key}'\n")
        undone.callback(ceph_host.run, _block("on a host with Ceph's admin keyring, to undo"))
        keyring = ceph_host.run(_block("on a host with Ceph's admin keyring")).stdout
        (folder / f"ceph.client.{NAME}.keyring").write_text(keyring)
        undone.callback(_as_openstack_administrator, lab, "as an OpenStack administrator, to undo")
        _as_openstack_administrator(lab, "as an OpenStack administrator")
        yield str(_write_cloud_file(lab, folder))


def test_every_static_check_can_look_with_the_least(lab: LabUnderTest, cloud_file: str) -> None:
    run = lab.suite("-m", "static", cloud_file=cloud_file)
    assert run.ids("failed", "not measured") == set(), run.story
    assert run.exit_code == pytest.ExitCode.OK


def test_what_is_not_measured_without_the_keys_is_what_the_page_says(lab: LabUnderTest, cloud_file: str) -> None:
    told = PAGE.partition("These are then *not measured*:")[2].partition("###")[0]
    caps = "mon 'allow r' mgr 'allow r' osd 'profile rbd-read-only'"
    Lab.recorded(lab.state).plan.machines[CEPH_HOST].run(f"ceph auth caps client.{NAME} {caps}")
    run = lab.suite("-m", "static and not asks_services", cloud_file=cloud_file)
    assert run.ids("failed") == set(), run.story
    assert run.ids("not measured") == set(re.findall(r"`([a-z_.]+)`", told))
