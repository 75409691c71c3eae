"""Swift: what the collector makes of rings, devices and swift.conf, and checks on made facts."""

from __future__ import annotations

import array
import gzip
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from fixtures.checks import take_finding
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.files import File
from fixtures.facts.openstack import ObjectStore
from fixtures.facts.swift import Device, Modules, MountLine, Ring, SwiftNode
from fixtures.facts.units import Unit
from fixtures.observe.collector import swift
from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.redact import Redactor
from fixtures.observe.collector.tools import Tools
from fixtures.swift import ACCOUNT, SERVES, device_problems, off_balance
from remediate.model import NeedsOperator
from remediate.swift import _ordered, give_devices_to_swift
from suites.swift import test_service as service
from tests.unit.test_remediate_plan import the_cloud, the_facts

SUFFIX = "4f1c0d5e9a7b2c3d"
PIPELINE = "catch_errors healthcheck cache tempauth copy slo proxy-logging proxy-server"


def _device(number: int, zone: int, weight: float = 100) -> dict[str, Any]:
    return {"id": number, "zone": zone, "ip": "10.0.0.1", "port": 6200, "device": f"d{number}", "weight": weight}


def _ring_file(path: Path, devices: list[dict[str, Any] | None], *rows: list[int]) -> Path:
    """A ring as Swift writes it: four partitions."""
    head = json.dumps({"devs": devices, "part_shift": 30, "replica_count": len(rows), "byteorder": "little"}).encode()
    body = b"".join(array.array("H", row).tobytes() for row in rows)
    path.write_bytes(gzip.compress(b"R1NG" + struct.pack("!HI", 1, len(head)) + head + body))
    return path


def test_a_ring_is_read_as_it_stands(tmp_path: Path) -> None:
    path = _ring_file(tmp_path / "object.ring.gz", [_device(0, 1), None, _device(2, 2)], [0, 0, 2, 2], [2, 2, 0, 2])
    ring = TypeAdapter(Ring).validate_python(swift.ring_fact(str(path)))
    assert (ring.part_power, ring.replicas, ring.crowded) == (2, 2, 1)
    assert {str(it): it.parts for it in ring.devices} == {"10.0.0.1:6200/d0": 3, "10.0.0.1:6200/d2": 5}
    assert off_balance(ring) == {"10.0.0.1:6200/d0": -25.0, "10.0.0.1:6200/d2": 25.0}


def test_half_a_replica_is_told(tmp_path: Path) -> None:
    path = _ring_file(tmp_path / "object.ring.gz", [_device(0, 1), _device(1, 2)], [0, 1, 0, 1], [1, 0])
    assert swift.ring_fact(str(path))["replicas"] == 1.5


def test_a_ring_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "object.ring.gz"
    path.write_bytes(gzip.compress(b"R1NG" + struct.pack("!HI", 2, 0)))
    with pytest.raises(StepFailed, match="no ring of the first format"):
        swift.ring_fact(str(path))


def test_a_builder_is_read_and_runs_nothing(tmp_path: Path) -> None:
    told = {"version": 5, "part_power": 8, "replicas": 3.0, "min_part_hours": 1, "devs": [], "x": array.array("H", [1])}
    path = tmp_path / "object.builder"
    path.write_bytes(pickle.dumps(told, protocol=2))
    assert swift.builder_fact(str(path))["min_part_hours"] == 1
    path.write_bytes(pickle.dumps(os.system))
    with pytest.raises(StepFailed, match="which no builder does"):
        swift.builder_fact(str(path))


def _node(folder: Path) -> swift.Swift:
    (folder / "proxy-server.conf").write_text(f"[DEFAULT]\nswift_dir = {folder}\n")
    role = {"config": [str(folder / "proxy-server.conf")], "account": "swift"}
    return swift.Swift({"swift-proxy": role}, lambda role: {}, Tools("/nonexistent", 1), Redactor(b"salt"))


def test_the_hash_leaves_as_a_digest(tmp_path: Path) -> None:
    (tmp_path / "swift.conf").write_text(
        f"[swift-hash]\nswift_hash_path_suffix = {SUFFIX}\nswift_hash_path_prefix = changeme\n"
        "[storage-policy:0]\nname = gold\n[storage-policy:1]\npolicy_type = erasure_coding\n"
    )
    node = _node(tmp_path)
    told = node._hash()
    assert told["suffix"]["digest"].startswith("hmac:") and SUFFIX not in str(told)
    assert {part: value["example"] for part, value in told.items()} == {"suffix": False, "prefix": True}
    assert node._policies() == {"0": "replication", "1": "erasure_coding"}
    assert Redactor(b"salt").option("swift_hash_path_suffix", SUFFIX).startswith("hmac:")


def test_a_section_has_what_default_says(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text("[DEFAULT]\nport = 1\nlog = a\n[filter:cache]\nset log = b\n")
    conf = swift.Conf({"config": [str(tmp_path / "x.conf")], "account": ""}, {})
    assert (conf.get("filter:cache", "port"), conf.get("filter:cache", "log"), conf.get("x", "y", "z")) == (
        "1",
        "b",
        "z",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.1:11212", ("10.0.0.1", 11212)),
        ("cache", ("cache", 11211)),
        ("[fd00::1]:11212", ("fd00::1", 11212)),
        ("fd00::1", ("fd00::1", 11211)),
    ],
)
def test_a_server_of_memcached_has_a_port(text: str, found: tuple[str, int]) -> None:
    assert swift.split_port(text, swift.CACHE_PORT) == found


NOW = MountLine(source="/dev/sdb", filesystem="xfs", options=("noatime", "rw"))
BOOT = MountLine(source="UUID=1", filesystem="xfs", options=("noatime",))


@pytest.mark.parametrize(
    ("now", "boot", "said"),
    [
        (NOW, BOOT, []),
        (None, BOOT, ["not mounted"]),
        (NOW.model_copy(update={"filesystem": "ext4"}), BOOT, ["is ext4, not xfs"]),
        (NOW, None, ["nothing mounts it at boot"]),
        (NOW, BOOT.model_copy(update={"options": ("noatime", "nobarrier")}), ["at boot with nobarrier"]),
        (NOW, BOOT.model_copy(update={"source": "/dev/sdb1"}), ["at boot mounted from /dev/sdb1"]),
        (NOW.model_copy(update={"options": ("rw",)}), BOOT, ["mounted without noatime"]),
    ],
)
def test_a_device_is_judged(now: MountLine | None, boot: MountLine | None, said: list[str]) -> None:
    device = Device(path=File(path="/srv/node/d1", kind="dir"), mounted=now, at_boot=boot)
    found = list(device_problems(device))
    assert len(found) == len(said) and all(one.startswith(start) for one, start in zip(found, said, strict=True))


def _radosgw() -> Cloud:
    cloud = the_cloud()
    return cloud.model_copy(update={"swift": cloud.swift.model_copy(update={"served_by": "radosgw"})})


def _stat(cloud: Cloud, store: ObjectStore | None) -> str:
    facts = the_facts()
    facts = facts.model_copy(update={"apis": facts.openstack.model_copy(update={"object_store": store})})
    try:
        service.test_object_store_shows_the_account_of_the_project(cloud, facts)
    except AssertionError:
        finding = take_finding()
        assert finding is not None
        return finding.found
    return ""


STORE = ObjectStore(
    endpoint="http://gw/swift/v1/AUTH_p1", project="p1", status=204, headers={"x-account-container-count": "0"}
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"endpoint": "http://gw/swift/v1"}, ""),
        ({"endpoint": "http://gw/swift/v1/AUTH_p2"}, "AUTH_p2"),
        ({"status": 403, "headers": {}}, "HTTP 403"),
    ],
)
def test_radosgw_is_judged_by_what_it_answers(changed: dict[str, Any], said: str) -> None:
    assert _stat(_radosgw(), STORE.model_copy(update=changed)) == said


def test_a_catalog_without_an_object_store_is_found() -> None:
    assert "no service of type object-store" in _stat(_radosgw(), None)


def test_a_cloud_without_swift_has_no_object_store() -> None:
    predicate, reason = SERVES
    assert not predicate(the_cloud()) and "nobody answers for object-store" in reason
    assert predicate(_radosgw()) and _radosgw().object_store == "radosgw"
    assert load_cloud(Path("clouds/lab-swift.yaml")).object_store == "swift"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PIPELINE, PIPELINE.replace("tempauth", "authtoken keystoneauth")),
        (PIPELINE.replace(" tempauth", ""), PIPELINE.replace("tempauth", "authtoken keystoneauth")),
        (
            PIPELINE.replace("tempauth", "keystoneauth authtoken"),
            PIPELINE.replace("tempauth", "authtoken keystoneauth"),
        ),
    ],
)
def test_tokens_are_checked_where_they_belong(before: str, after: str) -> None:
    assert _ordered(tuple(before.split())) == tuple(after.split())
    assert _ordered(tuple(after.split())) == tuple(after.split())


def test_a_pipeline_without_a_sure_place_is_a_persons() -> None:
    with pytest.raises(NeedsOperator):
        _ordered(("healthcheck", "proxy-server"))


def _given_to_swift(modules: Modules) -> list[Any]:
    cloud = load_cloud(Path("clouds/lab-swift.yaml"))
    name = cloud.hosts_with("swift-object")[0]
    node = SwiftNode(folder="/etc/swift", modules=modules, cache=File(path="/c", kind="dir", owner=ACCOUNT))
    host = the_facts().host("storage").model_copy(update={"name": name, "swift": node})
    facts = the_facts().model_copy(update={"hosts": {name: host}})
    return list(give_devices_to_swift(cloud, facts, name))


@pytest.mark.parametrize(("enabled", "enables"), [("disabled", True), ("enabled", False)])
def test_rsync_is_run_where_nobody_answers(enabled: str, enables: bool) -> None:
    fields = {"name": "rsync.service", "load": "loaded", "active": "inactive", "sub": "dead", "enabled": enabled}
    stopped = TypeAdapter(Unit).validate_python(fields | {"since": 0.0, "main_pid": 0})
    (step,) = _given_to_swift(Modules(address="10.0.0.1", names=(), unit=stopped))
    assert (step.kind, step.unit, step.enable) == ("unit", "rsync.service", enables)


def test_modules_that_rsync_lacks_are_a_persons() -> None:
    with pytest.raises(NeedsOperator, match="modules"):
        _given_to_swift(Modules(address="10.0.0.1", names=()))
