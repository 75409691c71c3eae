"""A second back end of Cinder on the same cluster, as long as the test takes: volumes move to it, or say why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lab.lab import Lab
from lab.machine import Machine
from tests.lab.harness import PROJECT, LabUnderTest

NAME = "archive"
"""Of the back end, its pool and its volume type."""
CHECK = "fn.volume.retype_migrate"
FILES = "/etc/cinder/cinder.conf $(ls /etc/cinder/cinder.conf.d/*.conf 2>/dev/null)"
ADD = f"""
for file in {FILES}; do cp -a $file $file.before; done
awk '$0 == "[%s]" {{ on = 1; print "\\n[{NAME}]"; next }} /^\\[/ {{ on = 0 }} on' {FILES} |
  sed 's/^rbd_pool *=.*/rbd_pool = {NAME}/; s/^volume_backend_name *=.*/volume_backend_name = {NAME}/' >/run/second
sed -i 's/^enabled_backends *=.*/&,{NAME}/' {FILES}
cat /run/second >>/etc/cinder/cinder.conf
"""
TAKE = f"""
for file in {FILES}; do mv $file.before $file; done
systemctl stop cinder-volume
runuser -u cinder -- cinder-manage service remove cinder-volume $(hostname)@{NAME}
"""
MAKE_POOL = f"ceph osd pool create {NAME} 8 && ceph osd pool application enable {NAME} rbd"
REMOVE_POOL = f"""
ceph config set mon mon_allow_pool_delete true
ceph osd pool rm {NAME} {NAME} --yes-i-really-really-mean-it
ceph config rm mon mon_allow_pool_delete
"""


@dataclass
class Second:
    """The lab with its second back end, and the cloud file that names it."""

    lab: LabUnderTest
    mon: Machine
    user: str
    caps: dict[str, str]
    """Of Cinder's user, without the second pool."""
    cloud_file: str

    def let(self, rights: str) -> None:
        """Give Cinder's user rights on the second pool, or none."""
        osd = f"{self.caps['osd']}, {rights} pool={NAME}" if rights else self.caps["osd"]
        words = " ".join(f"{daemon} '{text}'" for daemon, text in (self.caps | {"osd": osd}).items())
        self.mon.run(f"ceph auth caps {self.user} {words}")


@pytest.fixture(scope="module")
def second(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    """The lab with a second back end; gone afterwards."""
    plan = Lab.recorded(lab.state).plan
    mon, cinder = plan.with_role("ceph-mon")[0], plan.with_role("cinder-volume")[0]
    cloud = YAML(typ="safe").load(PROJECT / lab.cloud_file)
    cloud["cinder"]["retype_to"] = {"volume_type": NAME, "pool": NAME}
    path = tmp_path_factory.mktemp("cloud") / "cloud.yaml"
    YAML().dump(cloud, path)
    user = f"client.{cloud['ceph']['users']['cinder']}"
    caps = json.loads(mon.run(f"ceph auth get {user} --format json").stdout)[0]["caps"]
    found = Second(lab, mon, user, caps, str(path))
    mon.run(MAKE_POOL)
    cinder.run(ADD % cloud["cinder"]["backend"])
    try:
        found.let("profile rbd")
        lab.start_again(cinder.name, ["cinder-volume"])
        _openstack(lab, "volume", "type", "create", NAME, "--property", f"volume_backend_name={NAME}")
        yield found
    finally:
        _openstack(lab, "volume", "type", "delete", NAME)
        cinder.run(TAKE)
        lab.start_again(cinder.name, ["cinder-volume"])
        found.let("")
        mon.run(REMOVE_POOL)


def _openstack(lab: LabUnderTest, *words: str) -> None:
    access = {"OS_CLIENT_CONFIG_FILE": str(lab.state.folder / "access/clouds.yaml"), "OS_CLOUD": "lab"}
    program = Path(sys.executable).with_name("openstack")
    subprocess.run([program, *words], env=os.environ | access, check=True, stdout=subprocess.DEVNULL)


def test_a_volume_moves_to_the_other_pool(second: Second) -> None:
    run = second.lab.suite("-m", "dynamic", "-k", CHECK, cloud_file=second.cloud_file)
    assert run.ids("passed") == {CHECK}, run.story


def test_a_pool_that_cinder_may_only_read_is_told(second: Second) -> None:
    second.let("profile rbd-read-only")
    try:
        run = second.lab.suite("-m", "dynamic", "-k", CHECK, cloud_file=second.cloud_file)
    finally:
        second.let("profile rbd")
    assert run.ids("failed") == {CHECK}, run.story
    swept = second.lab.python("-m", "pytest", "--cloud", second.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
