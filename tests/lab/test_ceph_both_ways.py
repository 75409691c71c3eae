"""Ceph by librados and by a host's commands: the same typed results from the same daemons."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.ceph import CephAccess, CephError, open_ceph
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.ceph import CephFacts
from fixtures.observe.ceph import observe_ceph
from fixtures.reach import Hosts
from tests.lab.harness import PROJECT, LabUnderTest

rbd = pytest.importorskip("rbd", reason="python3-rbd is not installed: one of the two ways does not exist here")
rados = pytest.importorskip("rados", reason="python3-rados is not installed: one of the two ways does not exist here")

SIZE = 12 << 20
MOMENTARY = {"source", "answered_in", "pg_states", "client_releases", "usage", "osd_use"}
"""What is used goes on changing for a while after whatever was removed before."""


@pytest.fixture(scope="module")
def cloud(lab: LabUnderTest) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSC_LAB_STATE", str(lab.state.folder))
        yield load_cloud(PROJECT / lab.cloud_file)


@pytest.fixture(scope="module")
def hosts(cloud: Cloud) -> Iterator[Hosts]:
    with Hosts(cloud) as reached:
        yield reached


def _through_the_host(cloud: Cloud) -> Cloud:
    access = cloud.ceph.access.model_copy(update={"conf": None})
    return cloud.model_copy(update={"ceph": cloud.ceph.model_copy(update={"access": access})})


@pytest.fixture(scope="module")
def native(cloud: Cloud, hosts: Hosts) -> Iterator[CephAccess]:
    with open_ceph(cloud, hosts) as access:
        assert access.source == "librados"
        yield access


@pytest.fixture(scope="module")
def hosted(cloud: Cloud, hosts: Hosts) -> Iterator[CephAccess]:
    with open_ceph(_through_the_host(cloud), hosts) as access:
        assert access.source.startswith("cli on ")
        yield access


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(300_000)


@pytest.fixture(scope="module")
def clone(cloud: Cloud, content: bytes) -> Iterator[tuple[str, str, str]]:
    """A parent with content and a protected snapshot, and a clone of it: pool, parent, clone."""
    access = cloud.ceph.access
    pool, parent, child = cloud.ceph.pools.volumes, "test-both-ways-parent", "test-both-ways-child"
    options = {"keyring": str(access.keyring)}
    with (
        rados.Rados(conffile=str(access.conf), rados_id=access.id, conf=options) as cluster,
        cluster.open_ioctx(pool) as io,
    ):
        rbd.RBD().create(io, parent, SIZE, old_format=False)
        with rbd.Image(io, parent) as image:
            image.write(content, 5 << 20)
            image.create_snap("snap")
            image.protect_snap("snap")
        rbd.RBD().clone(io, parent, "snap", io, child)
        try:
            yield pool, parent, child
        finally:
            rbd.RBD().remove(io, child)
            with rbd.Image(io, parent) as image:
                image.unprotect_snap("snap")
                image.remove_snap("snap")
            rbd.RBD().remove(io, parent)


def test_the_facts_are_the_same(cloud: Cloud, hosts: Hosts) -> None:
    told = [observe_ceph(one, b"salt", hosts, lambda _: None) for one in (cloud, _through_the_host(cloud))]
    assert all(isinstance(facts, CephFacts) for facts in told), told
    one, other = (facts.model_dump(exclude=MOMENTARY) for facts in told)
    assert one == other
    used = [facts.model_dump(include={"usage", "osd_use"}) for facts in told]
    assert used[0]["usage"].keys() == used[1]["usage"].keys()
    assert [osd["id"] for osd in used[0]["osd_use"]] == [osd["id"] for osd in used[1]["osd_use"]]


QUESTIONS: dict[str, Callable[[CephAccess, str, str, str], object]] = {
    "names": lambda ceph, pool, parent, child: ceph.image_names(pool),
    "parent": lambda ceph, pool, parent, child: ceph.image(pool, parent, magic=True),
    "clone": lambda ceph, pool, parent, child: ceph.image(pool, child, magic=True),
    "no image": lambda ceph, pool, parent, child: ceph.image(pool, "nosuch"),
    "children": lambda ceph, pool, parent, child: ceph.children(pool, parent),
    "parent's use": lambda ceph, pool, parent, child: ceph.use(pool, parent),
    "clone's use": lambda ceph, pool, parent, child: ceph.use(pool, child),
    "content": lambda ceph, pool, parent, child: ceph.content_digest(pool, child),
    "piece": lambda ceph, pool, parent, child: ceph.read(pool, child, (5 << 20) - 3, 9),
    "end": lambda ceph, pool, parent, child: ceph.read(pool, child, SIZE - 3, 9),
    "snapshot": lambda ceph, pool, parent, child: ceph.read(pool, parent, 5 << 20, 9, "snap"),
    "trash": lambda ceph, pool, parent, child: ceph.trash(pool),
    "object": lambda ceph, pool, parent, child: ceph.object_exists(pool, "rbd_directory"),
    "no object": lambda ceph, pool, parent, child: ceph.object_exists(pool, "nosuch"),
    "keys": lambda ceph, pool, parent, child: ceph.auth(b"salt"),
    "a command": lambda ceph, pool, parent, child: ceph.mon("osd pool application get", pool=pool),
    "a manager's": lambda ceph, pool, parent, child: ceph.mgr("rbd task list"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answers_are_the_same(
    question: str, native: CephAccess, hosted: CephAccess, clone: tuple[str, str, str]
) -> None:
    ask = QUESTIONS[question]
    assert ask(native, *clone) == ask(hosted, *clone)


@pytest.mark.parametrize("question", ["no pool", "no such image", "no such pool"])
def test_the_errors_are_the_same(question: str, native: CephAccess, hosted: CephAccess, cloud: Cloud) -> None:
    fails: dict[str, Callable[[CephAccess], object]] = {
        "no pool": lambda ceph: ceph.image_names("nosuch"),
        "no such image": lambda ceph: ceph.content_digest(cloud.ceph.pools.volumes, "nosuch"),
        "no such pool": lambda ceph: ceph.mon("osd pool get", pool="nosuch", var="size"),
    }
    for ceph in (native, hosted):
        with pytest.raises(CephError) as caught:
            fails[question](ceph)
        assert caught.value.missing


def test_what_one_writes_the_other_reads(
    native: CephAccess, hosted: CephAccess, clone: tuple[str, str, str], content: bytes
) -> None:
    pool, parent, child = clone
    for writer, reader, offset in ((native, hosted, 1 << 20), (hosted, native, 7 << 20)):
        writer.write(pool, child, offset, content[:5000])
        assert reader.read(pool, child, offset, 5000) == content[:5000]
    expected = bytearray(SIZE)
    expected[5 << 20 : (5 << 20) + len(content)] = content
    assert native.content_digest(pool, parent) == hashlib.sha256(expected).hexdigest()


def test_images_read_in_steps_are_what_opening_tells(
    native: CephAccess, cloud: Cloud, clone: tuple[str, str, str]
) -> None:
    pool, *own = clone
    images = cloud.ceph.pools.images
    for place, names in ((pool, own), (images, native.image_names(images))):
        opened, read = native.images(place, names), native.images(place, names, magic=True)
        assert opened == tuple(image.model_copy(update={"magic": ""}) for image in read)
        for image in read:
            snapshot = "snap" if "snap" in {one.name for one in image.snapshots} else ""
            assert image.magic == native.read(place, image.name, 0, 4, snapshot).hex()


def test_looking_is_quick_and_tells_no_key(cloud: Cloud, hosts: Hosts) -> None:
    facts = observe_ceph(cloud, b"salt", hosts, lambda _: None)
    assert isinstance(facts, CephFacts)
    assert facts.answered_in < 1.0
    key = re.search(r"key = (\S+)", Path(str(cloud.ceph.access.keyring)).read_text())
    assert key is not None
    told = key[1] in facts.model_dump_json()
    assert not told
