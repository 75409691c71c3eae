"""Services in containers, with a runtime of which only the two commands that are asked exist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.host import HostFacts, Service
from fixtures.observe.host import observe_hosts
from fixtures.targets import ENUMERATORS

SALT = b"salt" * 4
RUNTIME = """#!/bin/sh
case $1 in
container)
  [ "$3" = {name} ] || {{ echo "Error: No such container: $3" >&2; exit 1; }}
  echo '[{{"State": {{"Running": {running}, "Status": "{status}", "StartedAt": "2026-11-21T09:00:00.5Z", "Pid": 7}},
    "HostConfig": {{"RestartPolicy": {{"Name": "{policy}"}}}}}}]';;
exec)
  shift
  while :; do case $1 in -i) shift;; -u) shift 2;; -e) export "$2"; shift 2;; *) break;; esac; done
  shift
  {inside}
  exec "$@";;
esac
"""


def cloud(tmp_path: Path, container: str = "nova_compute") -> Cloud:
    config = tmp_path / "nova.conf"
    config.write_text("[libvirt]\nimages_type = rbd\n")
    return Cloud.model_validate(
        {
            "name": "test",
            "hosts": {"cmp1": {"roles": ["nova-compute", "glance-api"], "reach": "local"}},
            "services": {"nova-compute": {"container": container, "config": [str(config)], "account": "root"}},
            "ceph": {
                "conf": f"{tmp_path}/ceph.conf",
                "pools": {"images": "i", "volumes": "v", "vms": "m"},
                "users": {"glance": "g", "cinder": "c", "nova": "n"},
            },
            "cinder": {"backend": "rbd", "volume_type": "rbd"},
            "openstack": {"cloud": "test"},
        }
    )


def runtime(folder: Path, name: str = "podman", **changes: str) -> None:
    told = {
        "name": "nova_compute",
        "running": "true",
        "status": "running",
        "policy": "always",
        "inside": ":",
        **changes,
    }
    (folder / name).write_text(RUNTIME.format(**told))
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def observed(cloud: Cloud) -> HostFacts:
    found = observe_hosts(cloud, SALT, print)["cmp1"]
    assert isinstance(found, HostFacts), found
    return found


def compute(host: HostFacts) -> Service:
    service = host.services["nova-compute"]
    assert isinstance(service, Service), service
    return service


def test_a_role_is_judged_inside_its_container(path: Path, tmp_path: Path) -> None:
    runtime(path, inside=f"echo '[global]' > {tmp_path}/ceph.conf")
    host = observed(cloud(tmp_path))
    service = compute(host)
    assert (service.unit.name, service.unit.active, service.unit.enabled) == ("nova_compute", "active", "enabled")
    assert [entry.key for entry in service.entries] == ["images_type"]  # type: ignore[union-attr]
    assert host.inside == {"nova-compute": "nova_compute"}
    inside = host.of("nova-compute")
    assert isinstance(inside.ceph_conf, type(host.ceph_conf)) and inside.name == "cmp1"
    assert inside.ceph_conf.stat.exists  # type: ignore[union-attr]
    assert set(inside.modules) == {"nova-compute"} and set(host.modules) == {"glance-api"}
    assert host.of("glance-api") is host
    assert "glance-api" in host.services


@pytest.mark.parametrize(
    ("changes", "active", "load", "reason"),
    [
        ({"running": "false", "status": "exited"}, "inactive", "loaded", "container nova_compute is exited"),
        ({"name": "other"}, "", "not-found", "no container nova_compute in"),
        ({"inside": "echo no shell >&2; exit 126"}, "active", "loaded", "exit code 126: no shell"),
        ({"inside": "echo password=CANARY12345 >&2; exit 1"}, "active", "loaded", "exit code 1: password=hmac:"),
        ({"inside": "echo nonsense; exit 0"}, "active", "loaded", "no answer"),
    ],
)
def test_a_container_that_cannot_be_entered_says_why(
    changes: dict[str, Any], active: str, load: str, reason: str, path: Path, tmp_path: Path
) -> None:
    runtime(path, **changes)
    host = observed(cloud(tmp_path))
    service = compute(host)
    assert (service.unit.active, service.unit.load) == (active, load)
    assert isinstance(service.entries, Unreadable) and reason in service.entries.unreadable
    with pytest.raises(NotMeasured, match="nova_compute"):
        host.of("nova-compute")


def test_a_container_that_nobody_restarts_is_not_enabled(path: Path, tmp_path: Path) -> None:
    (path / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    (path / "systemctl").chmod(0o755)
    runtime(path, "docker", policy="no")
    assert compute(observed(cloud(tmp_path))).unit.enabled == "disabled"


def test_each_place_with_clients_is_a_target(tmp_path: Path) -> None:
    assert ENUMERATORS["client_host"](cloud(tmp_path)) == ["cmp1", "cmp1/nova_compute"]
