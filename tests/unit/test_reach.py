from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures import reach
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.pipes import ANSWER_BYTES, converse
from fixtures.reach import CommandFailed, Hosts, Unreachable


def cloud(hosts: dict[str, dict[str, Any]], **ways: Any) -> Cloud:
    return Cloud.model_validate(
        {
            "name": "test",
            "hosts": {name: {"roles": ["glance-api"], **host} for name, host in hosts.items()},
            "reach": ways,
            "ceph": {"pools": {"images": "i", "volumes": "v"}, "users": {"glance": "g", "cinder": "c"}},
            "cinder": {"backend": "rbd", "volume_type": "rbd"},
            "openstack": {"cloud": "test"},
        }
    )


@pytest.fixture
def here() -> Iterator[Hosts]:
    with Hosts(cloud({"here": {"reach": "local"}})) as hosts:
        yield hosts


def test_stdin_reaches_the_command_and_arguments_are_quoted(here: Hosts) -> None:
    result = here["here"].run("cat; printf %%s %s", "a 'b' $HOME;x", stdin=b"in\xff\n")
    assert result.stdout_bytes == b"in\xff\na 'b' $HOME;x"
    assert result.rc == 0
    assert here.round_trips == 1


def test_a_command_that_fails_is_told_whole(here: Hosts) -> None:
    assert here["here"].run("exit 3").rc == 3
    with pytest.raises(CommandFailed, match=r"^here: echo no >&2; exit 4: exit code 4: no$") as failed:
        here["here"].output("echo no >&2; exit 4")
    assert (failed.value.host, failed.value.rc, failed.value.stderr) == ("here", 4, "no\n")


def test_a_command_that_hangs_is_ended_with_its_children(here: Hosts, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Unreachable, match=r"here: no answer within 0.3 s"):
        here["here"].run("sh -c 'sleep 1; touch %s' & sleep 30", str(tmp_path / "late"), timeout=0.3)
    assert time.monotonic() - start < 5
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()
    assert here["here"].output("echo well") == "well\n"


def test_a_host_that_prints_for_ever_is_ended(here: Hosts, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreachable, match=r"here: an answer without end was cut off after 256 MiB \(log in"):
        here["here"].run("echo $$ > %s; exec yes 'a banner without end'", str(tmp_path / "pid"))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kilobytes < 3 * ANSWER_BYTES >> 10
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert here["here"].output("echo well") == "well\n"


def test_errors_without_end_are_an_answer_without_end(here: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "converse", partial(converse, most=1 << 20))
    with pytest.raises(Unreachable, match="without end"):
        here["here"].run("yes >&2")


def test_what_a_command_does_not_read_is_no_error(here: Hosts) -> None:
    assert here["here"].run("exec <&-; sleep 0.2; echo done", stdin=b"x" * 500_000).stdout == "done\n"


def test_unreachable_is_not_measured() -> None:
    assert issubclass(Unreachable, NotMeasured)


def test_threads_do_not_share_stdin(here: Hosts) -> None:
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = here["here"].output("cat", stdin=str(number).encode() * 1000)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: str(number) * 1000 for number in range(8)}
    assert here.round_trips == 8


def test_output_that_is_not_utf8_costs_no_round_trip(here: Hosts) -> None:
    assert here["here"].output(r"printf '\351'") == "�"
    assert here.round_trips == 1


# A program in ssh's place


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an `ssh` first on the PATH that notes its arguments and does as its file `do` says."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/log\nfor last; do :; done\n. {tmp_path}/do\n')
    program.chmod(0o755)
    (tmp_path / "do").write_text('exec sh -c "$last"\n')
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def test_ssh_gets_what_the_cloud_file_says(fake_ssh: Path) -> None:
    settings = {"ssh_config": "/c/f", "user": "me", "identity": "/k", "sudo": False, "connect_timeout": 7}
    with Hosts(cloud({"a": {"address": "10.0.0.1"}, "b": {"address": "fd00::1"}}, **settings)) as hosts:
        assert hosts["a"].output("cat", stdin=b"x") == "x"
        assert hosts["b"].output("echo b") == "b\n"
    first, second, *_ = (fake_ssh / "log").read_text().splitlines()
    for part in ("-F /c/f", "User=me", "-i /k", "ConnectTimeout=7", "BatchMode=yes", "ControlMaster=auto"):
        assert part in first
    assert first.endswith(" 10.0.0.1 cat")
    assert second.endswith(" fd00::1 echo b")


def test_sudo_never_asks(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = fake_ssh / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\necho "sudo: a password is required" >&2; exit 1\n')
    sudo.chmod(0o755)
    with Hosts(cloud({"a": {}}, sudo=True)) as hosts, pytest.raises(Unreachable, match="sudo is denied"):
        hosts["a"].run("true")
    assert "sudo -n /bin/sh -c" in (fake_ssh / "log").read_text()


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ("ssh: connect to host a port 22: Connection refused", "start sshd"),
        ("ssh: connect to host a port 22: No route to host", "network and firewall"),
        ("ssh: Could not resolve hostname a: Name or service not known", "address:"),
        ("a: Permission denied (publickey).", "reach.user and reach.identity"),
        ("Host key verification failed.", "ssh a"),
        ("kex_exchange_identification: Connection closed by remote host", "ssh -v"),
    ],
)
def test_what_ssh_says_is_told_with_what_to_do(fake_ssh: Path, stderr: str, hint: str) -> None:
    (fake_ssh / "do").write_text(f'echo "{stderr}" >&2; exit 255\n')
    with Hosts(cloud({"a": {}})) as hosts:
        with pytest.raises(Unreachable) as refused:
            hosts["a"].run("true")
        assert stderr in str(refused.value)
        assert hint in str(refused.value)


def test_a_dead_host_is_tried_once(fake_ssh: Path) -> None:
    (fake_ssh / "do").write_text("exit 255\n")
    with Hosts(cloud({"a": {}})) as hosts:
        for _ in range(3):
            with pytest.raises(Unreachable):
                hosts["a"].run("true")
        assert hosts.round_trips == 1
        assert len((fake_ssh / "log").read_text().splitlines()) == 1


def test_sockets_lie_in_a_private_short_folder_that_goes(fake_ssh: Path) -> None:
    with Hosts(cloud({"a": {}})) as hosts:
        hosts["a"].run("true")
        hosts["a"].run("true")
        path = (fake_ssh / "log").read_text().partition("ControlPath=")[2].split()[0]
        folder = Path(path).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(path.replace("%C", "c" * 40)) < 80
        (folder / "socket").touch()
    assert not folder.exists()
    assert "-O exit" in (fake_ssh / "log").read_text().splitlines()[-1]
    hosts.close()


# ansible's inventory


@pytest.fixture
def inventory(fake_ssh: Path) -> Path:
    told = """{"_meta": {"hostvars": {
        "web": {"ansible_host": "10.0.0.9", "ansible_user": "deploy", "ansible_port": 2222, "ansible_become": true},
        "me": {"ansible_connection": "local"}, "pod": {"ansible_connection": "kubectl"}}},
        "all": {"children": ["g"]}, "g": {"hosts": ["web", "me", "pod"]}}"""
    program = fake_ssh / "bin" / "ansible-inventory"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{told}\nE\n")
    program.chmod(0o755)
    (fake_ssh / "bin" / "sudo").write_text('#!/bin/sh\nshift; exec "$@"\n')
    (fake_ssh / "bin" / "sudo").chmod(0o755)
    (fake_ssh / "hosts").write_text("")
    return fake_ssh / "hosts"


def test_an_inventory_tells_address_user_and_become(inventory: Path) -> None:
    some = cloud({"a": {"address": "web"}, "me": {}}, via="ansible", inventory=str(inventory))
    with Hosts(some) as hosts:
        assert hosts["a"].output("cat", stdin=b"x") == "x"
        assert hosts["me"].output("cat", stdin=b"y") == "y"
    line = (inventory.parent / "log").read_text().splitlines()[0]
    assert "User=deploy" in line
    assert "Port=2222" in line
    assert "ControlMaster=auto" in line
    assert line.endswith("10.0.0.9 sudo -n /bin/sh -c cat")


@pytest.mark.parametrize(("name", "reason"), [("pod", "not ssh or local"), ("nobody", "no host of this name")])
def test_what_an_inventory_cannot_give_is_told(inventory: Path, name: str, reason: str) -> None:
    some = cloud({name: {}}, via="ansible", inventory=str(inventory))
    with Hosts(some) as hosts, pytest.raises(Unreachable, match=reason):
        hosts[name].run("true")


def test_ansible_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    some = cloud({"a": {}}, via="ansible", inventory="/etc/hosts")
    with Hosts(some) as hosts, pytest.raises(Unreachable, match="pip install ansible-core"):
        hosts["a"].run("true")
