from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import re
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.store import save_facts
from fixtures.observe.collector import logs, network
from fixtures.observe.collector.accounts import LoginTry, log_messages, readable_as
from fixtures.observe.collector.base import NoRights, StepFailed
from fixtures.observe.collector.files import file_fact, folder_fact, read_text
from fixtures.observe.collector.hypervisor import Libvirt
from fixtures.observe.collector.ini import ini_fact, parse_ceph
from fixtures.observe.collector.keyrings import keyring_fact, parse_keyring
from fixtures.observe.collector.logs import Log, file_errors, journal_errors, shortened
from fixtures.observe.collector.network import (
    addresses_of,
    client_option,
    kernel_addresses,
    mon_hosts,
    own_addresses,
    parse_sockets,
)
from fixtures.observe.collector.observation import named_keyrings
from fixtures.observe.collector.redact import Redactor
from fixtures.observe.collector.sources import (
    Launch,
    Options,
    Sources,
    environment_entries,
    init_words,
    named_sources,
    service_entries,
    uwsgi_words,
)
from fixtures.observe.collector.steps import Step, guarded
from fixtures.observe.collector.tools import TOOL_PATH, Tools
from fixtures.observe.collector.units import calendar_seconds, choose_unit
from fixtures.observe.host import decode
from fixtures.observe.parcel import parcel

SALT = b"0123456789abcdef"
KEY = base64.b64encode(struct.pack("<HIIH", 1, 1700000000, 5, 16) + bytes(range(100, 116))).decode()
KEY_256 = base64.b64encode(struct.pack("<HIIH", 2, 1700000000, 5, 32) + bytes(range(60, 92))).decode()
OTHER_KEY = base64.b64encode(struct.pack("<HIIH", 1, 1700000001, 9, 16) + bytes(range(16))).decode()
PYENV = Path("/root/.pyenv/versions")
PYTHONS = sorted(
    str(python) for version in ("3.6", "3.7", "3.8", "3.9", "3.10", "3.12", "3.13", "3.14")
    for python in PYENV.glob(f"{version}.*/bin/python3") if os.access(PYENV, os.X_OK)
)  # fmt: skip


def digest(secret: str) -> str:
    return "hmac:" + hmac.new(SALT, secret.encode(), hashlib.sha256).hexdigest()[:32]


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(SALT)


# Secrets


@pytest.mark.parametrize(
    "name",
    [
        "password", "admin_password", "rabbit_password", "ssl_key_password", "secret_key", "memcache_secret_key",
        "metadata_proxy_shared_secret", "admin_token", "auth_token", "root_token_id", "key", "fixed_key", "hmac_keys",
        "metadata_encryption_key", "rgw keystone admin password", "s3_store_access_key", "api_key", "Admin-Password",
        "sql_passwd", "private_key_passphrase", "db_pass", "secret_id", "client_secret",
    ],
)  # fmt: skip
def test_option_is_secret_by_name(name: str, redactor: Redactor) -> None:
    assert redactor.option(name, "s3kr1t-value") == digest("s3kr1t-value")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rbd_secret_uuid", "457eb676-33da-42ec-9a8c-9293d545c337"),
        ("inject_password", "false"), ("inject_key", "0"), ("inject_partition", "-2"),
        ("service_token_roles", "service"), ("service_token_roles_required", "true"),
        ("send_service_user_token", "true"), ("key_file", "/etc/ssl/private/x.key"), ("keyring", "/etc/ceph/k"),
        ("ssl_key", "/etc/ssl/key.pem"), ("client_key", "/etc/pki/libvirt/private/clientkey.pem"),
        ("rbd_keyring_conf", "/etc/ceph/ceph.client.x.keyring"), ("auth_type", "password"),
        ("token_cache_time", "300"), ("key_manager", "barbican"), ("password", ""),
        ("live_migration_uri", "qemu+ssh://nova@%s/system"), ("novncproxy_base_url", "http://10.0.0.1:6080/vnc.html"),
        ("api_servers", "http://[fd00::1]:9292,http://10.0.0.2:9292"), ("methods", "password,token"),
        ("enabled_backends", "rbd:rbd,file:file"), ("allowed_origin", "https://a@b"), ("host", "cinder@ceph#pool"),
        ("disk_cachemodes", "network=writeback"), ("secret_file", "/etc/x"),
    ],
)  # fmt: skip
def test_option_is_no_secret(name: str, value: str, redactor: Redactor) -> None:
    assert redactor.option(name, value) == value


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rabbit://u:{}@h1:5672,u:{}@h2:5672/v", ["pw1", "pw2"]),
        ("rabbit://u:{}@[fd00::1]:5672,u:{}@[fd00::2]/", ["pw1", "pw2"]),
        ("mysql+pymysql://glance:{}@10.0.0.1/glance?charset=utf8", ["pw"]),
        ("redis://:{}@h:6379?db=0", ["pw"]),
        ("qpid://u:{}@h", ["x"]),
        ("amqp://u:{}@h1:5672,h2:5672/", ["pw"]),
    ],
)
def test_passwords_in_urls_are_replaced_within(url: str, expected: list[str], redactor: Redactor) -> None:
    value = url.format(*expected)
    assert redactor.option("transport_url", value) == url.format(*(digest(password) for password in expected))


def test_percent_encoded_passwords_compare_equal(redactor: Redactor) -> None:
    assert redactor.text("mysql://u:p%40ss%2F1@h/db") == f"mysql://u:{digest('p@ss/1')}@h/db"


@pytest.mark.parametrize(
    "password",
    ["p@ss", "p:ss", "p/ss", "p,ss", "p ss", "p@h:1/x", "@", "://x", "p#s?s", "a@b,c@d", "a,x://y", "a x://y"],
)  # fmt: skip
def test_odd_passwords_in_urls_do_not_show(password: str, redactor: Redactor) -> None:
    told = redactor.option("connection", f"mysql+pymysql://user:zz{password}zz@db.example/name")
    assert "zz" not in told
    assert told.startswith("mysql+pymysql://user:hmac:")
    assert told.endswith("@db.example/name")


@pytest.mark.parametrize("key", [KEY, KEY_256])
def test_cephx_keys_are_replaced_anywhere(key: str, redactor: Redactor) -> None:
    for text in (f"key = {key}", f"--key={key} --id x", f'{{"key": "{key}"}}', f"x{key}", key.replace("/", "\\/")):
        assert digest(key) in redactor.text(text)
        assert key[10:30] not in redactor.text(text)


def test_a_key_that_was_encoded_twice_does_not_show(redactor: Redactor) -> None:
    twice = base64.b64encode(KEY.encode()).decode()
    assert twice[:30] not in redactor.text(f"value {twice}")


@pytest.mark.parametrize(
    "text",
    [
        "mysql:///db?user=u&password=CANARYpw&x=y", "auth failed: password='CANARYpw'", 'password: "CANARYpw"',
        "--auth-token=CANARYpw", "db_password=CANARYpw;host=h", "{'password': 'CANARYpw'}",
        "error setting modifier for [client.a] type=key val=CANARYpw: Malformed input",
        "-----BEGIN RSA PRIVATE KEY-----\nCANARYpw\n-----END RSA PRIVATE KEY-----",
        "X gAAAAABCANARYpwCANARYpwCANARYpw y",
    ],
)  # fmt: skip
def test_secrets_in_texts_do_not_show(text: str, redactor: Redactor) -> None:
    assert "CANARY" not in redactor.text(text)


def test_a_secret_seen_once_shows_nowhere(redactor: Redactor) -> None:
    redactor.option("password", "Zebra-4711")
    assert redactor.everything({"a": ["tool said Zebra-4711 is wrong"]}) == {
        "a": [f"tool said {digest('Zebra-4711')} is wrong"]
    }


def test_a_name_used_as_password_stays_a_name() -> None:
    redactor = Redactor(SALT, words='["compute1"]')
    redactor.option("password", "compute1")
    redactor.option("password", "cinder")
    assert redactor.everything(["compute1", "cinder"]) == ["compute1", "cinder"]


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_redaction_never_fails_and_settles(text: str) -> None:
    redactor = Redactor(SALT)
    once = redactor.text(text)
    assert redactor.text(once) == once


@settings(deadline=None)
@given(
    user=st.text("abc%20", max_size=5),
    password=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12),
    host=st.sampled_from(["h", "h:5672", "10.0.0.1", "[fd00::1]:1"]),
    tail=st.sampled_from(["", "/", "/v", "/db?charset=utf8"]),
)
def test_no_password_of_a_url_shows(user: str, password: str, host: str, tail: str) -> None:
    marked = f"Qq{password}Qq"
    told = Redactor(SALT).option("connection", f"rabbit://{user}:{marked}@{host}{tail}")
    assert "Qq" not in told


THINGS = st.recursive(
    st.text(max_size=10), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=5
)


@settings(deadline=None)
@given(THINGS)
def test_the_net_keeps_the_shape(thing: object) -> None:
    assert type(Redactor(SALT).everything(thing)) is type(thing)


# ceph.conf and keyrings


def options(text: str) -> dict[tuple[str, str], str]:
    return {(section, key): value for _, section, key, value in parse_ceph(text)[0]}


def test_ceph_conf_is_read_as_ceph_reads_it() -> None:
    text = (
        "# head\n[global]\nfsid=1 ; tail\n mon  host = [v2:1.2.3.4:3300] # x\nadmin socket = /run/$cluster.asok\n"
        'log file = "/a b" \nhash = a\\#b\nlong = a\\\nb\n[client.x]\n  keyring = /k\n'
    )
    assert options(text) == {
        ("global", "fsid"): "1",
        ("global", "mon_host"): "[v2:1.2.3.4:3300]",
        ("global", "admin_socket"): "/run/$cluster.asok",
        ("global", "log_file"): "/a b",
        ("global", "hash"): "a#b",
        ("global", "long"): "ab",
        ("client.x", "keyring"): "/k",
    }
    assert parse_ceph(text)[1] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[global]\n\tfsid = 1\n", "line 2: starts with a tab"),
        ("[global]\na = 1\n[x]\nb = 1\n[global]\nc = 1\n", "line 5: section [global] again, first on line 1"),
        ("[global]\nnonsense\n", "line 2: not an option"),
        ("[global\na = 1\n", "line 1: a section that does not end"),
        ('[global]\na = "b # c"\n', "line 2: a quoted value that does not end"),
        ("[global]\na = 1", "line 2: no line end at the end"),
        ("a = 1\n[global]\nb = 1\n", "line 1: an option before any section"),
    ],
)
def test_ceph_conf_problems_are_told_with_their_line(text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in parse_ceph(text)[1])


@settings(deadline=None)
@given(st.text(st.sampled_from("[]=#;\"'\\ \t\nab$é"), max_size=80))
def test_ceph_conf_reader_never_fails(text: str) -> None:
    entries, problems = parse_ceph(text)
    assert all(re.match(r"line \d+: ", problem) for problem in problems)
    assert all(line <= text.count("\n") + 1 for line, *_ in entries)


def test_keyrings_that_ceph_conf_names_are_looked_at(tmp_path: Path, redactor: Redactor) -> None:
    conf = tmp_path / "ceph.conf"
    text = "[client]\nkeyring = /etc/$name\n[client.a]\nkeyring = /x\nlog file = /y\n[client.b]\nkeyring = /x\n"
    conf.write_text(text)
    assert named_keyrings(ini_fact(str(conf), redactor)) == ["/x"]
    assert named_keyrings({"unreadable": "it"}) == []


def test_keyring_gives_entities_and_problems() -> None:
    text = f'[client.a]\n\tkey = {KEY}\n\tcaps mon = "allow r"\n[client.b]\nkey={KEY_256}\n'
    keys, problems = parse_keyring(text)
    assert keys == {"client.a": KEY, "client.b": KEY_256}
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no entity with a key"),
        (f"[client.a]\nkey = {KEY[:-6]}\n", "not base64|truncated"),
        ("[client.a]\nkey = ????\n", "not base64"),
        (f"[global]\nkey = {KEY}\n", "no entity"),
    ],
)
def test_keyring_problems_hold_no_key(text: str, problem: str) -> None:
    problems = parse_keyring(text)[1]
    assert re.search(problem, " ".join(problems))
    assert KEY[:10] not in " ".join(problems)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_a_hostile_keyring_is_a_problem_not_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("k") / "keyring"
    path.write_bytes(data)
    told = guarded(lambda: keyring_fact(str(path), {}, Redactor(SALT)))
    assert "unreadable" in told or told["problems"]


# Files


def test_file_fact_follows_links(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("abc")
    (tmp_path / "f").chmod(0o640)
    (tmp_path / "l").symlink_to("f")
    told = file_fact(str(tmp_path / "l"))
    assert (told["kind"], told["mode"], told["size"]) == ("file", 0o640, 3)
    assert told["owner"] == pwd.getpwuid(os.getuid()).pw_name
    assert file_fact(str(tmp_path / "none"))["kind"] == "absent"
    assert file_fact(str(tmp_path / "f" / "x"))["kind"] == "absent"


def test_a_fifo_a_loop_and_a_giant_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "giant").open("wb") as giant:
        giant.truncate(2 << 30)
    (tmp_path / "latin").write_bytes(b"[DEFAULT]\nx = \xe9\n")
    reasons = {"fifo": "not a regular file", "loop": "symbolic", "giant": "bytes, more than", "latin": "line 2: is not"}
    for name, reason in reasons.items():
        told = guarded(lambda name=name: read_text(str(tmp_path / name)))  # type: ignore[misc]
        assert reason in told["unreadable"]
    assert "symbolic links" in guarded(lambda: file_fact(str(tmp_path / "loop")))["unreadable"]


# Services


def test_calendar_seconds_agree_with_the_clock() -> None:
    for moment in (0, 951782400, 951868800, 1709164800, 1709251200, 1795240039, 4102444800):
        there = time.gmtime(moment)
        assert calendar_seconds(time.strftime("%Y-%m-%d", there), time.strftime("%H:%M:%S", there)) == moment


def test_the_first_installed_unit_is_chosen() -> None:
    units = {
        "a.service": {"Id": "a.service", "LoadState": "not-found"},
        "b.service": {"Id": "b", "LoadState": "masked"},
    }
    assert choose_unit(["a.service", "b.service"], units)["Id"] == "b"
    assert choose_unit(["a.service"], units)["Id"] == "a.service"


def test_named_sources_keep_their_order() -> None:
    words = ["--config-dir", "/d", "--config-file=/a", "--debug", "--config-file", "/b", "--config-file"]
    assert list(named_sources(words)) == [("dir", "/d"), ("file", "/a"), ("file", "/b")]


INIT_SCRIPT = """#!/bin/sh
PROJECT_NAME=nova
NAME=${PROJECT_NAME}-compute
DAEMON_ARGS=""
if [ -f 'HERE/nova-compute.conf' ] ; then
\tDAEMON_ARGS="--config-file=HERE/nova-compute.conf"
fi
# The content after this line comes from openstack-pkg-tools
DAEMON_ARGS="--config-file=never"
"""


def test_debian_init_scripts_are_understood_unexecuted(tmp_path: Path) -> None:
    script = tmp_path / "nova-compute"
    script.write_text(INIT_SCRIPT.replace("HERE", str(tmp_path)))
    head = ["/usr/bin/nova-compute", "--config-file=/etc/nova/nova.conf"]
    assert init_words(str(script)) == head
    (tmp_path / "nova-compute.conf").write_text("")
    assert init_words(str(script)) == [*head, f"--config-file={tmp_path}/nova-compute.conf"]


def test_uwsgi_hands_on_what_its_ini_says(tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text("[uwsgi]\npyargv = --config-file /a --config-dir /d\n")
    assert uwsgi_words(["--ini", str(tmp_path / "u.ini")]) == ["--config-file", "/a", "--config-dir", "/d"]
    assert uwsgi_words(["--pyargv", "--config-file=/b"]) == ["--config-file=/b"]


def test_environment_options_are_entries() -> None:
    env = {"OS_DEFAULT__DEBUG": "true", "OS_KEYSTONE_AUTHTOKEN__PASSWORD": "abc", "OS_USERNAME": "x", "PATH": "/"}
    told = list(environment_entries(env, Redactor(SALT)))
    assert [(entry["section"], entry["key"], entry["value"]) for entry in told] == [
        ("DEFAULT", "debug", "true"),
        ("keystone_authtoken", "password", digest("abc")),
    ]


def test_a_file_the_service_could_not_start_with_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("[DEFAULT]\nCANARY without an equals sign\n")
    sources = Sources({"config": [str(tmp_path / "a.conf")]}, Launch([], {}, "/"))
    told = service_entries(sources, {}, Redactor(SALT))
    assert told["unreadable"].startswith(f"{tmp_path}/a.conf: line 2: neither = nor :")
    assert "CANARY" not in told["unreadable"]


def test_sockets_are_decoded() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0100007F:1F91 00000000:0000 01 0\n"
    )
    assert list(parse_sockets(table, socket.AF_INET)) == [("127.0.0.1", 8080)]
    six = "head\n   0: 0000000000000000FFFF00000100007F:0016 x 0A\n"
    assert list(parse_sockets(six, socket.AF_INET6)) == [("::ffff:127.0.0.1", 22)]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("10.0.0.1,10.0.0.2;10.0.0.3 10.0.0.4:6789", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        ("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [v2:10.0.0.2:3300]", ["10.0.0.1", "10.0.0.2"]),
        ("[v2:[fd00::1]:3300/0,v1:[fd00::1]:6789/0], [FD00::2]:6789, [fd00::3], fd00::4",
         ["fd00::1", "fd00::2", "fd00::3", "fd00::4"]),
        ("[10.0.0.1:3300]\tv1:10.0.0.2:6789/0", ["10.0.0.1", "10.0.0.2"]),
        ("mon-1, mon2.example:6789 [v2:mon3:3300,v1:mon3:6789]", ["mon-1", "mon2.example", "mon3"]),
        ("", []), (" , ;", []),
    ],
)  # fmt: skip
def test_hosts_of_mon_host_in_all_its_forms(text: str, hosts: list[str]) -> None:
    assert mon_hosts(text) == hosts


@given(st.text(st.sampled_from("[]:,; v12/afmon.0"), max_size=40))
def test_no_mon_host_breaks_its_reader(text: str) -> None:
    assert all(host and not set(host) & set("[],; ") for host in mon_hosts(text))


def test_clients_read_their_own_section_first() -> None:
    entries = parse_ceph("[client]\nmon_host = a\n[global]\nmon_host = b\n")[0]
    assert client_option(entries, "mon_host") == "a"
    assert client_option(entries[1:], "mon_host") == "b"
    assert client_option([], "mon_host") == ""


def test_a_name_has_the_addresses_that_the_host_gives_it() -> None:
    assert "127.0.0.1" in addresses_of("localhost")
    assert addresses_of("[FD00::0001]") == ["fd00::1"]
    for name, reason in (("no.such.invalid", "does not resolve"), ("$my_ip", "set nowhere")):
        assert reason in guarded(lambda name=name: addresses_of(name))["unreadable"]  # type: ignore[misc]


FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
        |-- 10.0.0.7
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
"""


def test_without_ip_the_kernel_tells_the_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/fib_trie").write_text(FIB)
    (tmp_path / "net/if_inet6").write_text("00000000000000000000000000000001 01 80 10 80       lo\n")
    monkeypatch.setattr(network, "PROC", str(tmp_path))
    assert own_addresses(Tools("", 1)) == ["10.0.0.7", "::1"]


def test_the_kernel_and_ip_agree_on_this_machine() -> None:
    told = own_addresses(Tools(os.environ["PATH"] + ":" + TOOL_PATH, 5))
    assert {address.partition("%")[0] for address in kernel_addresses()} == set(told)


# Logs

START = time.mktime((2026, 11, 21, 6, 0, 0, 0, 0, -1))
CONTEXT = "[None req-1 user project - - default default] "


def logged(clock: str, level: str, message: str, logger: str = "glance.x", context: str = CONTEXT) -> str:
    return f"2026-11-21 {clock}.123 17 {level} {logger} {context}{message}"


LOG = [
    logged("05:59:59", "ERROR", "before the start"),
    logged("06:00:01", "INFO", "an ERROR is but a word here"),
    logged("06:00:02", "ERROR", f"Failed with {KEY}: rbd.PermissionError: no"),
    logged("06:00:02", "ERROR", "Traceback (most recent call last):", context=""),
    logged("06:00:02", "ERROR", "  File x", context=""),
    logged("06:00:02", "ERROR", "rbd.PermissionError: no", context=""),
    logged("06:00:02", "ERROR", "", context=""),
    logged("06:00:02", "ERROR", "another at the same time"),
    logged("06:00:03", "TRACE", "old releases mark tracebacks so", context=""),
    "no line of oslo.log ERROR",
    logged("06:00:04", "CRITICAL", "Unhandled error: " + "x" * 400, "root", "[-] "),
    logged("06:00:04", "CRITICAL", "OSError: end of it", "root", ""),
]


def told_of(path: Path) -> Any:
    services = {"s": {"errors": file_errors(str(path), START)}, "t": {"unreadable": "x"}}
    services = Redactor(SALT).everything(services)
    shortened(services)
    return services["s"]["errors"]


def test_errors_since_the_start_are_told_once_each(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(LOG) + "\n")
    told = told_of(log)
    assert (told["source"], told["since"]) == (str(log), START)
    assert told["loggers"]["glance.x"] == {
        "count": 2,
        "last": [
            f"2026-11-21 06:00:02 Failed with {digest(KEY)}: rbd.PermissionError: no",
            "2026-11-21 06:00:02 another at the same time",
        ],
    }
    (last,) = told["loggers"]["root"]["last"]
    assert len(last) < 300
    assert last.endswith("xxx: OSError: end of it")


def test_a_long_log_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_LIMIT", 1000)
    log = tmp_path / "x.log"
    log.write_text("".join(logged(f"06:{n // 60:02}:{n % 60:02}", "ERROR", f"{n}") + "\n" for n in range(600)))
    told = told_of(log)
    assert told["since"] > START + 500
    assert told["loggers"]["glance.x"]["count"] < 12
    assert [line.split()[-1] for line in told["loggers"]["glance.x"]["last"]] == ["597", "598", "599"]


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "odd.log").write_text("[pid: 1] GET /\n")
    (tmp_path / "empty.log").write_text("")
    os.mkfifo(tmp_path / "fifo.log")
    for name, reason in (("odd", "in the form of oslo.log"), ("fifo", "not a regular file"), ("none", "No such file")):
        told = guarded(lambda name=name: told_of(tmp_path / f"{name}.log"))  # type: ignore[misc]
        assert reason in told["unreadable"]
    assert told_of(tmp_path / "empty.log")["loggers"] == {}


def test_a_secret_cut_in_two_does_not_show(tmp_path: Path) -> None:
    redactor = Redactor(SALT)
    redactor.option("password", "Zebra-4711-Zebra-4711")
    (tmp_path / "x.log").write_text(logged("06:00:01", "ERROR", "y" * 265 + " Zebra-4711-Zebra-4711"))
    services = redactor.everything({"s": {"errors": file_errors(str(tmp_path / "x.log"), START)}})
    shortened(services)
    assert "Zebra" not in json.dumps(services)


def test_the_journal_serves_where_there_is_no_file(tmp_path: Path) -> None:
    def row(message: object, **more: object) -> str:
        return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": str(int((START + 5) * 1e6)), **more})

    rows = [
        row(logged("06:00:05", "ERROR", "printed")), row("Started it."), row([1, 2]), row(None),
        row("given\nTraceback\nOSError: x", LOGGER_NAME="glance.y", PRIORITY="3"),
        row("harmless", LOGGER_NAME="glance.y", PRIORITY="6"),
    ]  # fmt: skip
    (tmp_path / "rows").write_text("\n".join(rows) + "\n")
    (tmp_path / "journalctl").write_text(f"#!/bin/sh\ncat {tmp_path}/rows\n")
    (tmp_path / "journalctl").chmod(0o755)
    tools = Tools(f"{tmp_path}:{os.environ['PATH']}", 5)
    told = journal_errors("glance-api.service", START, tools)
    assert {name: logger["count"] for name, logger in told["loggers"].items()} == {"glance.x": 1, "glance.y": 1}
    assert told["loggers"]["glance.y"]["last"][0][1:] == ["given", "OSError: x"]
    (tmp_path / "rows").write_text(row("Started it.") + "\n")
    with pytest.raises(StepFailed, match="no log file"):
        journal_errors("glance-api.service", START, tools)


@pytest.mark.parametrize(
    ("argv", "options", "name"),
    [
        (["/usr/bin/p", "--log-file=HERE/b.log"], {"log_dir": "/x"}, "b.log"),
        (["/usr/bin/p", "--log-dir", "HERE"], {"log_file": "b.log"}, "b.log"),
        (["/usr/bin/p"], {"log_dir": "HERE"}, "p.log"),
        (["/usr/bin/p"], {"logfile": "HERE/b.log"}, "b.log"),
        (["/usr/bin/uwsgi"], {"log_dir": "$base", "base": "HERE"}, "p-wsgi.log"),
        (["/usr/bin/p"], {}, ""),
        (["/usr/bin/p"], {"log_file": "HERE/none.log"}, ""),
    ],
)
def test_a_log_is_where_oslo_puts_it(tmp_path: Path, argv: list[str], options: dict[str, str], name: str) -> None:
    here = str(tmp_path)
    for file in ("b.log", "p.log", "p-wsgi.log"):
        (tmp_path / file).write_text("")
    launch = Launch([word.replace("HERE", here) for word in argv], {}, "/")
    role = {"config": [here], "project": "none", "prog": "p", "executables": ["p", "p-wsgi"]}
    entries = [{"section": "DEFAULT", "key": key, "value": text.replace("HERE", here)} for key, text in options.items()]
    log = Log(role, Sources(role, launch), Options(entries))
    assert log.path(0) == (f"{here}/{name}" if name else "")


def test_options_that_refer_in_a_circle_end() -> None:
    entries = [{"section": "DEFAULT", "key": key, "value": text} for key, text in (("a", "${b}"), ("b", "$a/x"))]
    assert "$" in Options(entries).get("DEFAULT", "a")


def test_folders_are_counted_and_absent_ones_are_empty(tmp_path: Path) -> None:
    found = folder_fact(str(tmp_path / "none" / "none"))
    assert (found["path"], found["files"], found["size"]) == (str(tmp_path / "none" / "none"), 0, 0)
    assert found["free"] > 0
    assert "set nowhere" in guarded(lambda: folder_fact("$state_path/cache"))["unreadable"]


# libvirt


@pytest.mark.parametrize(
    ("files", "modular", "auth"),
    [
        ({}, False, "sasl"),
        ({"libvirtd": '#auth_tcp = "none"\n'}, False, "sasl"),
        ({"libvirtd": 'auth_tcp="sasl"\n  auth_tcp = "none" # open\n', "virtproxyd": ""}, False, "none"),
        ({"libvirtd": 'auth_tcp = "none"\n', "virtproxyd": "auth_tcp = 'sasl'\n"}, True, "sasl"),
    ],
)
def test_who_listens_for_tcp_says_how_to_prove_oneself(
    tmp_path: Path, files: dict[str, str], modular: bool, auth: str
) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.conf").write_text(text)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho ActiveState={'active' if modular else 'inactive'}\n")
    (tmp_path / "systemctl").chmod(0o755)
    tools = Tools(f"{tmp_path}:{os.environ['PATH']}", 5)
    wanted = {"transport": "tcp", "conf_dir": str(tmp_path)}
    assert Libvirt(wanted, tools, Redactor(SALT)).tcp_auth() == auth


@pytest.mark.parametrize(
    ("error", "found"),
    [("error: failed to get domain 'b'", 1), ("error: Domain not found: no domain", 1), ("error: cannot lock", None)],
)
def test_a_domain_that_ended_meanwhile_has_no_disks(tmp_path: Path, error: str, found: int | None) -> None:
    xml = '<domain><devices><disk device="cdrom"><source file="/x"/></disk></devices></domain>'
    (tmp_path / "virsh").write_text(
        f"#!/bin/sh\nm=${{4#echo }}; m=${{m%%;*}}\necho $m; echo '{xml}'; echo $m; echo \"{error}\" >&2\n"
    )
    (tmp_path / "virsh").chmod(0o755)
    libvirt = Libvirt({}, Tools(f"{tmp_path}:{os.environ['PATH']}", 5), Redactor(SALT))
    if found is None:
        with pytest.raises(StepFailed, match="cannot lock"):
            libvirt.domains(["a", "b"])
    else:
        assert [disk["source"] for domain in libvirt.domains(["a", "b"]) for disk in domain["disks"]] == ["/x"]


OPENED = "qemu-img: Could not open 'rbd:none/none:conf=/nonexistent/ceph.conf': "


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (f"{OPENED}error reading conf file /nonexistent/ceph.conf: No such file or directory", True),
        # QEMU 7.2 and 10.0 without the package
        (
            "qemu: module block-block-rbd not found, do you want to install qemu-block-extra package?\n"
            f"{OPENED}Unknown protocol 'rbd'",
            False,
        ),
        (
            "qemu-img: Unable to load module rbd. Perhaps you want to install qemu-block-extra or "
            f"qemu-block-supplemental package?\n{OPENED}Must specify either driver or file",
            False,
        ),
        ("", None),
        ("Segmentation fault", None),
    ],
)
def test_qemu_has_the_driver_that_looks_for_its_configuration(tmp_path: Path, told: str, found: bool | None) -> None:
    (tmp_path / "said").write_text(told)
    (tmp_path / "qemu-img").write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2; exit 1\n")
    (tmp_path / "qemu-img").chmod(0o755)
    libvirt = Libvirt({}, Tools(f"{tmp_path}:{os.environ['PATH']}", 5), Redactor(SALT))
    if found is None:
        with pytest.raises(StepFailed, match="qemu-img info"):
            libvirt.rbd_driver()
    else:
        assert libvirt.rbd_driver() is found


# Steps


def test_a_step_that_fails_says_why_and_one_that_hangs_is_left() -> None:
    def fails() -> None:
        raise StepFailed("no virsh")

    assert Step(fails).value(1) == {"unreadable": "no virsh"}
    assert "no answer within" in Step(lambda: time.sleep(5)).value(0.05)["unreadable"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_failure_costs_its_step_only() -> None:
    def breaks() -> None:
        raise TypeError("CANARY")

    assert Step(breaks).value(1) == {"unreadable": "unforeseen TypeError"}


def test_tools_end_in_time() -> None:
    tools = Tools(os.environ["PATH"], 0.2)
    start = time.monotonic()
    with pytest.raises(StepFailed, match=r"sh: no answer within 0.2 s"):
        tools.run(["sh", "-c", "sleep 30 & sleep 30"])
    assert time.monotonic() - start < 5
    with pytest.raises(StepFailed, match="not-a-tool: is not installed"):
        tools.run(["not-a-tool"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another account")
def test_reading_is_tried_as_the_account(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    for parent in tmp_path.parents:
        if parent.is_relative_to("/tmp/pytest-of-root"):
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    (tmp_path / "open").write_text("")
    (tmp_path / "closed").write_text("")
    (tmp_path / "closed").chmod(0o600)
    paths = [str(tmp_path / name) for name in ("open", "closed", "none")]
    assert list(readable_as("nobody", paths).values()) == [True, False, None]
    assert readable_as("no-such-account", paths) == dict.fromkeys(paths)


# The whole


class Tree:
    """A host's files and tools, with a secret planted in every kind of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.canaries: list[str] = []
        self._number = 0
        for folder in ("bin", "ceph", "etc", "secrets", "d"):
            (root / folder).mkdir()
        self._configs()
        self._ceph()
        self._tools()

    def canary(self) -> str:
        self._number += 1
        self.canaries.append(f"CaNaRy{self._number:03d}x")
        return self.canaries[-1]

    def key(self) -> str:
        raw = struct.pack("<HIIH", 1, 1700000000 + len(self.canaries), 5, 16) + os.urandom(16)
        self.canaries += [base64.b64encode(raw).decode()]
        return self.canaries[-1]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        (self.root / path).write_text(text)
        (self.root / path).chmod(mode)

    def tool(self, name: str, script: str) -> None:
        self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def _configs(self) -> None:
        self.write("etc/nova.conf", f"""# comment with {self.canary()} and {self.key()}
[DEFAULT]
transport_url = rabbit://openstack:{self.canary()}@h1:5672,openstack:{self.canary()}@h2:5672/
multi = a
  continued mysql://u:{self.canary()}@h/x
odd = key {self.key()} here
[database]
connection = mysql+pymysql://nova:{self.canary()}@p@ss/w:{self.canary()}@h/nova?password={self.canary()}
[keystone_authtoken]
password = {self.canary()}
admin_token = "{self.canary()}"
memcache_secret_key = {self.canary()}
[neutron]
metadata_proxy_shared_secret = {self.canary()}
password =
  {self.canary()}
[vendor_defaults]
x_api_key = {self.canary()}
cert = -----BEGIN PRIVATE KEY-----
  {self.canary()}
  -----END PRIVATE KEY-----
""")  # fmt: skip
        self.write(
            "d/10.conf",
            f"[libvirt]\nrbd_user = cinder\nkey = {self.key()}\nlive_migration_inbound_addr = $my_ip\n"
            f"[DEFAULT]\nmy_ip = 10.0.0.7\ncache_dir = {self.root}/cache\n",
        )
        for name, text in (("cache/a", "abc"), ("cache/queue/b", ""), ("cache/cache.db-journal", "x")):
            (self.root / name).parent.mkdir(exist_ok=True)
            self.write(name, text)
        self.write("etc/broken.conf", f"[DEFAULT]\npassword {self.canary()}\n")

    def _ceph(self) -> None:
        head = f"# {self.key()}\n[global]\nfsid = 1\nmon host = 127.0.0.1:6789\n"
        self.write("ceph/ceph.conf", f"{head}[client.a]\nkey = {self.key()}\n{self.canary()}\n")
        self.write("ceph/ceph.client.glance.keyring", f"[client.glance]\n\tkey = {self.key()}\n", 0o640)
        self.write("ceph/ceph.client.cinder.keyring", f"[client.cinder\n key = {self.key()}\n {self.key()}\n")

    def _tools(self) -> None:
        uuid = "457eb676-33da-42ec-9a8c-9293d545c337"
        private = "557eb676-33da-42ec-9a8c-9293d545c337"
        key, told = self.key(), self.key()
        self.write(f"secrets/{private}.base64", self.key())
        self.tool("systemctl", f"""case "$1" in show) shift; for u in "$@"; do case $u in *.service)
            printf 'Id=%s\\nLoadState=loaded\\nActiveState=failed\\nSubState=dead\\n' $u
            printf 'UnitFileState=enabled\\nMainPID=0\\n'
            printf 'Environment=OS_DATABASE__CONNECTION=mysql://u:{self.canary()}@h/d CEPH_ARGS="--key={self.key()}"\\n'
            printf 'ExecStart={{ path=/x ; argv[]=/usr/bin/nova-compute --password={self.canary()} ; ignore_errors=no'
            printf ' ; }}\\n\\n'
            ;; esac; done;; esac""")  # fmt: skip
        self.tool("virsh", f"""case "$*" in
            *capabilities*) echo '<version>@@Using library: libvirt 9.0.0
Running hypervisor: QEMU 7.2.22'; echo '<hostname>@@h'; echo '<secret-list>@@ {uuid} ceph x'; echo ' {private} ceph y'
            echo '<capabilities>@@<cpu><model>kvm64</model><vendor>AMD</vendor></cpu>'; echo '<list --uuid>@@ 77';;
            *dumpxml?77*) m=${{4#echo }}; echo "${{m%%;*}}"
            echo '<domain><name>i-1 @@@x@@</name><uuid>77</uuid><title>{key}</title><devices><disk type="network">'
            echo '<source protocol="rbd" name="vms/77_disk"><host name="fd00::1" port="6789"/></source>'
            echo '<backingStore><source name="no"/></backingStore><driver cache="none"/><target dev="vda"/><shareable/>'
            echo '<auth username="cinder"><secret uuid="{uuid}"/></auth></disk></devices></domain>';;
            *{uuid}*) echo "<secret ephemeral='no' private='no'><usage type='ceph'><name>client.x {self.key()}"
            echo '</name></usage></secret>@@@'{key}; echo 'warning {told}' >&2;;
            *{private}*) echo "<secret ephemeral='no' private='yes'/>@@@"; echo 'error: {self.key()}' >&2;;
            *hostname*) echo "error: password={self.canary()} {self.key()}" >&2; exit 1;; esac""")  # fmt: skip
        self.tool("ip", """echo '[{"addr_info":[{"local":"10.0.0.1"}]},{"addr_info":[{"local":"fe80::1"}]}]'""")
        self.tool("qemu-img", f"echo 'Unknown protocol {self.key()}' >&2")
        self.tool("dpkg-query", f"echo 'dpkg: {self.key()}' >&2; exit 2")
        self.tool("python3", f"echo 'mysql://u:{self.canary()}@h {self.key()}' >&2; exit 1")

    def request(self) -> dict[str, Any]:
        role = {
            "units": ["nova-compute"], "account": "nobody", "project": "nova", "executables": [], "log": True,
            "folders": {"cache_dir": "/none"}, "addresses": ["libvirt.live_migration_inbound_addr"],
        }  # fmt: skip
        broken = dict(role, config=[f"{self.root}/etc/broken.conf"])
        working = dict(role, config=[f"{self.root}/etc/nova.conf", f"{self.root}/d"], modules=True)
        return {
            "nonce": "n", "salt": base64.b64encode(SALT).decode(), "deadline": 20, "step": 10,
            "conf": f"{self.root}/ceph/ceph.conf",
            "roles": {"nova-compute": working, "cinder-volume": broken},
            "keyrings": [f"{self.root}/ceph/ceph.client.{name}.keyring" for name in ("glance", "cinder", "none")],
            "accounts": ["nobody", "root"],
            "logins": [{"user": "glance", "account": "root", "role": "nova-compute"}],
            "libvirt": {"transport": "tcp", "peers": {"other": ["127.0.0.1"]}, "secret_dir": f"{self.root}/secrets"},
            "files": [str(self.root)],
        }  # fmt: skip

    def collect(self, python: str = sys.executable) -> subprocess.CompletedProcess[bytes]:
        env = {"PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        return run(python, self.request(), env)


def run(python: str, request: dict[str, Any], env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [python, "-I", "-S", "-B", "-"]
    return subprocess.run(command, input=parcel(request), capture_output=True, env=env, timeout=60, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize("python", [sys.executable, *PYTHONS])
def test_no_canary_leaves_the_host(tree: Tree, python: str) -> None:
    ran = tree.collect(python)
    assert ran.returncode == 0, ran.stderr
    output = ran.stdout + ran.stderr
    leaked = [canary for canary in tree.canaries if canary.encode() in output or canary[4:24].encode() in output]
    assert not leaked
    facts = decode("h", "n", ran.stdout, 0, "")
    assert facts.libvirt is not None
    assert "unforeseen" not in ran.stdout.decode()
    told = Unreadable(unreadable="not asked")
    stored = save_facts(Facts(observed_at=0, hosts={"h": facts}, ceph_cluster=told, apis=told), tree.root / "stored")
    assert not [canary for canary in tree.canaries if canary in stored.read_text()]


def told_by(tree: Tree) -> HostFacts:
    ran = tree.collect()
    return decode("h", "n", ran.stdout, ran.returncode, ran.stderr.decode())


def test_the_whole_answer_is_typed(tree: Tree) -> None:
    facts = json.loads(told_by(tree).model_dump_json())
    assert facts["ceph_conf"]["problems"] == ["line 7: not an option: no name before ="]
    assert facts["services"]["cinder-volume"]["entries"]["unreadable"].endswith("cannot start with this file")
    assert {entry["section"] for entry in facts["services"]["nova-compute"]["entries"]} >= {"libvirt", "database"}
    assert facts["services"]["nova-compute"]["unit"]["active"] == "failed"
    assert facts["packages"]["unreadable"].startswith("dpkg-query: exit code 2: dpkg: hmac:")
    assert facts["modules"]["nova-compute"]["unreadable"].startswith(f"{tree.root}/bin/python3: exit code 1")
    assert facts["libvirt"]["rbd_block_driver"] is False
    assert (facts["libvirt"]["cpu_model"], facts["libvirt"]["cpu_vendor"]) == ("kvm64", "AMD")
    (disk,) = facts["libvirt"]["disks"]
    assert (disk["domain"], disk["source"], disk["cache"]) == ("i-1 @@@x@@", "vms/77_disk", "none")
    assert (disk["shareable"], disk["user"], disk["hosts"]) == (True, "cinder", ["[fd00::1]:6789"])
    assert facts["addresses"] == ["10.0.0.1", "fe80::1"]
    assert facts["mon_hosts"] == {"127.0.0.1": ["127.0.0.1"]}
    assert facts["services"]["nova-compute"]["addresses"] == {"libvirt.live_migration_inbound_addr": ["10.0.0.7"]}
    cache = facts["services"]["nova-compute"]["folders"]["cache_dir"]
    assert (cache["path"], cache["files"], cache["size"]) == (f"{tree.root}/cache", 1, 3)
    assert facts["services"]["nova-compute"]["errors"] is None
    peer = facts["libvirt"]["peers"]["other"]["unreadable"]
    assert peer.startswith("qemu+tcp://127.0.0.1/system: error: password=hmac:")
    assert facts["logins"][0]["error"].startswith("exit code 1")
    assert facts["files"][str(tree.root)]["kind"] == "dir"


def test_a_private_secret_is_read_from_its_file_or_not_at_all(tmp_path: Path) -> None:
    libvirt = Libvirt({"secret_dir": str(tmp_path)}, Tools("", 1), Redactor(SALT))
    (tmp_path / "u.base64").write_text(KEY)
    assert libvirt._kept("u", ephemeral=False) == digest(KEY)
    assert libvirt._kept("none", ephemeral=False) is None
    assert "memory only" in libvirt._kept("u", ephemeral=True)["unreadable"]


def test_a_key_has_one_digest_wherever_it_stands(tree: Tree) -> None:
    key = tree.key()
    tree.write("ceph/ceph.client.glance.keyring", f"[client.glance]\nkey = {key}\n")
    tree.write("secrets/557eb676-33da-42ec-9a8c-9293d545c337.base64", key + "\n")
    facts = told_by(tree)
    keyring = json.loads(facts.model_dump_json())["keyrings"][f"{tree.root}/ceph/ceph.client.glance.keyring"]
    secrets = {secret["uuid"]: secret for secret in json.loads(facts.model_dump_json())["libvirt"]["secrets"]}
    assert keyring["keys"]["client.glance"] == digest(key)
    assert secrets["557eb676-33da-42ec-9a8c-9293d545c337"]["value"] == digest(key)


def test_a_hanging_tool_costs_its_fact_only(tree: Tree) -> None:
    tree.tool("virsh", "sleep 60")
    request = dict(tree.request(), deadline=2, step=1)
    env = {"PATH": f"{tree.root}/bin:{os.environ['PATH']}"}
    start = time.monotonic()
    ran = run(sys.executable, request, env)
    assert time.monotonic() - start < 8
    facts = json.loads(decode("h", "n", ran.stdout, 0, "").model_dump_json())
    assert facts["libvirt"]["unreadable"] == "virsh: no answer within 1 s"
    assert facts["services"]["nova-compute"]["unit"]["active"] == "failed"


def test_cephs_log_is_told_once_without_noise() -> None:
    log = (
        "2026-11-21T06:07:12.782+0000 7fbf19ab86c0 -1 auth: unable to find a keyring on /k: (2) No such file\n"
        "2026-11-21T06:07:12.783+0000 7fbf19ab86c0 -1 AuthRegistry(0x36e784a8) no keyring found\n"
        "2026-11-21T06:07:12.784+0000 7fbf25462040 -1 AuthRegistry(0x7ffc1ea89950) no keyring found\n"
    )
    assert log_messages(log) == [
        "auth: unable to find a keyring on /k: (2) No such file",
        "AuthRegistry no keyring found",
    ]


def test_without_rights_a_login_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    wanted = {"user": "x", "account": "root"}
    login = LoginTry(wanted, sys.executable, "/c", Tools(os.environ["PATH"], 1))
    with pytest.raises(NoRights, match="needs root to act as root"):
        login.read()
