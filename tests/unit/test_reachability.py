"""What hosts reach of Ceph: the probe on this machine's own sockets, and what is asked and judged of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from fixtures.cloud import Cloud
from fixtures.cloud.model import Host
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import Osds
from fixtures.facts.files import File
from fixtures.facts.host import HostFacts, IniFile
from fixtures.facts.network import Path, Reached
from fixtures.facts.run import Facts
from fixtures.observe import probe, reachability
from suites.ceph import test_network as network
from tests.unit.test_ceph_observe import CLOUD, _facts

NOTHING = File(path="/etc/ceph", kind="absent")


def test_an_open_port_is_told_from_a_closed_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as closed:
        there, gone = listening.getsockname()[1], closed.getsockname()[1]
        closed.close()
        found = probe.connects([["a", "127.0.0.1", there], ["b", "127.0.0.1", gone]], 5)
    assert found == {"a": "", "b": "Connection refused"}


def test_more_addresses_than_are_tried_at_once_are_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "AT_ONCE", 2)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        port = listening.getsockname()[1]
        found = probe.connects([[str(n), "127.0.0.1", port] for n in range(5)], 5)
    assert found == dict.fromkeys("01234", "")


def test_the_path_to_this_machine_is_whole() -> None:
    told = probe.path("127.0.0.1")
    assert told["mtu"] > 0
    assert told["whole"] in (True, None)


def test_the_probe_runs_as_it_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        asked = {"mark": "MARK", "seconds": 5, "hosts": [], "ports": [["v2:x", *listening.getsockname()]]}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-"], input=reachability._program(asked), capture_output=True, check=True
        )
    assert json.loads(done.stdout.decode().partition("MARK")[2]) == {"ports": {"v2:x": ""}, "paths": {}}


@pytest.mark.parametrize(
    ("address", "host", "port"), [("v2:10.0.0.1:3300", "10.0.0.1", 3300), ("v1:[fd00::1]:6789", "fd00::1", 6789)]
)
def test_addresses_are_taken_apart(address: str, host: str, port: int) -> None:
    assert reachability.endpoint(address) == (host, port)


def test_one_address_of_each_osd_is_asked_for() -> None:
    osds = Osds(total=2, up=2, in_=2, addresses={0: ("v1:10.0.0.1:6801", "v2:10.0.0.1:6800"), 1: ("v1:10.0.0.2:6801",)})
    asked = reachability.request(_facts("healthy").model_copy(update={"osds": osds, "monitors": ()}))
    assert asked["ports"] == [["v1:10.0.0.2:6801", "10.0.0.2", 6801], ["v2:10.0.0.1:6800", "10.0.0.1", 6800]]
    assert asked["hosts"] == ["10.0.0.1", "10.0.0.2"]


def _judged(reached: Reached | Unreadable) -> tuple[Facts, Cloud]:
    host = HostFacts(
        **{"name": "one", "hostname": "one", "collected_at": 0.0, "python": "3.11.2", "distro": "debian"},
        ceph_dir=NOTHING,
        ceph_conf=IniFile(stat=NOTHING),
        reached=reached,
    )
    osds = Osds(total=1, up=1, in_=1, addresses={0: ("v2:10.0.0.1:6800",)})
    ceph = _facts("healthy").model_copy(update={"osds": osds})
    facts = Facts(observed_at=0.0, hosts={"one": host}, ceph_cluster=ceph, apis=Unreadable(unreadable="none"))
    return facts, CLOUD.model_copy(update={"hosts": {"one": Host(roles=("nova-compute",))}})


def test_packets_that_get_lost_are_a_finding_and_silence_is_none() -> None:
    ports = {"v2:10.0.0.1:6800": ""}
    for whole in (True, None):
        facts, cloud = _judged(Reached(ports=ports, paths={"10.0.0.1": Path(mtu=9000, whole=whole)}))
        network.test_every_osd_is_reached_from_every_client(facts, cloud)
    facts, cloud = _judged(Reached(ports=ports, paths={"10.0.0.1": Path(mtu=9000, whole=False)}))
    with pytest.raises(AssertionError, match=r"one -> 10\.0\.0\.1: packets of 9000 bytes get lost"):
        network.test_every_osd_is_reached_from_every_client(facts, cloud)
