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

from fixtures.facts.host import HostFacts
from fixtures.observe import collector
from fixtures.observe.host import decode, program

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
def redactor() -> collector.Redactor:
    return collector.Redactor(SALT)


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
def test_option_is_secret_by_name(name: str, redactor: collector.Redactor) -> None:
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
def test_option_is_no_secret(name: str, value: str, redactor: collector.Redactor) -> None:
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
def test_passwords_in_urls_are_replaced_within(url: str, expected: list[str], redactor: collector.Redactor) -> None:
    value = url.format(*expected)
    assert redactor.option("transport_url", value) == url.format(*(digest(password) for password in expected))


def test_percent_encoded_passwords_compare_equal(redactor: collector.Redactor) -> None:
    assert redactor.text("mysql://u:p%40ss%2F1@h/db") == f"mysql://u:{digest('p@ss/1')}@h/db"


@pytest.mark.parametrize(
    "password",
    ["p@ss", "p:ss", "p/ss", "p,ss", "p ss", "p@h:1/x", "@", "://x", "p#s?s", "a@b,c@d", "a,x://y", "a x://y"],
)  # fmt: skip
def test_odd_passwords_in_urls_do_not_show(password: str, redactor: collector.Redactor) -> None:
    told = redactor.option("connection", f"mysql+pymysql://user:zz{password}zz@db.example/name")
    assert "zz" not in told
    assert told.startswith("mysql+pymysql://user:hmac:")
    assert told.endswith("@db.example/name")


@pytest.mark.parametrize("key", [KEY, KEY_256])
def test_cephx_keys_are_replaced_anywhere(key: str, redactor: collector.Redactor) -> None:
    for text in (f"key = {key}", f"--key={key} --id x", f'{{"key": "{key}"}}', f"x{key}", key.replace("/", "\\/")):
        assert digest(key) in redactor.text(text)
        assert key[10:30] not in redactor.text(text)


def test_a_key_that_was_encoded_twice_does_not_show(redactor: collector.Redactor) -> None:
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
def test_secrets_in_texts_do_not_show(text: str, redactor: collector.Redactor) -> None:
    assert "CANARY" not in redactor.text(text)


def test_a_secret_seen_once_shows_nowhere(redactor: collector.Redactor) -> None:
    redactor.option("password", "Zebra-4711")
    assert redactor.everything({"a": ["tool said Zebra-4711 is wrong"]}) == {
        "a": [f"tool said {digest('Zebra-4711')} is wrong"]
    }


def test_a_name_used_as_password_stays_a_name() -> None:
    redactor = collector.Redactor(SALT, words='["compute1"]')
    redactor.option("password", "compute1")
    redactor.option("password", "cinder")
    assert redactor.everything(["compute1", "cinder"]) == ["compute1", "cinder"]


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_redaction_never_fails_and_settles(text: str) -> None:
    redactor = collector.Redactor(SALT)
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
    told = collector.Redactor(SALT).option("connection", f"rabbit://{user}:{marked}@{host}{tail}")
    assert "Qq" not in told


THINGS = st.recursive(
    st.text(max_size=10), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=5
)


@settings(deadline=None)
@given(THINGS)
def test_the_net_keeps_the_shape(thing: object) -> None:
    assert type(collector.Redactor(SALT).everything(thing)) is type(thing)


# ceph.conf and keyrings


def options(text: str) -> dict[tuple[str, str], str]:
    return {(section, key): value for _, section, key, value in collector.parse_ceph(text)[0]}


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
    assert collector.parse_ceph(text)[1] == []


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
    assert any(found.startswith(problem) for found in collector.parse_ceph(text)[1])


@settings(deadline=None)
@given(st.text(st.sampled_from("[]=#;\"'\\ \t\nab$é"), max_size=80))
def test_ceph_conf_reader_never_fails(text: str) -> None:
    entries, problems = collector.parse_ceph(text)
    assert all(re.match(r"line \d+: ", problem) for problem in problems)
    assert all(line <= text.count("\n") + 1 for line, *_ in entries)


def test_keyring_gives_entities_and_problems() -> None:
    text = f'[client.a]\n\tkey = {KEY}\n\tcaps mon = "allow r"\n[client.b]\nkey={KEY_256}\n'
    keys, problems = collector.parse_keyring(text)
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
    problems = collector.parse_keyring(text)[1]
    assert re.search(problem, " ".join(problems))
    assert KEY[:10] not in " ".join(problems)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_a_hostile_keyring_is_a_problem_not_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("k") / "keyring"
    path.write_bytes(data)
    told = collector.guarded(lambda: collector.keyring_fact(str(path), {}, collector.Redactor(SALT)))
    assert "unreadable" in told or told["problems"]


# Files


def test_file_fact_follows_links(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("abc")
    (tmp_path / "f").chmod(0o640)
    (tmp_path / "l").symlink_to("f")
    told = collector.file_fact(str(tmp_path / "l"))
    assert (told["kind"], told["mode"], told["size"]) == ("file", 0o640, 3)
    assert told["owner"] == pwd.getpwuid(os.getuid()).pw_name
    assert collector.file_fact(str(tmp_path / "none"))["kind"] == "absent"
    assert collector.file_fact(str(tmp_path / "f" / "x"))["kind"] == "absent"


def test_a_fifo_a_loop_and_a_giant_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "giant").open("wb") as giant:
        giant.truncate(2 << 30)
    (tmp_path / "latin").write_bytes(b"[DEFAULT]\nx = \xe9\n")
    reasons = {"fifo": "not a regular file", "loop": "symbolic", "giant": "bytes, more than", "latin": "line 2: is not"}
    for name, reason in reasons.items():
        told = collector.guarded(lambda name=name: collector.read_text(str(tmp_path / name)))  # type: ignore[misc]
        assert reason in told["unreadable"]
    assert "symbolic links" in collector.guarded(lambda: collector.file_fact(str(tmp_path / "loop")))["unreadable"]


# Services


def test_calendar_seconds_agree_with_the_clock() -> None:
    for moment in (0, 951782400, 951868800, 1709164800, 1709251200, 1795240039, 4102444800):
        there = time.gmtime(moment)
        assert collector.calendar_seconds(time.strftime("%Y-%m-%d", there), time.strftime("%H:%M:%S", there)) == moment


def test_the_first_installed_unit_is_chosen() -> None:
    units = {
        "a.service": {"Id": "a.service", "LoadState": "not-found"},
        "b.service": {"Id": "b", "LoadState": "masked"},
    }
    assert collector.choose_unit(["a.service", "b.service"], units)["Id"] == "b"
    assert collector.choose_unit(["a.service"], units)["Id"] == "a.service"


def test_named_sources_keep_their_order() -> None:
    words = ["--config-dir", "/d", "--config-file=/a", "--debug", "--config-file", "/b", "--config-file"]
    assert list(collector.named_sources(words)) == [("dir", "/d"), ("file", "/a"), ("file", "/b")]


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
    assert collector.init_words(str(script)) == head
    (tmp_path / "nova-compute.conf").write_text("")
    assert collector.init_words(str(script)) == [*head, f"--config-file={tmp_path}/nova-compute.conf"]


def test_uwsgi_hands_on_what_its_ini_says(tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text("[uwsgi]\npyargv = --config-file /a --config-dir /d\n")
    assert collector.uwsgi_words(["--ini", str(tmp_path / "u.ini")]) == ["--config-file", "/a", "--config-dir", "/d"]
    assert collector.uwsgi_words(["--pyargv", "--config-file=/b"]) == ["--config-file=/b"]


def test_environment_options_are_entries() -> None:
    env = {"OS_DEFAULT__DEBUG": "true", "OS_KEYSTONE_AUTHTOKEN__PASSWORD": "abc", "OS_USERNAME": "x", "PATH": "/"}
    told = list(collector.environment_entries(env, collector.Redactor(SALT)))
    assert [(entry["section"], entry["key"], entry["value"]) for entry in told] == [
        ("DEFAULT", "debug", "true"),
        ("keystone_authtoken", "password", digest("abc")),
    ]


def test_a_file_the_service_could_not_start_with_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("[DEFAULT]\nCANARY without an equals sign\n")
    sources = collector.Sources({"config": [str(tmp_path / "a.conf")]}, collector.Launch([], {}, "/"))
    told = collector.service_entries(sources, {}, collector.Redactor(SALT))
    assert told["unreadable"].startswith(f"{tmp_path}/a.conf: line 2: neither = nor :")
    assert "CANARY" not in told["unreadable"]


def test_sockets_are_decoded() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0100007F:1F91 00000000:0000 01 0\n"
    )
    assert list(collector.parse_sockets(table, socket.AF_INET)) == [("127.0.0.1", 8080)]
    six = "head\n   0: 0000000000000000FFFF00000100007F:0016 x 0A\n"
    assert list(collector.parse_sockets(six, socket.AF_INET6)) == [("::ffff:127.0.0.1", 22)]


# Steps


def test_a_step_that_fails_says_why_and_one_that_hangs_is_left() -> None:
    def fails() -> None:
        raise collector.StepFailed("no virsh")

    assert collector.Step(fails).value(1) == {"unreadable": "no virsh"}
    assert "no answer within" in collector.Step(lambda: time.sleep(5)).value(0.05)["unreadable"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_failure_costs_its_step_only() -> None:
    def breaks() -> None:
        raise TypeError("CANARY")

    assert collector.Step(breaks).value(1) == {"unreadable": "unforeseen TypeError"}


def test_tools_end_in_time() -> None:
    tools = collector.Tools(os.environ["PATH"], 0.2)
    start = time.monotonic()
    with pytest.raises(collector.StepFailed, match=r"sh: no answer within 0.2 s"):
        tools.run(["sh", "-c", "sleep 30 & sleep 30"])
    assert time.monotonic() - start < 5
    with pytest.raises(collector.StepFailed, match="not-a-tool: is not installed"):
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
    assert list(collector.readable_as("nobody", paths).values()) == [True, False, None]
    assert collector.readable_as("no-such-account", paths) == dict.fromkeys(paths)


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
        self.write("d/10.conf", f"[libvirt]\nrbd_user = cinder\nkey = {self.key()}\n")
        self.write("etc/broken.conf", f"[DEFAULT]\npassword {self.canary()}\n")

    def _ceph(self) -> None:
        text = f"# {self.key()}\n[global]\nfsid = 1\n[client.a]\nkey = {self.key()}\n{self.canary()}\n"
        self.write("ceph/ceph.conf", text)
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
            *capabilities*) echo '@@@version@@Using library: libvirt 9.0.0
Running hypervisor: QEMU 7.2.22'; echo '@@@hostname@@h'; echo '@@@secret-list@@ {uuid} ceph x'; echo ' {private} ceph y'
            echo '@@@capabilities@@<cpu><model>kvm64</model></cpu>';;
            *{uuid}*) echo "<secret ephemeral='no' private='no'><usage type='ceph'><name>client.x {self.key()}"
            echo '</name></usage></secret>@@@'{key}; echo 'warning {told}' >&2;;
            *{private}*) echo "<secret ephemeral='no' private='yes'/>@@@"; echo 'error: {self.key()}' >&2;;
            *hostname*) echo "error: password={self.canary()} {self.key()}" >&2; exit 1;; esac""")  # fmt: skip
        self.tool("qemu-img", f"echo 'Unknown protocol {self.key()}' >&2")
        self.tool("dpkg-query", f"echo 'dpkg: {self.key()}' >&2; exit 2")
        self.tool("python3", f"echo 'mysql://u:{self.canary()}@h {self.key()}' >&2; exit 1")

    def request(self) -> dict[str, Any]:
        role = {"units": ["nova-compute"], "account": "nobody", "project": "nova", "executables": []}
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
    return subprocess.run(command, input=program(request), capture_output=True, env=env, timeout=60, check=False)


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


def told_by(tree: Tree) -> HostFacts:
    ran = tree.collect()
    return decode("h", "n", ran.stdout, ran.returncode, ran.stderr.decode())


def test_the_whole_answer_is_typed(tree: Tree) -> None:
    facts = json.loads(told_by(tree).model_dump_json())
    assert facts["ceph_conf"]["problems"] == ["line 6: not an option: no name before ="]
    assert facts["services"]["cinder-volume"]["entries"]["unreadable"].endswith("cannot start with this file")
    assert {entry["section"] for entry in facts["services"]["nova-compute"]["entries"]} >= {"libvirt", "database"}
    assert facts["services"]["nova-compute"]["unit"]["active"] == "failed"
    assert facts["packages"]["unreadable"].startswith("dpkg-query: exit code 2: dpkg: hmac:")
    assert facts["modules"]["nova-compute"]["unreadable"].startswith(f"{tree.root}/bin/python3: exit code 1")
    assert facts["libvirt"]["rbd_block_driver"] is False
    peer = facts["libvirt"]["peers"]["other"]["unreadable"]
    assert peer.startswith("qemu+tcp://127.0.0.1/system: error: password=hmac:")
    assert facts["logins"][0]["error"].startswith("exit code 1")
    assert facts["files"][str(tree.root)]["kind"] == "dir"


def test_a_private_secret_is_read_from_its_file_or_not_at_all(tmp_path: Path) -> None:
    libvirt = collector.Libvirt({"secret_dir": str(tmp_path)}, collector.Tools("", 1), collector.Redactor(SALT))
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
    assert collector.log_messages(log) == [
        "auth: unable to find a keyring on /k: (2) No such file",
        "AuthRegistry no keyring found",
    ]


def test_without_rights_a_login_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    wanted = {"user": "x", "account": "root"}
    login = collector.LoginTry(wanted, sys.executable, "/c", collector.Tools(os.environ["PATH"], 1))
    with pytest.raises(collector.NoRights, match="needs root to act as root"):
        login.read()
