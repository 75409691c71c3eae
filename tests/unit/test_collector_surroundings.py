"""What the collector makes of a host around its services: texts and trees as other systems have them."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fixtures.observe.collector import clients, clock, confinement, privileges, recovery, residue
from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.redact import Redactor
from fixtures.observe.collector.tools import Tools

KEY = "AQCgAwBp0000ARAA7W5nQ0VfTm90QVJlYWxLZXlBdA=="
SQL = "-- MariaDB dump 10.19\n--\n-- Host: localhost    Database: \n-- Current Database: `nova`\nCREATE TABLE x;\n"
END = "-- Dump completed on 2026-11-21  1:00:00\n"


class Told(Tools):
    """Tools that give answers by the first word of what is run."""

    def __init__(self, **answers: str) -> None:
        super().__init__("/nonexistent", 1)
        self._answers = answers

    def run(self, argv: list[str], timeout: float | None = None, **options: Any) -> tuple[int, str, str]:
        if argv[0] not in self._answers:
            raise StepFailed(f"{argv[0]}: is not installed")
        return 0, self._answers[argv[0]], ""


CHRONY = "0A46150A,10.70.21.10,9,1795253267.46,-0.000143,-0.0,0.0,0.1,-0.0,1.4,0.0,0.0,4.1,%s\n"


@pytest.mark.parametrize(
    ("answers", "source", "synchronised", "offset"),
    [
        ({"chronyc": CHRONY % "Normal"}, "chronyd", True, -0.000143),
        ({"chronyc": CHRONY % "Not synchronised"}, "chronyd", False, None),
        ({"ntpq": "leap=00, stratum=3,\noffset=-12.5\n"}, "ntpd", True, -0.0125),
        ({"ntpq": "leap=11, stratum=16, offset=0.0\n"}, "ntpd", False, 0.0),
        ({"timedatectl": "yes\n"}, "timedatectl", True, None),
        ({"timedatectl": "no\n"}, "", False, None),
    ],
)
def test_who_keeps_the_clock(answers: dict[str, str], source: str, synchronised: bool, offset: float | None) -> None:
    assert clock.clock_fact(Told(**answers)) == {"source": source, "synchronised": synchronised, "offset": offset}


def test_no_word_on_the_clock_is_no_fact() -> None:
    with pytest.raises(StepFailed):
        clock.clock_fact(Told())


def test_refusals_are_those_that_concern_ceph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(confinement, "AUDIT_LOG", str(tmp_path / "none"))
    wanted = 'apparmor="DENIED" operation="open" profile="libvirt-7" name="/etc/ceph/ceph.conf"'
    others = [wanted.replace("DENIED", "ALLOWED"), wanted.replace("libvirt-7", "snap.x"), wanted.replace("ceph", "xen")]
    assert confinement.denials(Told(journalctl="\n".join([*others, wanted]))) == [wanted]


def test_keys_are_found_by_what_they_decode_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor(b"salt")
    key = clients_key()
    (tmp_path / "secret.xml").write_text(f"key = {key}\n")
    (tmp_path / "noise").write_text("AQ" + "x" * 38 + "\nsha1 AQabc\n")
    deep = tmp_path / "a/b/c/d/e"
    deep.mkdir(parents=True)
    (deep / "too-deep").write_text(key)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(residue, "PLACES", (str(tmp_path),))
    found = list(residue.left_files(redactor))
    assert [one["where"] for one in found] == [str(tmp_path / "secret.xml")]
    assert found[0]["keys"] == [redactor.key(key)]
    assert key not in repr(found)


def clients_key() -> str:
    """A well-formed key: type 1, a time, 16 bytes."""
    import base64

    return base64.b64encode(bytes([1, 0, *range(8), 16, 0, *range(100, 116)])).decode()


def test_weak_passwords_are_told_by_place_alone() -> None:
    redactor = Redactor(b"salt")
    rows = [
        ("database", "connection", "mysql+pymysql://nova:nova@db/nova"),
        ("keystone_authtoken", "username", "cinder"),
        ("keystone_authtoken", "password", "cinder"),
        ("placement", "username", "placement"),
        ("placement", "password", "Gd7vR-long-and-odd"),
        ("DEFAULT", "transport_url", "rabbit://openstack:changeme@mq//"),
    ]
    entries = [
        {"file": "/c", "line": number, "section": section, "key": key, "value": redactor.option(key, value)}
        for number, (section, key, value) in enumerate(rows, 1)
    ]
    found = residue.weak_passwords({"nova": {"entries": entries}, "x": {"entries": {"unreadable": "y"}}}, redactor)
    assert found == ["/c:1 [database] connection", "/c:3 [keystone_authtoken] password", "/c:6 [DEFAULT] transport_url"]


def test_copies_with_secrets_are_told_from_those_without(tmp_path: Path) -> None:
    texts = {
        "nova.conf": "[database]\nconnection = mysql://n:s3cret@h/n\n",
        "nova.conf.bak": "[placement]\npassword = x\n",
        "logging.conf": "[loggers]\nkeys = root\n",
        "broken.conf": "no section\n",
        "dispersion.conf": "[dispersion]\nauth_user = test:tester\nauth_key = testing\n",
        "dispersion-own.conf": "[dispersion]\nauth_user = test:tester\nauth_key = Gd7vR\n",
        "policy.d/a.yaml": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    told = {Path(path).name: bool(residue.holds_secret(path)) for path in residue.config_like(str(tmp_path))}
    assert {name for name, secret in told.items() if secret} == {"nova.conf", "nova.conf.bak", "dispersion-own.conf"}
    assert told.keys() == texts.keys() - {"policy.d/a.yaml"}


@pytest.mark.parametrize(
    ("files", "rules"),
    [
        ({}, {}),
        (
            {"glance/policy.yaml": '---\n# a: b\n#"c": "d"\n"service_api": "role:service"\nadd_image: \'\'\n'},
            {"service_api": "role:service", "add_image": ""},
        ),
        (
            {"glance/policy.json": '{\n    "a": "role:member",\n    "b": "rule:a or role:x"\n}\n'},
            {"a": "role:member", "b": "rule:a or role:x"},
        ),
        (
            {"glance/policy.json": '{"a": "1"}\n', "glance/policy.yaml": "b: 2\n", "glance/policy.d/9.yaml": "b: 3\n"},
            {"b": "3"},
        ),
        (
            {"kolla/glance-api/policy.yaml": "a: role:member\n", "kolla/nova-api/policy.yaml": "x: y\n"},
            {"a": "role:member"},
        ),
        ({"glance/policy.yaml/not-a-file": ""}, {}),
    ],
)
def test_policies_are_those_that_the_service_reads(
    files: dict[str, str], rules: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "CONFIGURATION", str(tmp_path))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert privileges.policies_fact(["glance"]) == {"glance": rules}


def test_rules_of_sudo_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "sudoers"
    path.write_text("Defaults x\nroot ALL=(ALL) ALL\n# y NOPASSWD: ALL\nceph ALL = \\\n  NOPASSWD:ALL\n")
    found = [(rule["line"], rule["who"], rule["commands"]) for rule in privileges.sudo_rules(str(path))]
    assert found == [(4, "ceph", "ALL")]
    for name in ("a", "b~", "c.rpmsave"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).touch()
    assert [Path(one).name for one in privileges.included(str(tmp_path / "d"))] == ["a"]


APT_LIST = "deb [arch=amd64 trusted=yes] http://a/ stable main\n#deb http://b x main\ndeb-src http://c x main\n"
APT_STANZA = "Types: deb\nURIs: https://d https://e\nSuites: jammy jammy-updates\nSigned-By:\n -----BEGIN\n\nTypes: x\n"
YUM_REPO = (
    "[a]\nbaseurl=https://x/\ngpgcheck=0\n[b]\nenabled=0\nbaseurl=http://y\n[c]\nmetalink=https://z\ngpgkey=file:///k\n"
)


def test_package_sources_of_apt_and_dnf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "APT", str(tmp_path))
    monkeypatch.setattr(privileges, "YUM", str(tmp_path))
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(APT_LIST)
    (tmp_path / "sources.list.d/x.sources").write_text(APT_STANZA)
    (tmp_path / "y.repo").write_text(YUM_REPO)
    told = privileges.package_sources_fact()["sources"]
    assert [(one["uri"], one.get("suite", ""), one["signed_by"], one["checked"]) for one in told] == [
        ("http://a/", "stable", "", False),
        *((uri, suite, "a key in the file", True) for uri in ("https://d", "https://e") for suite in APT_SUITES),
        ("https://x/", "", "", False),
        ("https://z", "", "file:///k", True),
    ]


APT_SUITES = ("jammy", "jammy-updates")


def test_the_database_is_asked_only_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = "account\tnova\t%\t0\naccount\t\tlocalhost\t1\nschema\tnova\t\t\nschema\tsys\t\t\nbinlog\t1\t\t\n"
    tools = Told(mysql=rows)
    monkeypatch.setattr(tools, "which", lambda name: "mysql" if name == "mysql" else None)
    assert privileges.database_fact(tools) is None
    monkeypatch.setattr(privileges, "DATABASE_SOCKETS", (str(tmp_path),))
    assert privileges.database_fact(tools) == {
        "accounts": [
            {"user": "nova", "host": "%", "password": True},
            {"user": "", "host": "localhost", "password": False},
        ],
        "schemas": ["nova"],
        "binlog": True,
    }


@pytest.mark.parametrize(
    ("data", "content", "complete"),
    [
        ((SQL + END).encode(), "sql", True),
        (SQL.encode(), "sql", False),
        (gzip.compress((SQL + END).encode()), "compressed", True),
        (gzip.compress((SQL * 9000 + END).encode())[:-40], "compressed", False),
        (b"Salted__xyz", "encrypted", None),
        (b"\x00\x01", "other", None),
    ],
)
def test_dumps_are_told_by_their_ends(data: bytes, content: str, complete: bool | None, tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(data)
    [dump] = recovery.dumps_fact(f"{tmp_path}/*.sql", 10)
    assert (dump["content"], dump.get("complete")) == (content, complete)
    assert dump.get("schemas", ["nova"]) == ["nova"]


def test_a_dump_too_long_to_read_leaves_the_question_open(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(SQL + END)
    [dump] = recovery.dumps_fact(f"{tmp_path}/*.sql", -1)
    assert dump["complete"] is None


def test_what_is_in_a_backup_of_files(tmp_path: Path) -> None:
    tree = tmp_path / "keys/etc/keystone"
    tree.mkdir(parents=True)
    (tree / "0").touch()
    (tmp_path / "list").write_text("/etc/keystone/0\n./etc/ceph/ceph.conf\n\n")
    (tmp_path / "secret.gpg").write_bytes(b"\x85\x02\x0c\x03")
    with tarfile.open(tmp_path / "keys.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "keys/etc", "./etc")
    told = {name: recovery.archive_fact(f"{tmp_path}/{name}") for name in ("keys", "list", "secret.gpg", "keys.tar.gz")}
    assert told["keys"]["members"] == told["keys.tar.gz"]["members"] == ["etc/keystone/0"]
    assert told["list"]["members"] == ["etc/ceph/ceph.conf", "etc/keystone/0"]
    assert told["secret.gpg"]["encrypted"]
    assert recovery.archive_fact(f"{tmp_path}/none")["stat"]["kind"] == "absent"


MAPS = """7f00-7f01 r--p 0 00:82 1 /usr/lib/librbd.so.1.16.0
7f01-7f02 r-xp 0 00:82 1 /usr/lib/librbd.so.1.16.0
7f03-7f04 r-xp 0 00:82 2 /usr/lib/librados.so.2.0.0 (deleted)
7f05-7f06 r-xp 0 00:82 3 /usr/lib/libc.so.6
"""


def test_deleted_libraries_are_not_the_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "is_installed", lambda *_: True)
    monkeypatch.setattr(clients, "process_name", lambda _: "qemu of a")
    told = {Path(one["path"]).name: one["installed"] for one in clients.mappings(7, MAPS)}
    assert told == {"librbd.so.1.16.0": True, "librados.so.2.0.0": False}
