"""Ceph by commands of a host: real outputs (16.2.15) replayed by stand-ins for ceph, rbd and rados."""

from __future__ import annotations

import ast
import errno
import json
import os
import shlex
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.ceph import CephDenied, CephError, CephUnreachable, bulk, open_ceph, redacted
from fixtures.ceph.access import Ask, Change, failure
from fixtures.ceph.cli import CliAccess, _arguments, _command_of, _difference
from fixtures.cloud.model import CephAccess as AccessSettings
from fixtures.cloud.model import Cloud
from fixtures.digest import digest
from fixtures.facts.base import NotMeasured
from fixtures.observe.collector.redact import Redactor
from fixtures.reach import Hosts
from tests.unit.test_ceph_observe import CLOUD

DATA = Path(__file__).parent / "data/ceph"
RECORDED: dict[str, Any] = json.loads((DATA / "commands.json").read_text())
TYPED = RECORDED["typed"]
KEY = "AQBSdFhVfmCMLBAA6bXbwoSu5UcEqVlWCvpmAA=="

STAND_IN = f"""\
#!/usr/bin/python3 -IS
import base64, json, os, sys
words, skip = [os.path.basename(sys.argv[0])], False
for word in sys.argv[1:]:
    if skip or word in ("-c", "--id", "--client_mount_timeout", "--connect-timeout"):
        skip = not skip
    else:
        words.append(word)
for one in json.load(open({str(DATA / "commands.json")!r}))["commands"]:
    if one["argv"] == words:
        out = base64.b64decode(one["base64"]) if "base64" in one else one["out"].encode()
        sys.stderr.write(one.get("err", ""))
        try:
            sys.stdout.buffer.write(out)
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(32)
        sys.exit(one["rc"])
sys.exit("nothing recorded for " + " ".join(words))
"""


def _on_the_host(cloud: Cloud, **settings: Any) -> Cloud:
    access = AccessSettings(host="one", **settings)
    return cloud.model_copy(update={"ceph": cloud.ceph.model_copy(update={"access": access})})


PYTHON_WITHOUT_BINDINGS = f"""\
#!/bin/sh
case "$2" in *"import rados"*) exit 3;; esac
exec {sys.executable} "$@"
"""

PYTHON_WITH_BINDINGS = f"""\
#!{sys.executable}
import json, sys
conf, cephx_id, timeout, pool, what, magic, *names = sys.argv[3:]
if pool == "nope":
    sys.exit("[errno 2] RADOS object not found (error opening pool 'nope')")
assert (conf, cephx_id, what, magic) == ("/etc/ceph/ceph.conf", "admin", "images", "magic")
told = {{one.pop("name"): one for one in json.load(open({str(DATA / "commands.json")!r}))["typed"]["images"]}}
for one in told.values():
    del one["pool"]
print(json.dumps([told.get(name) for name in names]))
"""


def _install(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name, script in {"ceph": text, "rbd": text, "rados": text, "python3": PYTHON_WITHOUT_BINDINGS}.items():
        _put(folder / name, script)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _put(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(CLOUD) as reached:
        yield reached


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: Hosts) -> CliAccess:
    _install(tmp_path, monkeypatch, STAND_IN)
    access = open_ceph(_on_the_host(CLOUD), hosts)
    assert isinstance(access, CliAccess)
    return access


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=sorted))


def test_it_says_how_ceph_was_reached(cli: CliAccess) -> None:
    assert cli.source == "cli on one"
    assert cli.connected_in > 0
    assert cli.mon("fsid") == TYPED["fsid"]


def test_images_are_what_librbd_told(cli: CliAccess) -> None:
    found = cli.images("images", ["qcow", "nope", "base"], magic=True)
    assert [image.model_dump(mode="json") | {"features": sorted(image.features)} for image in found] == TYPED["images"]
    child = cli.image("volumes", "child")
    assert child is not None
    assert child.model_dump(mode="json") | {"features": sorted(child.features)} == TYPED["child"]
    assert child.parent == "images/base@snap"
    assert [list(cli.image_names(pool)) for pool in ("images", "volumes")] == TYPED["image_names"]


def test_the_hosts_own_bindings_save_processes(cli: CliAccess, tmp_path: Path, hosts: Hosts) -> None:
    _put(tmp_path / "python3", PYTHON_WITH_BINDINGS)
    before = hosts.round_trips
    found = cli.images("images", ["qcow", "nope", "base"], magic=True)
    assert [image.model_dump(mode="json") | {"features": sorted(image.features)} for image in found] == TYPED["images"]
    assert hosts.round_trips == before + 1
    assert cli.images("nope", ["any"], magic=True) == ()


def test_what_goes_to_hosts_is_plain_python() -> None:
    tree = ast.parse(Path(bulk.__file__).read_text(), feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    sources = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"datetime", "json", "struct", "sys", "rados", "rbd"}
    assert sources == {"concurrent.futures", "typing"}


def test_use_is_what_librbd_told(cli: CliAccess) -> None:
    assert cli.use("volumes", "child").model_dump(mode="json") == TYPED["use"]
    stored = [
        cli.stored_bytes("images", "base"),
        cli.stored_bytes("images", "qcow"),
        cli.stored_bytes("volumes", "plain"),
    ]
    assert stored == TYPED["stored"]
    assert [list(cli.children("images", "base")), list(cli.children("volumes", "child"))] == TYPED["children"]
    assert (
        _plain(
            [[entry.model_dump(include={"id", "name"}) for entry in cli.trash(pool)] for pool in ("volumes", "images")]
        )
        == TYPED["trash"]
    )


def test_content_is_what_librbd_told(cli: CliAccess) -> None:
    digests = [
        cli.content_digest("images", "base", "snap"),
        cli.content_digest("volumes", "child"),
        cli.content_digest("images", "qcow"),
    ]
    assert digests == TYPED["content"]
    reads = [
        cli.read("volumes", "child", 2, 6),
        cli.read("volumes", "plain", 4998, 6),
        cli.read("volumes", "plain", 7340, 10),
        cli.read("volumes", "plain", 20000, 10),
    ]
    assert [piece.hex() for piece in reads] == TYPED["read"]


def test_objects_are_there_or_not(cli: CliAccess) -> None:
    assert [cli.object_exists("images", "rbd_info"), cli.object_exists("images", "nope")] == TYPED["objects"]


def test_keys_stay_on_the_host(cli: CliAccess) -> None:
    found = {one.entity: one for one in cli.auth(b"salt")}
    assert found["client.cinder"].key == digest(b"salt", "key-of-client.cinder")
    assert found["client.cinder"].caps["mon"] == "profile rbd"


def test_errors_carry_their_errno(cli: CliAccess) -> None:
    fails: dict[str, Callable[[], object]] = {
        "no pool": lambda: cli.image_names("nope"),
        "no image": lambda: cli.stored_bytes("volumes", "nope"),
        "no object pool": lambda: cli.object_exists("nope", "x"),
        "bad pool": lambda: cli.mon("osd pool get", pool="nope", var="size"),
    }
    for what, fail in fails.items():
        with pytest.raises(CephError) as caught:
            fail()
        assert caught.value.rc == TYPED["errors"][what]
        assert caught.value.missing
        assert "cli on one" in str(caught.value)


def test_a_batch_is_one_round_trip(cli: CliAccess, hosts: Hosts) -> None:
    before = hosts.round_trips
    good, bad = cli.many([Ask("fsid"), Ask("osd pool get", {"pool": "nope", "var": "size"})])
    assert hosts.round_trips == before + 1
    assert good == TYPED["fsid"]
    assert isinstance(bad, CephError)
    assert cli.calls == 2


# ---------------------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        ("echo 'Error EACCES: access denied' >&2; exit 13", CephDenied, "access denied"),
        ("echo 'Error EPERM: no' >&2; exit 1", CephDenied, "Error EPERM: no"),
        ("echo timed out >&2; exit 1", CephUnreachable, "no connection to the cluster: timed out"),
        (
            "echo '[errno 2] RADOS object not found (error connecting to the cluster)' >&2; exit 1",
            CephUnreachable,
            "errno 2",
        ),
        (
            "echo 'x unable to find a keyring on /etc/k: (2)' >&2; echo 'timed out' >&2; exit 1",
            CephUnreachable,
            "/etc/k",
        ),
        ("exit 124", CephUnreachable, "no answer in 60 s"),
        ("exit 127", CephUnreachable, "install ceph-common"),
        ("echo 'Error EINVAL: invalid command' >&2; exit 22", CephError, "invalid command"),
        ("echo strange >&2; exit 1", CephError, "strange"),
        (f"echo 'Error EINVAL: bad key {KEY}' >&2; exit 22", CephError, r"bad key \[key\]"),
    ],
)
def test_failures_are_told_apart(
    script: str, kind: type[Exception], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: Hosts
) -> None:
    _install(tmp_path, monkeypatch, f"#!/bin/sh\n{script}\n")
    with pytest.raises(kind, match=says) as caught:
        open_ceph(_on_the_host(CLOUD), hosts)
    assert KEY not in str(caught.value)
    assert issubclass(kind, NotMeasured) or isinstance(caught.value, CephError)


def test_an_answer_that_is_no_json_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: Hosts) -> None:
    _install(tmp_path, monkeypatch, "#!/bin/sh\necho not json\n")
    access = open_ceph(_on_the_host(CLOUD), hosts)
    with pytest.raises(CephError, match="not JSON"):
        access.image_names("images")


def test_without_any_way_all_reasons_are_told(hosts: Hosts) -> None:
    settings = AccessSettings(conf=Path("/nonexistent/ceph.conf"))
    cloud = CLOUD.model_copy(update={"ceph": CLOUD.ceph.model_copy(update={"access": settings})})
    with pytest.raises(
        CephUnreachable,
        match=r"ceph\.access\.conf: /nonexistent/ceph.conf is not there; ceph\.access\.keyring is not set",
    ):
        open_ceph(cloud, hosts)


@pytest.mark.parametrize(("rc", "kind"), [(13, CephDenied), (1, CephDenied), (110, CephUnreachable), (22, CephError)])
def test_an_errno_is_an_exception(rc: int, kind: type[Exception]) -> None:
    error = failure("librados", "mon dump", rc, "")
    assert type(error) is kind
    assert "librados: mon dump" in str(error)


def test_an_error_without_text_says_what_its_errno_means() -> None:
    assert "No such file or directory" in str(CephError("librados", "x", errno.ENOENT, ""))


@pytest.mark.parametrize(
    "text",
    [KEY, f"key = {KEY}", f'{{"key": "{KEY}"}}', f"AgBSdFhV{'m' * 50}==", f"caps {KEY}, {KEY}"],
)
def test_keys_are_taken_out_of_texts(text: str) -> None:
    clean = redacted(text)
    assert "BSdFhV" not in clean
    assert "[key]" in clean


@pytest.mark.parametrize(
    "text", ["6da7448c-29d8-48d1-b3d1-ce6f2a1723ff", "profile rbd pool=volumes", "/etc/ceph/ceph.client.admin.keyring"]
)
def test_other_texts_stay(text: str) -> None:
    assert redacted(text) == text


# ---------------------------------------------------------------------------- command lines


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"pool": "images", "app": "rbd"}, ["--pool=images", "--app=rbd"]),
        ({"who": "mon", "key": "auth_client_required"}, ["mon", "auth_client_required"]),
        ({"entity": "client.x", "caps": ["mon", "allow r"]}, ["--entity=client.x", "mon", "allow r"]),
        ({"pool": "p", "yes_i_really_mean_it": True}, ["--pool=p", "--yes-i-really-mean-it"]),
        ({"pool": "p", "force": False}, ["--pool=p"]),
        ({"num": 3}, ["--num=3"]),
    ],
)
def test_arguments_become_words(args: dict[str, Any], words: list[str]) -> None:
    assert _arguments(args) == words


def test_an_ask_reads_like_the_command() -> None:
    assert str(Ask("config get", {"var": "x"}, "mon.a")) == "tell mon.a config get var=x"
    assert str(Ask("osd pool get", {"pool": "p"})) == "osd pool get pool=p"


@pytest.mark.parametrize(
    ("change", "command"),
    [
        (Change("init-pool", "p"), "pool init p"),
        (Change("set-option", "p", ("rbd_cache", "true")), "config pool set p rbd_cache true"),
        (Change("remove-option", "p", ("rbd_cache",)), "config pool remove p rbd_cache"),
        (Change("mirror", "p", ("image",)), "mirror pool enable p image"),
        (Change("mirror", "p", ("disabled",)), "mirror pool disable p"),
        (Change("move-to-trash", "p", ("a b",)), "trash mv 'p/a b'"),
        (Change("restore-from-trash", "p", ("12af", "a b")), "trash restore p/12af --image 'a b'"),
        (Change("remove-from-trash", "p", ("12af",)), "trash rm --no-progress p/12af"),
        (Change("break-lock", "p", ("disk", "auto 4711", "client.5")), "lock rm p/disk 'auto 4711' client.5"),
        (Change("rebuild-map", "p", ("disk",)), "object-map rebuild --no-progress p/disk"),
        (Change("make-snapshot", "p", ("disk", "snap")), "snap create --no-progress p/disk@snap"),
        (Change("protect-snapshot", "p", ("disk", "snap")), "snap protect p/disk@snap"),
        (Change("remove-snapshot", "p", ("disk", "a b")), "snap rm --no-progress 'p/disk@a b'"),
    ],
)
def test_a_change_is_a_command_of_rbd(change: Change, command: str) -> None:
    """The lock's id has a space in it, and is one word all the same."""
    line, words = _command_of(change)
    assert line % tuple(map(shlex.quote, words)) == command


def test_a_write_is_a_difference_of_one_extent() -> None:
    stream = _difference(4096, 512, b"data")
    assert stream == b"rbd diff v1\ns" + struct.pack("<Q", 4096) + b"w" + struct.pack("<QQ", 512, 4) + b"datae"


# ---------------------------------------------------------------------------- digests


@pytest.mark.parametrize("secret", [KEY, f" {KEY}\n", "x", ""])
def test_the_hosts_digest_is_the_runners(secret: str) -> None:
    assert digest(b"salt", secret) == Redactor(b"salt").key(secret)


def test_digests_hang_on_salt_and_secret() -> None:
    assert digest(b"one", KEY) != digest(b"two", KEY)
    assert digest(b"one", KEY) != digest(b"one", KEY[:-3] + "B==")
    assert KEY not in digest(b"one", KEY)
