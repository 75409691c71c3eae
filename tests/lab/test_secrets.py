"""Secrets planted wherever an observation looks are in nothing that the suite stores or says."""

from __future__ import annotations

import base64
import os
import shlex
import struct
from collections.abc import Iterator

import pytest

from lab.machine import Machine
from tests.lab.harness import LabUnderTest

HOSTS = ("controller", "compute1", "compute2", "storage")
KEPT = "/var/lib/canary"

PLANT = r"""
mkdir -m 700 {kept}
for file in /etc/nova/nova.conf /etc/cinder/cinder.conf /etc/glance/glance-api.conf /etc/keystone/keystone.conf \
            /etc/ceph/ceph.conf /etc/ceph/*.keyring \
            /var/log/nova/nova-compute.log /var/log/cinder/cinder-volume.log /var/log/glance/glance-api.log; do
    [ -f $file ] || continue
    cp -a --parents $file {kept}
    case $file in
        *.keyring) printf '# {key}\n[client.canary]\n\tkey = {key}\n';;
        */ceph.conf) printf '# {word}a\n[client.canary]\nkey = {key}\nnote = password={word}b\n';;
        *.log) date -u '+%Y-%m-%d %H:%M:%S.000 1 ERROR canary [-] mysql://u:{word}c@h/d key {key} password={word}d';;
        *) printf '\n# {word}e {key}\n[canary]\npassword = {word}f\nurl = rabbit://u:{word}g@h/\nnote = a {key}\n';;
    esac >> $file
done
printf '{key}\n' > /root/canary.txt
printf '[client.canary]\nkey = {key}\n' > /tmp/canary.keyring
mkdir -p /run/systemd/system/nova-compute.service.d
printf '[Service]\nEnvironment=OS_DATABASE__CONNECTION=mysql://u:{word}h@h/d CEPH_ARGS=--key={key}\n' \
    > /run/systemd/system/nova-compute.service.d/canary.conf
systemctl daemon-reload
systemd-run -q --unit=canary --setenv=OS_PASSWORD={word}i sh -c 'sleep 600; : --key {key} --password={word}j'
if systemctl -q is-active libvirtd.socket; then
    printf '<secret><uuid>{uuid}</uuid><description>{key}</description><usage type="ceph">' > {kept}/secret.xml
    printf '<name>client.canary password={word}k {key}</name></usage></secret>' >> {kept}/secret.xml
    virsh -q secret-define {kept}/secret.xml
    printf '{key}' > {kept}/value
    virsh -q secret-set-value {uuid} --file {kept}/value --plain
fi
"""
MEND = r"""
[ -d {kept} ] || exit 0
systemctl stop canary; rm -f /root/canary.txt /tmp/canary.keyring
rm -rf /run/systemd/system/nova-compute.service.d/canary.conf; systemctl daemon-reload
systemctl -q is-active libvirtd.socket && virsh -q secret-undefine {uuid}
for tree in etc; do [ -d {kept}/$tree ] && cp -a {kept}/$tree/. /$tree/; done
for log in $(cd {kept} && find var -name '*.log' 2>/dev/null); do sed -i '/ ERROR canary /d' /$log; done
rm -rf {kept}
"""
UUID = "c0ffee00-0000-4000-8000-000000000001"


class Planted:
    """One host's canaries."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.word = f"CaNaRy{os.urandom(4).hex()}"
        self.key = base64.b64encode(struct.pack("<HIIH", 1, 1700000000, 5, 16) + os.urandom(16)).decode()

    def plant(self) -> None:
        """Put them everywhere."""
        self._run(PLANT, "-e")

    def mend(self) -> None:
        """Take them away."""
        self._run(MEND)

    def _run(self, script: str, *options: str) -> None:
        for name, value in {"kept": KEPT, "key": self.key, "word": self.word, "uuid": UUID}.items():
            script = script.replace(f"{{{name}}}", value)
        self._machine.run(shlex.join(["sh", *options, "-c", script]))


@pytest.fixture
def planted(lab: LabUnderTest) -> Iterator[list[Planted]]:
    """Canaries on all hosts of the lab."""
    canaries = [Planted(lab.machine(name)) for name in HOSTS]
    try:
        for canary in canaries:
            canary.plant()
        yield canaries
    finally:
        for canary in canaries:
            canary.mend()


def test_planted_secrets_are_in_nothing_that_is_stored_or_said(lab: LabUnderTest, planted: list[Planted]) -> None:
    run = lab.suite("-m", "static", "-vv", "--tb=long", facts=True)
    texts = {path.name: path.read_text() for path in run.folder.rglob("*.json")} | {"terminal": run.output}
    assert texts.keys() >= {"facts.json", "report.json"}
    for canary in planted:
        needles = (canary.word, canary.key, base64.b64encode(canary.key.encode()).decode()[:40])
        assert [(name, needle) for name, text in texts.items() for needle in needles if needle in text] == []
    # They were looked at: the option's section, the keyring's entity, the log's logger, the secret.
    for trace in ('"canary"', '"client.canary"', UUID):
        assert trace in texts["facts.json"], trace
