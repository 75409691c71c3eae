"""The editor of INI files changes one option and nothing else, whatever the file looks like."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.observe.collector.ini import parse_oslo
from remediate.hand.ini import edited, values

SAMPLE = """\
# Managed by nobody
[DEFAULT]
#show_image_direct_url = false
# what follows is about logs
log_file=/var/log/x   ; kept

[glance_store]
stores : file,
    http
rbd_store_pool = old
rbd_store_pool =  other  \n
# the last comment belongs to the next section
[paste_deploy]
flavor = keystone
"""


@pytest.mark.parametrize(
    ("section", "key", "value", "old", "new"),
    [
        ("glance_store", "rbd_store_pool", "images", "rbd_store_pool =  other  \n", "rbd_store_pool =  images\n"),
        ("glance_store", "stores", "rbd", "stores : file,\n    http\n", "stores : rbd\n"),
        ("DEFAULT", "log_file", "/x", "log_file=/var/log/x   ; kept\n", "log_file=/x\n"),
        (
            "DEFAULT",
            "show_image_direct_url",
            "True",
            "#show_image_direct_url = false\n",
            "#show_image_direct_url = false\nshow_image_direct_url = True\n",
        ),
        (
            "glance_store",
            "rbd_store_user",
            "glance",
            "rbd_store_pool =  other  \n",
            "rbd_store_pool =  other  \nrbd_store_user = glance\n",
        ),
        ("GLANCE_STORE", "rbd_store_pool", None, "rbd_store_pool = old\nrbd_store_pool =  other  \n", ""),
        ("paste_deploy", "flavor", None, "flavor = keystone\n", ""),
    ],
)
def test_only_the_option_changes(section: str, key: str, value: str | None, old: str, new: str) -> None:
    assert edited(SAMPLE, section, key, value) == SAMPLE.replace(old, new)


def test_a_section_that_is_missing_is_added_at_the_end() -> None:
    assert edited("[a]\nb = 1", "libvirt", "rbd_user", "x") == "[a]\nb = 1\n\n[libvirt]\nrbd_user = x\n"
    assert edited("", "libvirt", "rbd_user", "x") == "[libvirt]\nrbd_user = x\n"


def test_a_file_without_sections_is_one() -> None:
    text = '#max_files = 1024\ncgroup_device_acl = [\n    "/dev/null", "/dev/kvm"\n]\nuser = "root"\n'
    changed = edited(text, "", "max_files", "32768")
    assert changed == text.replace("1024\n", "1024\nmax_files = 32768\n")
    assert edited(changed, "", "max_files", None) == text
    twice = edited(changed + "max_files = 5\n", "", "max_files", "4096")
    assert twice == text.replace("1024\n", "1024\nmax_files = 4096\n")


def test_line_ends_of_the_file_are_kept() -> None:
    assert edited("[a]\r\nb = 1\r\n", "a", "c", "2") == "[a]\r\nb = 1\r\nc = 2\r\n"


def test_an_option_of_another_section_or_of_a_longer_name_is_another_option() -> None:
    text = "[a]\nkey_more = 1\n#key = 0\n[b]\nkey = 1\n"
    assert edited(text, "a", "key", "2") == "[a]\nkey_more = 1\n#key = 0\nkey = 2\n[b]\nkey = 1\n"


NAMES = st.sampled_from(["alpha", "beta", "rbd_pool", "rbd_pool_more"])
VALUES = st.text("abcXYZ09 ,:=/#$-", max_size=12).map(str.strip).filter(lambda text: text[:1] not in tuple("\"'"))
SECTIONS = st.sampled_from(["DEFAULT", "ceph", "Ceph", "libvirt"])
LINES = st.one_of(
    SECTIONS.map(lambda name: f"[{name}]"),
    st.builds(
        lambda name, gap, value: f"{name}{gap}{value}", NAMES, st.sampled_from(["=", " = ", ": ", "  :"]), VALUES
    ),
    st.builds(lambda name, value: f"#{name} = {value}", NAMES, VALUES),
    st.sampled_from(["", "# a remark", "; another", "   "]),
)
FILES = st.builds(
    lambda head, lines, end, last: end.join([f"[{head}]", *lines]) + last * end,
    SECTIONS,
    st.lists(LINES, max_size=14),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(FILES, SECTIONS, NAMES, VALUES)
def test_the_service_reads_the_new_value_and_all_others_as_before(
    text: str, section: str, key: str, value: str
) -> None:
    new = edited(text, section, key, value)

    assert _read(new)[_name(section, key)][-1] == value
    assert _others(new, section, key) == _others(text, section, key)
    assert edited(new, section, key, value) == new
    assert values(new, section, key)[-1] == value


@settings(max_examples=200, deadline=None)
@given(FILES, SECTIONS, NAMES)
def test_an_option_that_is_taken_out_is_gone_and_all_else_stays(text: str, section: str, key: str) -> None:
    new = edited(text, section, key, None)

    assert _name(section, key) not in _read(new)
    assert _others(new, section, key) == _others(text, section, key)
    kept = iter(text.splitlines(keepends=True))
    assert all(line in kept for line in new.splitlines(keepends=True)), "lines are kept as they are, in order"


@settings(max_examples=200, deadline=None)
@given(FILES, SECTIONS, NAMES, VALUES)
def test_no_comment_and_no_other_line_is_touched(text: str, section: str, key: str, value: str) -> None:
    old, new = text.splitlines(), edited(text, section, key, value).splitlines()
    changed = [line for line in old if line not in new]
    assert len(changed) <= 1
    assert not any(line.startswith(("#", ";", "[")) for line in changed)


def _read(text: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for _, section, key, value in parse_oslo(_readable(text)):
        found.setdefault(_name(section, key), []).append(value)
    return found


def _readable(text: str) -> str:
    """As the parser takes it: it refuses blanks that continue nothing, which the editor leaves alone."""
    return "\n".join(line.rstrip() if not line.strip() else line for line in text.splitlines())


def _others(text: str, section: str, key: str) -> dict[tuple[str, str], list[str]]:
    return {name: found for name, found in _read(text).items() if name != _name(section, key)}


def _name(section: str, key: str) -> tuple[str, str]:
    return (section if section == "DEFAULT" else section.lower(), key)
