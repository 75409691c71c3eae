"""The editor of ceph.conf changes one option as Ceph would read it, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.observe.collector.ini import parse_ceph
from remediate.hand.ceph_ini import edited, tidied

SAMPLE = """\
# by hand
[global]
fsid = 1 ; of the old one
\tmon host = 10.0.0.1, \\
    10.0.0.2

# what guests get
[client]
rbd cache = false   # slow
  log  file=/x
[client.cinder]
keyring = /nowhere
"""


@pytest.mark.parametrize(
    ("section", "key", "value", "old", "new"),
    [
        ("global", "fsid", "2", "fsid = 1 ; of the old one\n", "fsid = 2 ; of the old one\n"),
        (
            "global",
            "mon_host",
            "[v2:10.0.0.1:3300/0]",
            "mon host = 10.0.0.1, \\\n    10.0.0.2\n",
            "mon host = [v2:10.0.0.1:3300/0]\n",
        ),
        ("client", "rbd_cache", "true", "rbd cache = false   # slow\n", "rbd cache = true   # slow\n"),
        ("client", "log_file", "/a.$pid.log", "  log  file=/x\n", "  log  file=/a.$pid.log\n"),
        ("client", "log_file", None, "  log  file=/x\n", ""),
        ("client", "admin_socket", "/a", "  log  file=/x\n", "  log  file=/x\nadmin_socket = /a\n"),
        ("client.cinder", "keyring", None, "keyring = /nowhere\n", ""),
        ("client.nova", "a", "b", "/nowhere\n", "/nowhere\n\n[client.nova]\na = b\n"),
        ("client", "rbd_cache", "false", "", ""),
    ],
)
def test_only_the_option_changes(section: str, key: str, value: str | None, old: str, new: str) -> None:
    assert edited(SAMPLE, section, key, value) == SAMPLE.replace(old, new)


def test_a_conf_is_put_in_order_and_says_the_same() -> None:
    text = "[global]\n\tfsid = 1\n# end\n[client]\na = 1\n\n# why\n[global]\nmon host = x\n[client]\na = 2"
    assert tidied(text) == "[global]\nfsid = 1\n# why\nmon host = x\n# end\n[client]\na = 1\na = 2\n"
    assert not parse_ceph(tidied(text))[1]
    assert tidied(SAMPLE) == SAMPLE.replace("\tmon", "mon")


NAMES = st.sampled_from(["fsid", "mon host", "mon_host", "mon  host", "rbd_cache"])
VALUES = st.text("abcXYZ09 ,:=/#;$[].'\"-", max_size=12).map(str.strip)
SECTIONS = st.sampled_from(["global", "client", "client.cinder", "Client"])
LINES = st.one_of(
    SECTIONS.map(lambda name: f"[{name}]"),
    st.builds(
        lambda indent, name, sign, value, behind: f"{indent}{name}{sign}{value}{behind}",
        st.sampled_from(["", "  ", "\t"]),
        NAMES,
        st.sampled_from(["=", " = "]),
        st.sampled_from(["1", "a b", "/x/$pid", "a \\\n b", "x\\#y", "'q'"]),
        st.sampled_from(["", " ; why", "  # not"]),
    ),
    st.sampled_from(["", "# a remark", "; another", "   ", "#\ta = b"]),
)
FILES = st.builds(
    lambda head, lines, last: "\n".join([f"[{head}]", *lines]) + last * "\n",
    SECTIONS,
    st.lists(LINES, max_size=14),
    st.booleans(),
)


def _read(text: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for _, section, key, value in parse_ceph(text)[0]:
        found.setdefault((section, key), []).append(value)
    return found


@settings(max_examples=300, deadline=None)
@given(FILES, SECTIONS, st.sampled_from(["fsid", "mon_host", "log_file"]), VALUES)
def test_ceph_reads_the_new_value_and_all_others_as_before(text: str, section: str, key: str, value: str) -> None:
    new = edited(text, section, key, value)
    assert _read(new).pop((section, key))[-1] == value
    old, left = _read(text), _read(new)
    assert old.pop((section, key), None) is None or left
    left.pop((section, key))
    assert left == old
    assert edited(new, section, key, value) == new


@settings(max_examples=200, deadline=None)
@given(FILES, SECTIONS)
def test_an_option_that_is_taken_out_is_gone_and_all_else_stays(text: str, section: str) -> None:
    left = _read(text)
    left.pop((section, "mon_host"), None)
    assert _read(edited(text, section, "mon_host", None)) == left


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_order_changes_nothing_of_what_is_said(text: str) -> None:
    new = tidied(text)
    assert _read(new) == _read(text)
    assert not parse_ceph(new)[1]
    assert tidied(new) == new
    assert sorted(line.strip() for line in new.splitlines() if line.strip().startswith(("#", ";"))) == sorted(
        line.strip() for line in text.splitlines() if line.strip().startswith(("#", ";"))
    )
