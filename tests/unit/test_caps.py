"""Caps: Ceph's own accepted and refused texts, what grants allow, and laws that any caps obey."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.caps import (
    Call,
    Caps,
    CapsSyntaxError,
    CommandGrant,
    Constraint,
    MgrCaps,
    MonCaps,
    ObjectClass,
    Operation,
    OsdCaps,
    OsdGrant,
    OsdMatch,
    OsdProfile,
    Right,
    Tag,
)

AnyCaps = OsdCaps | MonCaps | MgrCaps
PARSERS: dict[str, type[OsdCaps] | type[MonCaps] | type[MgrCaps]] = {"osd": OsdCaps, "mon": MonCaps, "mgr": MgrCaps}
EXAMPLES: dict[str, dict[str, list[Any]]] = json.loads(
    (Path(__file__).parent / "data/ceph/caps-examples.json").read_text()
)
"""The lists of Ceph's src/test/osd/osdcap.cc, src/test/mon/moncap.cc, src/test/mgr/test_mgrcap.cc."""

LEGACY = "allow class-read object_prefix rbd_children, allow rwx pool=volumes, allow rx pool=images"
MODERN = "profile rbd pool=volumes, profile rbd-read-only pool=images"


def _examples(kind: str) -> list[tuple[str, str]]:
    return [(service, text) for service in PARSERS for text in EXAMPLES[service][kind]]


@pytest.mark.parametrize(("service", "text"), _examples("good"))
def test_what_ceph_accepts_is_accepted(service: str, text: str) -> None:
    caps = PARSERS[service].parse(text)
    assert PARSERS[service].parse(str(caps)) == caps


@pytest.mark.parametrize(("service", "text"), _examples("bad"))
def test_what_ceph_refuses_is_refused(service: str, text: str) -> None:
    with pytest.raises(CapsSyntaxError) as caught:
        PARSERS[service].parse(text)
    assert caught.value.service == service
    assert 0 <= caught.value.position <= len(text)


@pytest.mark.parametrize(("service", "text", "accepted"), EXAMPLES["monitor"]["verdicts"])
def test_a_real_monitors_verdict_is_ours(service: str, text: str, accepted: bool) -> None:
    try:
        caps = PARSERS[service].parse(text)
    except CapsSyntaxError:
        assert not accepted
    else:
        assert accepted or (service == "mgr" and caps.unknown_profiles)


def test_an_error_says_where_and_what_would_do() -> None:
    with pytest.raises(CapsSyntaxError, match=r"osd caps 'allow rwx pool': at character 15: found the end, expected"):
        OsdCaps.parse("allow rwx pool")
    with pytest.raises(CapsSyntaxError, match=r"at character 20: found 'y'"):
        OsdCaps.parse("profile foo pool x y")


# ---------------------------------------------------------------------------- OSD: what is allowed


@pytest.mark.parametrize("text", [MODERN, LEGACY, "profile rbd-read-only pool 'images'; profile rbd pool \"volumes\""])
def test_cinder_writes_volumes_and_clones_images(text: str) -> None:
    caps = OsdCaps.parse(text)
    assert caps.access("volumes").rbd_read_write
    images = caps.access("images")
    assert images.rbd_read_only
    assert images.can_clone_from
    assert not images.rbd_read_write
    assert caps.access("vms").is_none
    assert not caps.reaches_every_pool
    assert caps.pools_named == {"volumes", "images"}


@pytest.mark.parametrize(
    ("text", "read_only", "clone", "read_write"),
    [
        ("allow *", True, True, True),
        ("allow rwx", True, True, True),
        ("profile rbd", True, True, True),
        ("profile rbd-read-only", True, True, False),
        ("allow rx pool=p", True, True, False),
        ("allow r class-read pool=p", True, False, False),
        ("allow r pool=p", False, False, False),
        ("allow rw pool=p", False, False, False),
        ("allow rwx pool=other", False, False, False),
        ("allow rwx pool=p namespace=n", False, False, False),
        ('allow rwx pool=p namespace=""', True, True, True),
        ("allow rwx pool=p object_prefix rbd_data", False, False, False),
        ("allow rwx pool=p object_prefix rbd_", True, True, True),
        ("profile read-only pool=p", False, False, False),
        ("profile read-write pool=p", False, False, False),
        ("profile rbd-ready-only pool=p", False, False, False),
        ("allow pool p rwx", True, True, True),
        ("allow rwx tag rbd *=*", True, True, True),
        ("allow rwx tag rgw *=*", False, False, False),
        ("allow rwx tag rbd data=x", False, False, False),
        ("allow rw pool=p, allow x pool=p", True, True, False),
        ("allow rwx pool=p network 10.0.0.0/8", False, False, False),
    ],
)
def test_rights_on_a_pool(text: str, read_only: bool, clone: bool, read_write: bool) -> None:
    access = OsdCaps.parse(text).access("p", applications={"rbd": {}})
    assert (access.rbd_read_only, access.can_clone_from, access.rbd_read_write) == (read_only, clone, read_write)


def test_a_network_counts_for_addresses_within() -> None:
    caps = OsdCaps.parse("profile rbd pool=p network 10.1.0.0/16, profile rbd pool=p network [fd00::]/8")
    assert caps.access("p", address="10.1.2.3").rbd_read_write
    assert caps.access("p", address="fd00::5").rbd_read_write
    assert caps.access("p", address="10.2.2.3").is_none
    assert caps.access("p").is_none
    assert caps.networks == {"10.1.0.0/16", "[fd00::]/8"}
    assert caps.reaches("p")


def test_a_network_that_is_none_never_applies() -> None:
    assert OsdCaps.parse("allow * network abc").access("p", address="10.1.2.3").is_none


@pytest.mark.parametrize(("namespace", "matches"), [("ns", True), ("ns1", True), ("n", False), ("", False)])
def test_namespaces_may_end_in_a_star(namespace: str, matches: bool) -> None:
    assert OsdCaps.parse("profile rbd pool=p namespace=ns*").access("p", namespace).rbd_read_write == matches


@pytest.mark.parametrize(
    ("text", "reaches"),
    [
        ("allow *", True),
        ("allow r", True),
        ("profile rbd", True),
        ("allow rw namespace=x", True),
        ("allow class rbd", True),
        ("allow rwx object_prefix rbd_children", True),
        ("allow class-read object_prefix rbd_children", False),
        ("profile rbd pool=p", False),
        ("profile rbd-read-only pool=p", False),
        ("allow rwx tag rbd *=*", False),
        ("allow rwx pool=p", False),
    ],
)
def test_rights_without_a_pool_reach_every_pool(text: str, reaches: bool) -> None:
    caps = OsdCaps.parse(text)
    assert caps.reaches_every_pool == reaches
    assert caps.reaches("some other pool") == reaches


def test_looking_at_housekeeping_objects_reaches_no_pool() -> None:
    caps = OsdCaps.parse(LEGACY)
    look = Operation(classes=(ObjectClass("rbd", "get_children", read=True, write=False),))
    assert caps.allows(look, "rbd_children", "vms")
    assert not caps.reaches("vms")


def test_unknown_profiles_are_named() -> None:
    caps = Caps.of({"mon": "profile rbd-ready-only", "osd": "profile rbd-ready-only pool=a", "mgr": "profile rbd"})
    assert caps.unknown_profiles == ("mon rbd-ready-only", "osd rbd-ready-only")


def test_all_is_all_without_limits_only() -> None:
    assert OsdCaps.parse("allow *").allows_all
    assert OsdCaps.parse("allow all").allows_all
    assert not OsdCaps.parse("allow rwx").allows_all
    assert not OsdCaps.parse("allow * pool=p").allows_all
    assert Caps.of({"mon": "allow *", "mds": "allow *", "osd": "allow rwx"}).allows_all == ("mds", "mon")


def test_absent_caps_grant_nothing() -> None:
    caps = Caps.of({})
    assert caps.osd.access("p").is_none
    assert not caps.mon.can_read
    assert not caps.mgr.can_use_rbd_support("p")


# ---------------------------------------------------------------------------- OSD: Ceph's own cases


def _class(name: str, read: bool, write: bool, method: str = "") -> ObjectClass:
    return ObjectClass(name, method, read, write)


def test_two_grants_together_do_not_carry_one_operation() -> None:
    caps = OsdCaps.parse("allow r pool p, allow w pool p")
    assert caps.allows(Operation(read=True), "o", "p")
    assert caps.allows(Operation(write=True), "o", "p")
    assert not caps.allows(Operation(read=True, write=True), "o", "p")


def test_classes_may_be_allowed_by_different_grants() -> None:
    caps = OsdCaps.parse("allow class foo, allow class bar")
    both = Operation(classes=(_class("foo", True, True), _class("bar", True, True)))
    assert caps.allows(both, "o", "p")
    assert not caps.allows(Operation(classes=(*both.classes, _class("baz", True, False))), "o", "p")


def test_a_class_may_be_limited_to_a_method() -> None:
    caps = OsdCaps.parse("profile rbd-read-only pool abc")
    attach = Operation(classes=(_class("rbd", True, True, "child_attach"),))
    other = Operation(classes=(_class("rbd", True, True, "other"),))
    assert caps.allows(attach, "rbd_header.ABC", "abc")
    assert not caps.allows(attach, "rbd_data.ABC", "abc")
    assert not caps.allows(other, "rbd_header.ABC", "abc")


@pytest.mark.parametrize(
    ("text", "read", "write", "class_read", "class_write"),
    [
        ("allow r", True, False, False, False),
        ("allow w", False, True, False, False),
        ("allow x", False, False, True, True),
        ("allow rw", True, True, False, False),
        ("allow rx", True, False, True, True),
        ("allow wx", False, True, True, True),
        ("allow rwx", True, True, True, True),
        ("allow class-read", False, False, True, False),
        ("allow class-write", False, False, False, True),
        ("allow class-read class-write", False, False, True, True),
        ("allow r class-read", True, False, True, False),
    ],
)
def test_letters_mean_what_ceph_says(text: str, read: bool, write: bool, class_read: bool, class_write: bool) -> None:
    caps = OsdCaps.parse(text)
    assert caps.allows(Operation(read=True), "foo", "bar") == read
    assert caps.allows(Operation(write=True), "foo", "bar") == write
    assert caps.allows(Operation(classes=(_class("cls", True, False),)), "foo", "bar") == class_read
    assert caps.allows(Operation(classes=(_class("cls", False, True),)), "foo", "bar") == class_write


# ---------------------------------------------------------------------------- monitor

EXPLICIT = 'allow r, allow command "osd blacklist", allow command "osd blocklist"'


@pytest.mark.parametrize(
    ("text", "octopus", "pacific"),
    [
        ("profile rbd", True, True),
        ("allow profile rbd", True, True),
        ('profile "rbd"', True, True),
        ("profile rbd-read-only", True, True),
        ("profile rbd-mirror", True, True),
        ("profile rbd-mirror-peer", True, True),
        ("profile simple-rados-client", False, False),
        ("profile simple-rados-client-with-blocklist", False, True),
        ("profile read-only", False, False),
        ("profile read-write", True, True),
        ("profile osd", True, True),
        ("profile crash", False, False),
        ("profile nosuch", False, False),
        ("allow r", False, False),
        ("allow rx", False, False),
        ("allow rw", True, True),
        ("allow *", True, True),
        ("allow service osd rw", True, True),
        ("allow service osd r, allow service osd w", True, True),
        ("allow service mon rw", False, False),
        (EXPLICIT, True, True),
        ('allow r, allow command "osd blacklist"', True, False),
        ('allow r, allow command "osd blocklist"', False, True),
        ('allow r, allow command "osd blocklist" with blocklistop=add addr regex "^[^/]+/[0-9]+$"', False, True),
        ('allow r, allow command "osd blocklist" with blocklistop=rm', False, False),
        ('allow r, allow command "osd blocklist" with addr prefix 10.', False, False),
        ('allow r, allow command "osd blocklist" with addr regex "(("', False, False),
        ('allow r, allow command "osd blocklist" with nosuch=x', False, False),
        ("profile rbd network 10.0.0.0/8", False, False),
    ],
)
def test_who_can_blocklist(text: str, octopus: bool, pacific: bool) -> None:
    caps = MonCaps.parse(text)
    assert (caps.can_blocklist(15), caps.can_blocklist(16)) == (octopus, pacific)


def test_a_misspelt_rbd_profile_grants_on_monitors_what_rbd_does() -> None:
    caps = MonCaps.parse("profile rbd-ready-only")
    assert caps.can_blocklist(16)
    assert caps.unknown_profiles == ("rbd-ready-only",)


@pytest.mark.parametrize(
    ("text", "reads", "changes"),
    [
        ("allow r", True, False),
        ("profile rbd", True, False),
        ("profile simple-rados-client", True, False),
        ("profile role-definer", False, True),
        ("allow service mon r", False, False),
        ("allow service mon r, allow service osd r", True, False),
        ("allow rw", True, True),
        ("allow rx", True, True),
        ("allow *", True, True),
        ("profile nosuch", False, False),
        ("allow x", False, True),
    ],
)
def test_reading_and_changing_the_cluster(text: str, reads: bool, changes: bool) -> None:
    caps = MonCaps.parse(text)
    assert (caps.can_read, caps.can_change_cluster) == (reads, changes)


def test_config_keys_are_not_open_to_blanket_caps() -> None:
    ask = Call("config-key", command="config-key get", needs=Right.READ)
    assert not MonCaps.parse("allow rwx").allows(ask)
    assert MonCaps.parse("allow *").allows(ask)


def test_a_command_may_be_constrained_by_arguments() -> None:
    caps = MonCaps.parse('allow command abc with arg regex "^[0-9a-z.]*$"')
    assert caps.allows(Call(command="abc", arguments=(("arg", "12345abcde"),), needs=Right.EXECUTE))
    assert not caps.allows(Call(command="abc", arguments=(("arg", "~!@#$"),), needs=Right.EXECUTE))
    assert not caps.allows(Call(command="abc", needs=Right.EXECUTE))


# ---------------------------------------------------------------------------- manager


@pytest.mark.parametrize(
    ("text", "reads", "writes"),
    [
        ("profile rbd", True, True),
        ("profile rbd pool=p", True, True),
        ("profile rbd pool = 'p'", True, True),
        ("profile rbd pool prefix p", True, True),
        ("profile rbd pool=other", False, False),
        ("profile rbd-read-only", True, False),
        ("profile rbd pool=p namespace=n", False, False),
        ('profile rbd pool=p namespace regex "^$"', True, True),
        ("allow r", True, False),
        ("allow rw", True, True),
        ("allow *", True, True),
        ("allow module rbd_support r", True, False),
        ("allow module rbd_support with pool=p rw", True, True),
        ("allow module status rw", False, False),
        ("profile crash", False, False),
    ],
)
def test_managers_rbd_commands(text: str, reads: bool, writes: bool) -> None:
    caps = MgrCaps.parse(text)
    assert caps.can_use_rbd_support("p", write=False) == reads
    assert caps.can_use_rbd_support("p") == writes
    assert caps.rbd_pools(["p"]) == (frozenset({"p"}) if writes else frozenset())


def test_managers_pools_are_named() -> None:
    caps = MgrCaps.parse("profile rbd pool=a, profile rbd-read-only pool=b, allow r")
    assert caps.pools_named == {"a", "b"}
    assert caps.reaches_every_pool
    assert not MgrCaps.parse("profile rbd pool=a").reaches_every_pool


def test_a_strange_argument_of_a_managers_profile_is_refused() -> None:
    with pytest.raises(CapsSyntaxError, match="expected 'namespace' or 'pool'"):
        MgrCaps.parse("profile rbd invalid-key=value")


# ---------------------------------------------------------------------------- laws

PLAIN = st.from_regex(r"[a-zA-Z0-9_./-]{1,12}", fullmatch=True)
QUOTABLE = st.text(st.characters(exclude_characters="\"'", exclude_categories=["Cs"]), min_size=1, max_size=8)
WORDS = st.one_of(PLAIN, QUOTABLE, QUOTABLE.map(lambda text: text + "'"), QUOTABLE.map(lambda text: text + '"'))
NETWORKS = st.sampled_from(["", "", "", "10.0.0.0/8", "192.0.2.1/32", "[2001:db8::]/32", "abc", "::1"])
RIGHTS = st.sampled_from(list(map(Right, range(2, 32, 2)))) | st.just(Right.ANY)
LETTERS = st.sampled_from(
    [Right.READ, Right.WRITE, Right.EXECUTE, Right.READ | Right.WRITE, Right.ANY, Right.READ | Right.EXECUTE]
)
NAMESPACES = st.none() | st.just("") | WORDS | PLAIN.map(lambda text: text + "*")

MATCHES = st.one_of(
    st.builds(OsdMatch, pool=st.just("") | WORDS, namespace=NAMESPACES, object_prefix=st.just("") | WORDS),
    st.builds(
        OsdMatch,
        namespace=NAMESPACES,
        tag=st.builds(Tag, application=WORDS, key=st.just("*") | WORDS, value=st.just("*") | WORDS),
    ),
    st.builds(OsdMatch, auid=st.integers(0, 2**31 - 1), object_prefix=st.just("") | WORDS),
)
OSD_GRANTS = st.one_of(
    st.builds(OsdGrant, match=MATCHES, rights=RIGHTS, network=NETWORKS),
    st.builds(OsdGrant, match=MATCHES, object_class=WORDS, method=st.just(""), network=st.just("")),
    st.builds(OsdGrant, match=MATCHES, object_class=WORDS, method=WORDS, network=NETWORKS),
    st.builds(
        OsdProfile,
        name=st.sampled_from(["rbd", "rbd-read-only", "read-only", "read-write"]) | WORDS,
        pool=st.just("") | WORDS,
        namespace=NAMESPACES,
        network=NETWORKS,
    ),
)
ARGUMENTS = st.dictionaries(
    WORDS, st.builds(Constraint, kind=st.sampled_from(["=", "prefix", "regex"]), value=PLAIN), max_size=3
).map(lambda found: tuple(sorted(found.items())))


def _command_grants(*kinds: Any) -> st.SearchStrategy[CommandGrant]:
    return st.one_of(
        st.builds(CommandGrant, st.just("all"), rights=LETTERS, network=NETWORKS),
        st.builds(CommandGrant, st.just("service"), WORDS, LETTERS, network=NETWORKS),
        st.builds(CommandGrant, st.just("command"), WORDS, arguments=ARGUMENTS, network=NETWORKS),
        *kinds,
    )


MON_GRANTS = _command_grants(
    st.builds(CommandGrant, st.just("profile"), st.sampled_from(["rbd", "osd", "crash"]) | WORDS, network=NETWORKS),
    st.builds(CommandGrant, st.just("all"), rights=LETTERS, network=NETWORKS, file_system=st.just("a")),
)
MGR_GRANTS = _command_grants(
    st.builds(CommandGrant, st.just("module"), WORDS, LETTERS, ARGUMENTS, NETWORKS),
    st.builds(CommandGrant, st.just("profile"), st.sampled_from(["crash", "read-only"]), network=NETWORKS),
)
OSD_CAPS = st.lists(OSD_GRANTS, min_size=1, max_size=4).map(lambda grants: OsdCaps(tuple(grants)))
MON_CAPS = st.lists(MON_GRANTS, min_size=1, max_size=4).map(lambda grants: MonCaps(tuple(grants)))
MGR_CAPS = st.lists(MGR_GRANTS, min_size=1, max_size=4).map(lambda grants: MgrCaps(tuple(grants)))
ANY_CAPS = st.one_of(OSD_CAPS, MON_CAPS, MGR_CAPS)

_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|[ ]+|, |[^ ,\"']+")


@given(ANY_CAPS)
def test_what_is_written_reads_back(caps: AnyCaps) -> None:
    assert type(caps).parse(str(caps)) == caps


@given(ANY_CAPS, st.data())
def test_spacing_quoting_and_separators_mean_nothing(caps: AnyCaps, data: st.DataObject) -> None:
    assert type(caps).parse(_respelt(str(caps), data)) == caps


def _respelt(text: str, data: st.DataObject) -> str:
    draw = data.draw
    pieces = []
    for token in _TOKEN.findall(text):
        if token == ", ":
            pieces.append(draw(st.sampled_from([", ", ",", ";", " ; ", " , "])))
        elif token.isspace():
            pieces.append(draw(st.sampled_from([" ", "  ", "\t", " \t "])))
        elif token.startswith('"') and "'" not in token:
            pieces.append(draw(st.sampled_from([token, "'" + token[1:-1] + "'"])))
        elif re.fullmatch(r"pool=[a-zA-Z0-9_./-]+", token):
            pieces.append(draw(st.sampled_from([token, token.replace("=", " "), f'pool "{token[5:]}"'])))
        else:
            pieces.append(token)
    return draw(st.sampled_from(["", " "])) + "".join(pieces) + draw(st.sampled_from(["", " "]))


KEYWORDS = ("allow", "profile", "rbd", "pool", "all", "rwx", "r", "class-read", "class", "tag", "namespace", "network")
MORE_KEYWORDS = ("with", "command", "service", "module", "prefix", "regex", "object_prefix", "auid", "fsname")
PIECES = ("pool=", "namespace=", "=", "*", ",", ";", '"', "'", "é", "\n", "\t", "\0", " ", "  ", "1.2.3.4/24")
FRAGMENTS = st.sampled_from((*KEYWORDS, *MORE_KEYWORDS, *PIECES))


@given(
    st.sampled_from(sorted(PARSERS)),
    st.lists(FRAGMENTS | st.text(max_size=3), max_size=14).map(" ".join) | st.text(max_size=60),
)
def test_mangled_text_is_read_or_refused_with_a_position(service: str, text: str) -> None:
    caps, error = _read(PARSERS[service], text)
    assert (caps is None) != (error is None)
    assert error is None or (0 <= error.position <= len(text) and error.expected)
    assert caps is None or PARSERS[service].parse(str(caps)) == caps


def _read(kind: type[AnyCaps], text: str) -> tuple[AnyCaps | None, CapsSyntaxError | None]:
    try:
        return kind.parse(text), None
    except CapsSyntaxError as error:
        return None, error


@given(ANY_CAPS, st.integers(0, 200), st.integers(0, 200), st.text(max_size=3))
def test_caps_with_a_piece_exchanged_are_read_or_refused(caps: AnyCaps, start: int, length: int, instead: str) -> None:
    text = str(caps)
    mangled = text[:start] + instead + text[start + length :]
    read, error = _read(type(caps), mangled)
    assert read is not None or str(error)


POOLS = st.sampled_from(["a", "b", "images"])
OPERATIONS = st.builds(
    Operation,
    read=st.booleans(),
    write=st.booleans(),
    classes=st.lists(
        st.builds(
            ObjectClass,
            st.sampled_from(["rbd", "lock"]),
            st.sampled_from(["get", "child_attach"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
)
OBJECTS = st.sampled_from(["rbd_children", "rbd_header.1", "rbd_info", "x"])
SMALL_MATCHES = st.builds(
    OsdMatch,
    pool=st.just("") | POOLS,
    namespace=st.sampled_from([None, None, "", "n", "n*"]),
    object_prefix=st.sampled_from(["", "", "rbd_", "rbd_children"]),
    tag=st.sampled_from([None, None, Tag("rbd", "*", "*")]),
)
SMALL_GRANTS = st.one_of(
    st.builds(OsdGrant, SMALL_MATCHES, RIGHTS, network=st.sampled_from(["", "", "10.0.0.0/8"])),
    st.builds(
        OsdGrant,
        SMALL_MATCHES,
        object_class=st.sampled_from(["rbd", "lock"]),
        method=st.sampled_from(["", "child_attach"]),
    ),
    st.builds(OsdProfile, st.sampled_from(["rbd", "rbd-read-only", "read-only", "nosuch"]), st.just("") | POOLS),
)
SMALL_OSD = st.lists(SMALL_GRANTS, max_size=4)
QUESTIONS = st.tuples(OPERATIONS, OBJECTS, POOLS, st.sampled_from(["", "n", "nn"]))
TAGS = {"rbd": {"k": "v"}}


@given(SMALL_OSD, SMALL_GRANTS, st.integers(0, 4), QUESTIONS, st.sampled_from([None, "10.1.1.1", "11.1.1.1"]))
def test_a_further_grant_never_takes_a_right_away(
    grants: list[Any], more: Any, where: int, question: tuple[Operation, str, str, str], address: str | None
) -> None:
    before = OsdCaps(tuple(grants)).allows(*question, TAGS, address)
    after = OsdCaps((*grants[:where], more, *grants[where:])).allows(*question, TAGS, address)
    assert after >= before


@given(SMALL_OSD, POOLS, st.data())
def test_the_order_of_grants_means_nothing(grants: list[Any], pool: str, data: st.DataObject) -> None:
    other = data.draw(st.permutations(grants))
    one, two = OsdCaps(tuple(grants)), OsdCaps(tuple(other))
    assert one.access(pool, applications=TAGS) == two.access(pool, applications=TAGS)
    assert one.reaches_every_pool == two.reaches_every_pool


@given(SMALL_OSD, POOLS)
def test_rights_imply_each_other_as_they_must(grants: list[Any], pool: str) -> None:
    caps = OsdCaps(tuple(grants))
    access = caps.access(pool, applications=TAGS)
    assert access.rbd_read_write <= access.rbd_read_only
    assert access.rbd_read_write <= access.can_clone_from
    assert access.can_clone_from <= access.rbd_read_only
    assert (not access.is_none) <= caps.reaches(pool, TAGS)
    assert caps.allows_all <= caps.reaches_every_pool
    assert caps.reaches_every_pool <= caps.reaches(pool, TAGS)


@given(SMALL_OSD, SMALL_OSD, POOLS)
def test_caps_of_two_are_at_least_those_of_each(one: list[Any], two: list[Any], pool: str) -> None:
    both = OsdCaps((*one, *two)).access(pool, applications=TAGS)
    for part in (one, two):
        alone = OsdCaps(tuple(part)).access(pool, applications=TAGS)
        assert all(
            getattr(both, name) >= getattr(alone, name)
            for name in ("read", "write", "rbd_read_write", "can_clone_from")
        )


SMALL_MON = st.lists(
    st.one_of(
        st.builds(CommandGrant, st.just("all"), rights=LETTERS),
        st.builds(CommandGrant, st.just("service"), st.sampled_from(["mon", "osd"]), LETTERS),
        st.builds(CommandGrant, st.just("command"), st.sampled_from(["osd blocklist", "osd blacklist", "x"])),
        st.builds(CommandGrant, st.just("profile"), st.sampled_from(["rbd", "crash", "read-only", "nosuch"])),
    ),
    max_size=4,
)


@given(SMALL_MON, SMALL_MON, st.sampled_from([12, 15, 16, 20]))
def test_monitor_rights_only_grow(some: list[Any], more: list[Any], major: int) -> None:
    alone, both = MonCaps(tuple(some)), MonCaps((*more, *some))
    assert alone.can_blocklist(major) <= both.can_blocklist(major)
    assert alone.can_read <= both.can_read
    assert alone.can_change_cluster <= both.can_change_cluster
    assert alone.blocklist_commands() <= both.blocklist_commands()
    assert MonCaps(tuple(reversed(some))).can_blocklist(major) == alone.can_blocklist(major)


@settings(max_examples=50)
@given(
    st.lists(
        st.sampled_from(["profile rbd pool=a", "profile rbd-read-only", "allow r", "profile rbd pool=b"]), min_size=1
    )
)
def test_manager_rights_only_grow(texts: list[str]) -> None:
    grown = [MgrCaps.parse(", ".join(texts[: count + 1])) for count in range(len(texts))]
    for before, after in itertools.pairwise(grown):
        assert before.rbd_pools(["a", "b"]) <= after.rbd_pools(["a", "b"])
