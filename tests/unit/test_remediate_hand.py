"""What is done to a host beside whole files: packages, rules of sudo, names."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from socket import AF_UNIX
from socket import socket as unix_socket

import pytest
from ruamel.yaml import YAML

from remediate.hand import cells, commands, edits, files, keys, packages, services, steps
from remediate.hand.files import Json, Refused
from remediate.hand.steps import Daemons, Hand

SUDOERS = """\
# rules
nova ALL = (root) NOPASSWD: /usr/bin/nova-rootwrap /etc/nova/rootwrap.conf *
ceph ALL = (root) \\
    NOPASSWD:ALL
%ops ALL = NOPASSWD: ALL
"""
HOSTS = """\
127.0.0.1 localhost
# 10.0.0.9 storage
10.0.0.9\tstorage storage.example.net # the first
10.0.0.3 compute1 shared
"""


def sudo_step(line: int, who: str) -> Json:
    return {"path": "/etc/sudoers.d/x", "line": line, "who": who}


def test_a_rule_of_sudo_becomes_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(edits, "run", lambda words: checked.append(Path(words[-1]).read_text()))
    new = edits.without_sudo_rule(SUDOERS, sudo_step(3, "ceph"))
    assert new == SUDOERS.replace("ceph ALL", "# ceph ALL").replace("    NOPASSWD:ALL", "#     NOPASSWD:ALL")
    assert checked == [new]
    assert edits.without_sudo_rule(SUDOERS, sudo_step(5, "%ops")).endswith("\n# %ops ALL = NOPASSWD: ALL\n")
    with pytest.raises(Refused, match="no rule for ceph by now"):
        edits.without_sudo_rule(SUDOERS, sudo_step(2, "ceph"))


@pytest.mark.skipif(shutil.which("visudo") is None, reason="visudo is not installed")
def test_a_file_that_visudo_refuses_is_not_made() -> None:
    with pytest.raises(Refused, match="visudo"):
        edits.without_sudo_rule(SUDOERS + "broken (\n", sudo_step(3, "ceph"))


def test_a_name_gets_its_address_where_it_stands() -> None:
    step = {"path": "/etc/hosts", "name": "storage", "address": "10.0.0.4", "adds": False}
    assert edits.with_host_address(HOSTS, step) == HOSTS.replace("10.0.0.9\t", "10.0.0.4\t")
    with pytest.raises(Refused, match="is also of shared"):
        edits.with_host_address(HOSTS, {**step, "name": "compute1"})
    with pytest.raises(Refused, match="comes from elsewhere"):
        edits.with_host_address(HOSTS, {**step, "name": "compute2"})
    added = {**step, "name": "compute2", "adds": True}
    assert edits.with_host_address(HOSTS, added) == HOSTS + "10.0.0.4\tcompute2\n"


# Daemons of Ceph, with a systemctl that stands in

SYSTEMCTL = """\
case $1 in
list-dependencies) printf 'ceph.target\n  ceph-osd.target\n'; sed 's/^/  /' "$ROOT/units" ;;
is-active) grep -qx "$3" "$ROOT/running" ;;
start) echo "$2" >> "$ROOT/running" ;;
stop) sed -i "/^$2\\$/d" "$ROOT/running" ;;
esac
"""


def test_daemons_that_are_stopped_are_started_and_stopped_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\n" + SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(tmp_path))
    of_cephadm = "ceph-ba70aec8-28c2-4ed9-b808-a978bd2ae3df@osd.3.service"
    (tmp_path / "units").write_text(f"ceph-mon@a.service\nceph-osd@1.service\nceph-osd@2.service\n{of_cephadm}\n")
    (tmp_path / "running").write_text("ceph-osd@1.service\n")
    step = Daemons(Hand(str(tmp_path / "kept"), "run", {}), {"daemon": "osd"})
    before = step.look()
    assert before == {of_cephadm: False, "ceph-osd@1.service": True, "ceph-osd@2.service": False}
    shown = step.preview()
    assert shown["diff"] == [f"{of_cephadm}: stopped -> running", "ceph-osd@2.service: stopped -> running"]

    step.do(1)
    assert step.look() == shown["after"]
    step.undo(1, before)
    assert step.look() == before


# Packages, with programs that stand in for the distribution's

DPKG_QUERY = """\
for name in $(cat "$ROOT/status"); do printf 'ii \\t%s\\n' "$name"; done; printf 'rc \\told\\n'
"""
DPKG = """\
echo "$*" >> "$ROOT/log"
case $1 in
--verify) [ -e "$ROOT/rbd" ] || [ "$2" != ceph-common ] ||
    printf 'missing     %s\\nmissing  d  /usr/share/doc/x\\n' "$ROOT/rbd" ;;
--purge) shift; for name; do sed -i "/^$name\\$/d" "$ROOT/status"; done ;;
esac
"""
APT_GET = """\
case $1 in
-s) cat "$ROOT/simulated" ;;
*) echo "$*" >> "$ROOT/log"; "$POLICY"; echo "policy $?" >> "$ROOT/log"
   touch "$ROOT/rbd"; printf 'librbd1\\npython3-rbd\\n' >> "$ROOT/status" ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = {"dpkg-query": DPKG_QUERY, "dpkg": DPKG, "apt-get": APT_GET}
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
    (tmp_path / "status").write_text("ceph-common\nbash\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(tmp_path))
    monkeypatch.setenv("POLICY", str(tmp_path / "policy-rc.d"))
    monkeypatch.setattr(packages, "POLICY", str(tmp_path / "policy-rc.d"))
    return tmp_path


def step_of(root: Path) -> packages.Packages:
    return packages.Packages(Hand(str(root / "kept"), "run", {}), {"names": ["ceph-common", "python3-rbd"]})


SIMULATED = """\
Inst ceph-common [16.2] (16.2 Debian:12 [amd64])
Inst librbd1 (16.2 Debian:12 [amd64])
Inst python3-rbd (16.2 Debian:12 [amd64])
Conf python3-rbd (16.2 Debian:12 [amd64])
"""


def test_packages_are_brought_and_taken_back_with_what_came_along(root: Path) -> None:
    (root / "simulated").write_text(SIMULATED)
    step = step_of(root)
    before = step.look()
    assert before["ceph-common"] == {"installed": True, "lacking": [f"{root}/rbd"]}
    shown = step.preview()
    assert shown["diff"] == [
        f"package ceph-common: installed anew, with {root}/rbd",
        "package python3-rbd: not installed -> installed",
    ]

    step.do(1)

    assert step.look() == shown["after"]
    log = (root / "log").read_text()
    assert "--no-remove" in log
    assert "--reinstall install ceph-common python3-rbd" in log
    assert "policy 101" in log, "packages start nothing"
    assert not (root / "policy-rc.d").exists()
    log = (root / "log").read_text()
    step.do(2)
    assert "install" not in (root / "log").read_text().removeprefix(log), "what is there is not installed again"

    step.undo(1, before)

    assert step.look() == before
    assert (root / "status").read_text() == "ceph-common\nbash\n", "what came along is gone too"
    step.undo(1, before)


def test_a_killed_installation_is_taken_back(root: Path) -> None:
    (root / "simulated").write_text(SIMULATED)
    step = step_of(root)
    before = step.look()
    step.do(1)
    (root / "kept/1.new").unlink()
    step.undo(1, before)
    assert step.look() == before


@pytest.mark.parametrize(
    ("simulated", "said"),
    [
        ("Inst ceph-common [16.2] (16.2 x)\n", "do not have python3-rbd: apt-get update"),
        (
            SIMULATED.replace("Inst librbd1 (16.2", "Inst librbd1 [16.1] (16.2"),
            "upgrade .*: librbd1 16.1 -> 16.2",
        ),
    ],
)
def test_nothing_is_upgraded_on_the_way(root: Path, simulated: str, said: str) -> None:
    (root / "simulated").write_text(simulated)
    with pytest.raises(Refused, match=said):
        step_of(root).preview()


def test_the_hosts_own_policy_of_starting_services_stands(root: Path) -> None:
    policy = root / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    with packages.services_left_alone():
        assert "104" in policy.read_text()
    assert "104" in policy.read_text()
    policy.write_text(f"#!/bin/sh\n{packages.OURS}\n[ -d /proc/999999999 ] && exit 101\nexit 0\n")
    with packages.services_left_alone():
        assert f"/proc/{os.getpid()} " in policy.read_text(), "what a killed run left is replaced"
    assert not policy.exists()


# What services left behind


CINDER_MANAGE = """\
echo "$*" >> "$ROOT/log"
[ "$5 $6" = "service list" ] && cat "$ROOT/list" || sed -i "/$8/d" "$ROOT/list"
"""
ROWS = """\
Binary           Host                                 Zone             Status     State Updated At           RPC Version
cinder-volume    controller@rbd                       nova             enabled    :-)   2026-01-01 10:00:00  3.17
cinder-volume    controller@removed                   nova             enabled    XXX   None  3.17
"""


def row(name: str) -> services.CinderRow:
    return services.CinderRow(None, {"account": "cinder", "binary": "cinder-volume", "row": name})


def test_a_row_is_removed_that_nobody_reports_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runuser").write_text("#!/bin/sh\n" + CINDER_MANAGE)
    (tmp_path / "runuser").chmod(0o755)
    (tmp_path / "list").write_text(ROWS)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(tmp_path))
    dead = row("controller@removed")
    assert "cannot be undone" in dead.preview()["diff"][1]
    dead.do(1)
    assert dead.look() == dead.preview()["after"] == {"there": False}
    assert (
        "-u cinder -- cinder-manage service remove cinder-volume controller@removed" in (tmp_path / "log").read_text()
    )
    with pytest.raises(files.Refused, match="is up by now"):
        row("controller@rbd").do(2)
    assert row("controller@rbd").look() == {"there": True}


NOVA_MANAGE = """\
echo "$*" >> "$ROOT/log"
case "$6" in
    list_hosts) cat "$ROOT/list" ;;
    discover_hosts) echo "|   cell1   | 589b3ca1-cf41-4ffd-9956-c4fbda710be2 | compute1 |" >> "$ROOT/list" ;;
    delete_host) sed -i "/$10/d" "$ROOT/list" ;;
esac
"""
CELLS = """\
+-----------+--------------------------------------+----------+
| Cell Name |              Cell UUID               | Hostname |
+-----------+--------------------------------------+----------+
|   cell1   | 589b3ca1-cf41-4ffd-9956-c4fbda710be2 | compute2 |
+-----------+--------------------------------------+----------+
"""


def test_hypervisors_get_their_cell_and_are_taken_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runuser").write_text("#!/bin/bash\n" + NOVA_MANAGE.replace("$10", "${10}"))
    (tmp_path / "runuser").chmod(0o755)
    (tmp_path / "list").write_text(CELLS)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(tmp_path))
    step = cells.CellHosts(None, {"account": "nova", "hosts": ["compute1", "compute2"]})
    shown = step.preview()
    assert (shown["before"], shown["after"]) == ({"mapped": ["compute2"]}, {"mapped": ["compute1", "compute2"]})
    assert "compute1: in no cell" in shown["diff"][0]
    step.do(1)
    assert step.look() == shown["after"]
    assert step.preview()["diff"] == []
    step.undo(1, shown["before"])
    asked = (
        "-u nova -- nova-manage cell_v2 delete_host --cell_uuid 589b3ca1-cf41-4ffd-9956-c4fbda710be2 --host compute1"
    )
    assert (tmp_path / "log").read_text().splitlines()[-1] == asked
    assert step.look() == shown["before"]


def test_rules_in_json_are_written_in_yaml_and_mean_the_same(tmp_path: Path) -> None:
    rules = {"compute:get": "role:admin or project_id:%(project_id)s", "all:none": "!", 'a"b': [["@"]]}
    old, new = tmp_path / "policy.json", tmp_path / "policy.yaml"
    old.write_text(json.dumps(rules))
    old.chmod(0o640)
    step = steps.OnPath(
        Hand(str(tmp_path / "kept"), "run", {}), {"kind": "policy-in-yaml", "path": str(new), "source": str(old)}
    )
    before = step.look()
    step.do(1)
    assert YAML(typ="safe").load(new) == rules
    assert new.stat().st_mode & 0o777 == 0o640
    step.do(2)
    step.undo(1, before)
    assert not new.exists()
    new.write_text("mine: '@'\n")
    with pytest.raises(Refused, match="is there, too"):
        step.do(3)
    new.unlink()
    old.write_text("mine: '@'\n")
    with pytest.raises(Refused, match="is no JSON"):
        step.do(4)


def test_base_images_go_while_no_disk_can_be_based_on_them(tmp_path: Path) -> None:
    base, instance = tmp_path / "_base", tmp_path / "0fa17000-0000-4000-8000-000000000003"
    for folder in (base, instance):
        folder.mkdir()
    for path in (base / "aa", base / "bb", instance / "disk.info", instance / "console.log"):
        path.write_text("data")
    step = services.BaseImages(None, {"path": str(tmp_path), "names": ["aa", "cc"]})
    assert step.preview()["diff"][0] == f"{base}: 1 base images, 4 bytes, removed"
    (instance / "disk").touch()
    with pytest.raises(files.Refused, match="disk is a local disk"):
        step.do(1)
    (instance / "disk").unlink()
    with (base / "aa").open(), pytest.raises(files.Refused, match=f"process {os.getpid()} has a base image open"):
        step.do(1)
    step.do(1)
    assert step.look() == {"files": 0}
    assert (base / "bb").exists(), "it is of none of these images"


def test_a_cache_is_emptied_of_copies_of_images_only(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "cache.db").write_text("rows")
    copies = [
        tmp_path / "0fa17000-0000-4000-8000-000000000003",
        tmp_path / "queue/0fa17000-0000-4000-8000-000000000004",
    ]
    for path in copies:
        path.write_text("data")
    step = services.EmptyCache(None, {"path": str(tmp_path)})
    assert step.preview()["diff"][0] == f"{tmp_path}: 2 copies of images, 8 bytes, removed"
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(files.Refused, match=r"notes.txt is no copy of an image"):
        step.do(1)
    assert all(path.exists() for path in copies)
    (tmp_path / "notes.txt").unlink()
    step.do(1)
    assert step.look() == {"files": 0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.db", "queue"]


@pytest.mark.parametrize("synced", [0, 1])
def test_a_schema_is_upgraded_while_the_service_is_stopped_and_it_is_started_again_whatever_comes(
    synced: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manage = (
        f'echo "$6" >> "$ROOT/log"; [ "$6" = check ] && exit "$(cat "$ROOT/rc")"; echo 0 > "$ROOT/rc"; exit {synced}\n'
    )
    for name, text in {"runuser": manage, "systemctl": 'echo "$*" >> "$ROOT/log"\n'}.items():
        (tmp_path / name).write_text("#!/bin/sh\n" + text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "rc").write_text("3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(tmp_path))
    step = services.GlanceSchema(None, {"account": "glance", "unit": "glance-api.service"})
    assert step.look() == {"behind": True}
    (tmp_path / "log").unlink()
    with pytest.raises(files.Refused) if synced else contextlib.nullcontext():
        step.do(1)
    told = (tmp_path / "log").read_text().splitlines()
    assert told == ["check", "stop glance-api.service", "sync", "start glance-api.service"]
    (tmp_path / "rc").write_text("2")
    with pytest.raises(files.Refused, match="ended with 2"):
        step.look()


# A socket, with a systemctl that stands in

SOCKET = """\
echo "$*" >> "$ROOT/log"
case $* in
"show --property=ActiveState,UnitFileState tls.socket")
    echo "ActiveState=$(cat "$ROOT/tls.socket")"; echo UnitFileState=enabled ;;
"start tls.socket") [ "$(cat "$ROOT/daemon")" = inactive ] && echo active > "$ROOT/tls.socket" ;;
"stop tls.socket") echo inactive > "$ROOT/tls.socket" ;;
"stop daemon") [ -s "$ROOT/busy" ] && sed -i 1d "$ROOT/busy" || echo inactive > "$ROOT/daemon" ;;
"start daemon") [ -e "$ROOT/bare" ] && grep -q "^active" "$ROOT/tls.socket" || { echo active > "$ROOT/daemon"; exit 0; }
    exit 1 ;;
esac
"""


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> steps.Unit:
    (tmp_path / "systemctl").write_text("#!/bin/sh\n" + SOCKET)
    (tmp_path / "systemctl").chmod(0o755)
    (tmp_path / "tls.socket").write_text("inactive")
    (tmp_path / "daemon").write_text("active")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(tmp_path))
    return steps.Unit(Hand(str(tmp_path), "run", {}), {"unit": "tls.socket", "enable": True, "behind": "daemon"})


def test_a_socket_is_opened_while_its_daemon_is_stopped(socket: steps.Unit, tmp_path: Path) -> None:
    (tmp_path / "busy").write_text("a client starts the daemon in between\n")
    before = socket.look()
    socket.do(1)
    assert socket.look() == {"active": True, "enabled": True}
    assert (tmp_path / "daemon").read_text() == "active\n"
    socket.undo(1, before)
    assert socket.look() == before
    assert (tmp_path / "daemon").read_text() == "active\n"


def test_a_daemon_that_does_not_start_with_the_socket_is_started_without(socket: steps.Unit, tmp_path: Path) -> None:
    (tmp_path / "bare").touch()
    with pytest.raises(files.Refused, match="does not start with"):
        socket.do(1)
    assert not socket.look()["active"]
    assert (tmp_path / "daemon").read_text() == "active\n"


def test_a_unit_that_had_to_be_killed_on_the_way_back_is_not_left_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of it outlives its package otherwise."""
    asked: list[str] = []

    def systemctl(words: list[str]) -> str:
        asked.append(words[1])
        return "ActiveState=active\nUnitFileState=enabled"

    monkeypatch.setattr(steps, "run", systemctl)
    monkeypatch.setattr(steps, "result", systemctl)
    steps.Unit(Hand("/nonexistent", "run", {}), {"unit": "backup.service", "enable": True}).undo(
        1, {"active": False, "enabled": True}
    )
    assert asked == ["show", "stop", "reset-failed"]


def test_a_job_is_told_by_what_it_makes_and_only_what_ends_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, told = tmp_path / "all.sql.gz", {"Type": "oneshot", "LoadState": "loaded"}

    def systemctl(words: list[str], timeout: int = 0) -> str:
        if words[1] == "start":
            dump.touch()
        return "\n".join(f"{name}={value}" for name, value in told.items())

    monkeypatch.setattr(services, "run", systemctl)
    job = services.Job(None, {"unit": "dump.service", "path": f"{tmp_path}/*.gz"})
    shown = job.preview()
    assert (shown["before"], shown["diff"][0]) == ({"written": 0}, "dump.service: started, and waited for")
    job.do(1)
    assert job.look() == {"written": dump.stat().st_mtime_ns}
    with pytest.raises(Refused, match="cannot be undone"):
        job.undo(1, shown["before"])
    for name, value in {"Type": "simple", "LoadState": "not-found"}.items():
        with monkeypatch.context() as patch:
            patch.setitem(told, name, value)
            with pytest.raises(Refused, match="Type=oneshot"):
                job.look()


def test_what_programs_print_is_in_no_persons_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert commands.run(["sh", "-c", "echo $LC_ALL"]) == "C\n"
    assert commands.run(["sh", "-c", "echo $LC_ALL $MORE"], env={"MORE": "x"}) == "C x\n"


def test_cinders_schema_is_told_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, version = [], ["old"]

    def run(words: list[str], timeout: int = 0) -> str:
        begun.append(" ".join(words[-2:]))
        version[0] = "new" if words[-1] == "sync" else version[0]
        return f"{version[0]}\n"

    monkeypatch.setattr(services, "run", run)
    step = services.CinderSchema(None, {"account": "cinder", "unit": "api.service", "version": "new"})
    assert step.preview()["diff"][0] == "cinder-manage db sync: the schema is old -> new"
    step.do(1)
    assert begun[1:] == ["db version", "stop api.service", "db sync", "start api.service"]
    step.do(2)
    assert begun[5:] == ["db version"]


def test_keys_of_tokens_are_rotated_and_had_back_with_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fernet-keys"
    folder.mkdir()
    for name in ("0", "1"):
        (folder / name).write_text(f"key {name}")
        os.utime(folder / name, (1000, 1000))

    def rotate(words: list[str]) -> str:
        (folder / "0").rename(folder / "2")
        (folder / "0").write_text("new")
        return ""

    monkeypatch.setattr(keys, "run", rotate)
    step = keys.TokenKeys(Hand(str(tmp_path / "kept"), "run", {}), {"account": "keystone", "path": str(folder)})
    shown = step.preview()
    assert (shown["before"], shown["after"]) == ({"signs": 1}, {"signs": 2})
    step.do(1)
    assert step.look() == shown["after"]
    step.undo(1, shown["before"])
    assert {path.name: (path.read_text(), path.stat().st_mtime) for path in folder.iterdir()} == {
        "0": ("key 0", 1000),
        "1": ("key 1", 1000),
    }
    monkeypatch.setattr(keys, "run", lambda words: "")
    with pytest.raises(Refused, match="elsewhere"):
        step.do(2)
    (folder / "0").unlink()
    with pytest.raises(Refused, match="none that is staged"):
        step.preview()


def test_a_folder_is_not_removed_with_what_somebody_has_put_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "guests"
    folder.mkdir()
    for number in range(7):
        folder.joinpath(f"{number}.asok").touch()
    with pytest.raises(OSError, match=r"not empty: 0\.asok, 1\.asok, 2\.asok, 3\.asok, 4\.asok and 2 more"):
        files.put(str(folder), None, "x")
    for path in folder.iterdir():
        path.unlink()
    files.put(str(folder), None, "x")
    assert not folder.exists()


def test_a_folder_goes_with_sockets_that_nobody_listens_on_and_with_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "guests"
    folder.mkdir()
    with unix_socket(AF_UNIX) as dead, unix_socket(AF_UNIX) as live:
        dead.bind(str(folder / "dead.asok"))
        live.bind(str(folder / "live.asok"))
        live.listen()
        dead.close()
        with pytest.raises(OSError, match=r"it is not empty: live\.asok"):
            files.put(str(folder), None, "x")
        assert {path.name for path in folder.iterdir()} == {"dead.asok", "live.asok"}
    files.put(str(folder), None, "x")
    assert not folder.exists()
