"""Hostile files on hosts and hostile hosts: each costs its own fact, within a deadline, with its cause."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts
from fixtures.observe.collector.base import FAILURES
from fixtures.observe.collector.ini import parse_oslo
from fixtures.observe.host import decode, observe_hosts
from tests.unit.test_collector import Tree, run

SALT = b"0123456789abcdef"
DEADLINE = 12


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# Files


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _sparse_giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _socket_in_place(path: Path) -> None:
    os.mknod(path, 0o140600)


def _latin(path: Path) -> None:
    path.write_bytes(b"[DEFAULT]\nname = caf\xe9\n")


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "binary": (_binary, "is not UTF-8 text"),
    "a sparse giant": (_sparse_giant, "has 2147483648 bytes, more than"),
    "a loop of links": (_loop, "Too many levels of symbolic links"),
    "a fifo": (lambda path: os.mkfifo(path), "is not a regular file"),
    "a socket": (_socket_in_place, "No such device or address"),
    "a folder": (lambda path: path.mkdir(), "is not a regular file"),
    "not UTF-8": (_latin, "line 2: is not UTF-8 text"),
}
PLACES: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "ceph/ceph.conf": lambda facts, root: facts["ceph_conf"],
    "ceph/ceph.client.glance.keyring": lambda f, root: f["keyrings"][f"{root}/ceph/ceph.client.glance.keyring"],
    "etc/nova.conf": lambda facts, root: facts["services"]["nova-compute"]["entries"],
    "d/10.conf": lambda facts, root: facts["services"]["nova-compute"]["entries"],
}
"""Where a hostile file lies to the fact that it costs."""


def _observed(tree: Tree) -> tuple[dict[str, Any], float]:
    request = dict(tree.request(), deadline=DEADLINE, step=DEADLINE - 2)
    start = time.monotonic()
    ran = run(sys.executable, request, {"PATH": f"{tree.root}/bin:{os.environ['PATH']}"})
    seconds = time.monotonic() - start
    return json.loads(decode("h", "n", ran.stdout, ran.returncode, ran.stderr.decode()).model_dump_json()), seconds


def _reason(fact: Any) -> str:
    return str(fact.get("unreadable", "")) if isinstance(fact, dict) else ""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_costs_its_fact_only(tree: Tree, place: str, kind: str) -> None:
    if (kind, place) == ("a folder", "etc/nova.conf"):
        return  # a cloud file may name folders of configuration there
    make, sign = HOSTILE[kind]
    (tree.root / place).unlink()
    make(tree.root / place)
    facts, seconds = _observed(tree)
    found = {other: find(facts, tree.root) for other, find in PLACES.items()}
    assert seconds < DEADLINE
    assert re.search(sign, _reason(found[place])), found[place]
    assert [other for other, fact in found.items() if fact is not found[place] and _reason(fact)] == []
    assert facts["services"]["nova-compute"]["unit"]["active"] == "failed"
    assert facts["libvirt"]["libvirt_version"]


def test_a_configuration_of_100000_lines_is_read_in_time(tree: Tree) -> None:
    lines = "".join(f"option_{number} = value {number}\n" for number in range(100_000))
    tree.write("d/10.conf", "[DEFAULT]\n" + lines)
    facts, seconds = _observed(tree)
    assert seconds < DEADLINE
    entries = facts["services"]["nova-compute"]["entries"]
    assert _reason(entries) or len(entries) > 100_000
    assert facts["ceph_conf"]["entries"]


@pytest.mark.parametrize(
    "text", ["[DEFAULT]\nx = " + "a" * 7_000_000, "[DEFAULT]\n" + "[" * 3_000_000, "\\\n" * 500_000]
)
def test_lines_without_end_are_read_in_time(tree: Tree, text: str) -> None:
    tree.write("d/10.conf", text)
    tree.write("ceph/ceph.conf", text)
    facts, seconds = _observed(tree)
    assert seconds < DEADLINE
    assert facts["keyrings"][f"{tree.root}/ceph/ceph.client.glance.keyring"]["keys"]


@pytest.mark.parametrize("size", [0, 1, 20, 40])
def test_a_truncated_keyring_says_what_is_missing(tree: Tree, size: int) -> None:
    path = tree.root / "ceph/ceph.client.glance.keyring"
    path.write_bytes(path.read_bytes()[:size])
    facts, _ = _observed(tree)
    assert facts["keyrings"][str(path)]["problems"]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("[]=:#; \t\nab\r\\\"'\x00\x85"), max_size=40))
def test_the_reader_of_services_options_ends_or_says_why(text: str) -> None:
    with contextlib.suppress(*FAILURES):
        assert all(section and key for _, section, key, _ in parse_oslo(text))


# Hosts


SSH = """#!/bin/sh
# stands for ssh: the last argument is the command, the one before it the host
for last; do host=$command; command=$last; done
answer() { sh -c "$command"; }
case $host in
    hangs) sleep 60;;
    drops) answer | head -c 2000; echo "Connection to drops closed by remote host." >&2; exit 255;;
    halts) answer | head -c 2000; sleep 60;;
    greets) echo "*** Authorised use only ***"; echo "<<<facts x 3>>>"; echo "Last login: today" >&2; answer;;
    bare) command=$(echo "$command" | sed "s#for p in [^;]*;#for p in none;#"); answer;;
    refuses) echo "sudo: a password is required" >&2; exit 1;;
    babbles) head -c 3000000 /dev/urandom;;
    floods) exec yes "a banner without end";;
    lies) echo '{"facts": {}}';;
    gone) echo "ssh: connect to host gone port 22: No route to host" >&2; exit 255;;
    *) answer;;
esac
"""

CAUSES = {
    "hangs": "no answer within",
    "drops": "Connection to drops closed by remote host",
    "halts": "no answer within",
    "bare": "no python3 on this host",
    "babbles": "no answer (exit code 0)",
    "floods": "an answer without end was cut off after 256 MiB",
    "lies": "no answer (exit code 0)",
    "gone": "No route to host (check network and firewall)",
}


def _cloud(hosts: list[str], **reach: Any) -> Cloud:
    return Cloud.model_validate(
        {
            "name": "test",
            "hosts": {name: {"roles": ["glance-api"]} for name in hosts},
            "reach": {"observe_timeout": 8, **reach},
            "ceph": {"pools": {"images": "i", "volumes": "v"}, "users": {"glance": "g", "cinder": "c"}},
            "cinder": {"backend": "rbd", "volume_type": "rbd"},
            "openstack": {"cloud": "test"},
        }
    )


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_bad_hosts_are_not_measured_and_the_others_are(ssh: Path) -> None:
    cloud = _cloud([*CAUSES, "greets", "well"])
    start = time.monotonic()
    found = observe_hosts(cloud, SALT, lambda line: None)
    assert time.monotonic() - start < 3 * cloud.reach.observe_timeout
    assert isinstance(found["well"], HostFacts)
    assert isinstance(found["greets"], HostFacts)
    told = {name: fact.unreadable for name, fact in found.items() if isinstance(fact, Unreadable)}
    assert told.keys() == CAUSES.keys()
    assert {name: cause for name, cause in CAUSES.items() if cause not in told[name]} == {}, told
    assert all(reason.startswith(f"{name}: ") for name, reason in told.items())


def test_a_host_that_denies_sudo_costs_itself_only(ssh: Path) -> None:
    sudo = ssh.parent / "sudo"
    sudo.write_text('#!/bin/sh\nshift; exec "$@"\n')
    sudo.chmod(0o755)
    found = observe_hosts(_cloud(["refuses", "well"], sudo=True), SALT, lambda line: None)
    assert isinstance(found["well"], HostFacts)
    denied = found["refuses"]
    assert isinstance(denied, Unreadable)
    assert denied.unreadable.startswith("refuses: sudo is denied: sudo: a password is required (allow the login user")
