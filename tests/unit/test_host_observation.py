from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.host import HostFacts
from fixtures.observe.host import decode, observe_hosts, request
from fixtures.observe.parcel import parcel
from fixtures.reach import Hosts
from fixtures.roles import ROLES, role_on

SALT = b"salt" * 4
ABSENT = {"path": "/x", "kind": "absent"}
FACTS: dict[str, Any] = {
    "hostname": "h", "collected_at": 1.0, "python": "3.6.8", "distro": "rocky 8.9",
    "ceph_dir": ABSENT, "ceph_conf": {"stat": ABSENT},
}  # fmt: skip


def cloud(**changes: Any) -> Cloud:
    return Cloud.model_validate(
        {
            "name": "test",
            "hosts": {
                "ctl": {"roles": ["glance-api", "cinder-volume", "cinder-backup"], "reach": "local"},
                "cmp1": {"roles": ["nova-compute"], "address": "root@10.0.0.1:2222"},
                "cmp2": {"roles": ["nova-compute"], "address": "127.0.0.1:2223"},
                "cmp3": {"roles": ["nova-compute"], "address": "fd00::3"},
            },
            "ceph": {
                "pools": {"images": "i", "volumes": "v", "vms": "m", "backups": "b"},
                "users": {"glance": "g", "cinder": "c", "nova": "n", "backup": "k"},
            },
            "cinder": {"backend": "rbd", "volume_type": "rbd"},
            "openstack": {"cloud": "test"},
            **changes,
        }
    )


def answer(facts: Any, nonce: str = "n") -> bytes:
    body = json.dumps({"format": 1, "facts": facts}).encode()
    return b"\n<<<facts %s %d>>>\n%s\n<<<end %s>>>\n" % (nonce.encode(), len(body), body, nonce.encode())


# Request


def test_the_request_follows_the_roles() -> None:
    asked = request(cloud(), "ctl", SALT)
    assert asked["keyrings"] == [f"/etc/ceph/ceph.client.{user}.keyring" for user in "cgkn"]
    assert asked["accounts"] == ["cinder", "glance"]
    assert [(login["user"], login["account"]) for login in asked["logins"]] == [
        ("c", "cinder"),
        ("g", "glance"),
        ("k", "cinder"),
    ]
    assert asked["libvirt"] is None
    assert asked["roles"]["glance-api"]["units"][:2] == ("glance-api", "openstack-glance-api")


def test_a_hypervisor_tries_the_others_by_name_and_address() -> None:
    asked = request(cloud(), "cmp1", SALT)
    assert asked["libvirt"] == {"transport": "tls", "peers": {"cmp2": ["cmp2"], "cmp3": ["cmp3", "fd00::3"]}}
    assert request(cloud(), "cmp2", SALT)["libvirt"]["peers"]["cmp1"] == ["cmp1", "10.0.0.1"]
    assert request(cloud(policy={"live_migration": False}), "cmp1", SALT)["libvirt"]["peers"] == {}


def test_the_salt_travels_on_stdin_only() -> None:
    asked = request(cloud(), "ctl", SALT)
    sent = parcel(asked).decode()
    told = re.search(r'main\(unwrap\("([A-Za-z0-9+/=]+)"\)\)', sent)
    assert told
    assert json.loads(zlib.decompress(base64.b64decode(told.group(1))))["salt"] == base64.b64encode(SALT).decode()


def test_a_cloud_file_overrides_the_table_host_last() -> None:
    services = {"glance-api": {"account": "img", "units": ["img-api"]}}
    changed = cloud(services=services).model_dump(exclude_none=True)
    changed["hosts"]["ctl"]["services"] = {"glance-api": {"group": "grp", "config": ["/g.conf"]}}
    row = role_on(Cloud.model_validate(changed), "ctl", "glance-api")
    assert (row.account, row.group, row.units, row.config) == ("img", "grp", ("img-api",), ("/g.conf",))
    assert role_on(cloud(), "ctl", "cinder-backup").account == "cinder"
    assert all(row.units for row in ROLES.values())


# Answer


def test_banners_around_the_answer_do_no_harm() -> None:
    facts = decode("h", "n", b"Welcome!\n<<<facts other 3>>>\n" + answer(FACTS) + b"bye\n", 0, "")
    assert facts.name == "h"
    assert facts.distro == "rocky 8.9"


@pytest.mark.parametrize(
    ("out", "rc", "stderr", "reason"),
    [
        (b"", 127, "no python3 on this host\n", r"^h: no answer \(exit code 127\): no python3 on this host$"),
        (b"", 1, "", "exit code 1.*no message"),
        (answer(FACTS)[:100], 0, "Connection closed", r"broke off after \d+ of \d+ bytes: Connection closed"),
        (answer(FACTS, "other"), 0, "", "no answer"),
        (b"\n<<<facts n 2>>>\n{]\n<<<end n>>>\n", 0, "", "not of the expected form"),
        (answer([]), 0, "", "not of the expected form"),
        (answer({"hostname": "h"}), 0, "", "malformed"),
    ],
)
def test_no_answer_is_not_measured_with_its_cause(out: bytes, rc: int, stderr: str, reason: str) -> None:
    with pytest.raises(NotMeasured, match=reason):
        decode("h", "n", out, rc, stderr)


def test_a_malformed_fact_costs_itself_only() -> None:
    keyring = {"stat": ABSENT, "keys": {"client.x": "AQ-plain"}}
    broken = {**FACTS, "keyrings": {"/a": keyring, "/b": {"stat": ABSENT}}, "packages": {"ceph": 1}, "listening": 5}
    facts = decode("h", "n", answer(broken), 0, "")
    assert isinstance(facts.keyrings["/a"], Unreadable)
    assert not isinstance(facts.keyrings["/b"], Unreadable)
    assert isinstance(facts.packages, Unreadable)
    assert isinstance(facts.listening, Unreadable)
    assert "AQ-plain" not in facts.model_dump_json()
    assert HostFacts.model_validate_json(facts.model_dump_json()) == facts


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_not_measured(data: bytes) -> None:
    for out in (data, b"\n<<<facts n %d>>>\n%s\n<<<end n>>>\n" % (len(data), data)):
        with pytest.raises(NotMeasured):
            decode("h", "n", out, 0, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["stat", "path", "/a", "role"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(HostFacts.model_fields)), JSON))
def test_any_json_is_facts_or_not_measured(changes: dict[str, Any]) -> None:
    with contextlib.suppress(NotMeasured):
        assert decode("h", "n", answer({**FACTS, **changes}), 0, "").name


# Hosts


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "ssh"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *10.0.0.1*) echo "ssh: No route to host" >&2; exit 255;; esac\nexit 9\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/local/bin:/usr/bin:/bin")
    return program


def test_hosts_are_observed_side_by_side_and_the_dead_are_told(fake_ssh: Path) -> None:
    lines: list[str] = []
    some = cloud()
    with Hosts(some) as hosts:
        found = observe_hosts(some, SALT, lines.append, hosts)
        assert hosts.round_trips == 4
    assert list(found) == ["cmp1", "cmp2", "cmp3", "ctl"]
    assert isinstance(found["ctl"], HostFacts)
    dead, silent = found["cmp1"], found["cmp2"]
    assert isinstance(dead, Unreadable)
    assert "No route to host" in dead.unreadable
    assert isinstance(silent, Unreadable)
    assert "no answer (exit code 9)" in silent.unreadable
    assert sorted(line.split(":")[0] for line in lines) == list(found)


def test_own_connections_are_made_and_closed(fake_ssh: Path) -> None:
    some = cloud(hosts={"ctl": {"roles": ["glance-api"], "reach": "local"}})
    assert isinstance(observe_hosts(some, SALT, lambda line: None)["ctl"], HostFacts)
