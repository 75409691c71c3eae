from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.facts.host import ConfigEntry
from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.ini import parse_oslo
from fixtures.observe.collector.redact import Redactor
from fixtures.observe.collector.sources import Launch, Sources, environment_entries
from fixtures.oslo import ENVIRONMENT, OsloConfig

cfg: Any = pytest.importorskip("oslo_config.cfg")


def config(*files: str, environment: Mapping[str, str] | None = None) -> OsloConfig:
    """Read texts as the files of one service."""
    entries = [
        ConfigEntry(file=f"/etc/{number}.conf", line=line, section=section, key=key, value=value)
        for number, text in enumerate(files)
        for line, section, key, value in parse_oslo(text)
    ]
    from_environment = environment_entries(dict(environment or {}), Redactor(b"salt"))
    return OsloConfig([*entries, *(ConfigEntry(**entry) for entry in from_environment)])


def theirs(tmp_path: Path, files: list[str], options: list[tuple[str, str]], multi: bool = False) -> Any:
    """Read the same texts by oslo.config itself."""
    paths = []
    for number, text in enumerate(files):
        paths.append(tmp_path / f"{number}.conf")
        paths[-1].write_text(text)
    conf = cfg.ConfigOpts()
    kind = cfg.MultiStrOpt if multi else cfg.StrOpt
    for section, key in options:
        conf.register_opt(kind(key), group=None if section == "DEFAULT" else section)
    conf([word for path in paths for word in ("--config-file", str(path))], project="none", default_config_dirs=[])
    return conf


def test_the_later_file_wins_and_says_where() -> None:
    conf = config("[DEFAULT]\nhost = a\n", "\n[DEFAULT]\nhost = b\n")
    assert conf.get("DEFAULT", "host") == "b"
    assert conf.where("DEFAULT", "host") == "/etc/1.conf:3"


def test_the_environment_wins_over_files() -> None:
    conf = config("[libvirt]\nrbd_user = a\n", environment={"OS_LIBVIRT__RBD_USER": "b", "OS_USERNAME": "admin"})
    assert conf.get("libvirt", "rbd_user") == "b"
    assert conf.where("libvirt", "rbd_user") == ENVIRONMENT


def test_sections_are_case_insensitive_but_for_default() -> None:
    conf = config("[RBD]\nrbd_pool = a\n[rbd]\nrbd_user = u\n[default]\nhost = lower\n")
    assert conf.get("Rbd", "rbd_pool") == "a"
    assert conf.get("RBD", "rbd_user") == "u"
    assert conf.get("DEFAULT", "host") is None
    assert conf.sections() == ("RBD", "default")
    assert conf.keys("rbd") == ("rbd_pool", "rbd_user")


def test_default_is_not_inherited() -> None:
    assert config("[DEFAULT]\nrbd_pool = a\n[rbd]\nx = y\n").get("rbd", "rbd_pool") is None


def test_a_former_name_in_a_later_file_wins() -> None:
    conf = config("[libvirt]\nrbd_user = new\n", "[DEFAULT]\nlibvirt_rbd_user = old\n")
    assert conf.get("libvirt", "rbd_user", None, ("DEFAULT", "libvirt_rbd_user")) == "old"


@pytest.mark.parametrize("text", ["yes", "True", "1", "ON"])
def test_true_is_spelled_in_several_ways(text: str) -> None:
    assert config(f"[a]\nx = {text}\n").boolean("a", "x") is True


def test_a_wrong_boolean_says_where() -> None:
    with pytest.raises(ValueError, match=r"/etc/0.conf:2: \[a\] x is no boolean: 'maybe'"):
        config("[a]\nx = maybe\n").boolean("a", "x")


def test_a_wrong_integer_says_where() -> None:
    with pytest.raises(ValueError, match=r"/etc/0.conf:2: \[a\] x is no integer"):
        config("[a]\nx = five\n").integer("a", "x")


def test_typed_defaults() -> None:
    conf = config("[a]\nempty =\n")
    assert conf.boolean("a", "none", True) is True
    assert conf.integer("a", "empty", 5) == 5
    assert conf.items("a", "none", ["x"]) == ("x",)
    assert conf.items("a", "empty") == ()


def test_items_are_split_and_stripped() -> None:
    assert config("[a]\nx = rbd:rbd , file:file,\n").items("a", "x") == ("rbd:rbd", "file:file")


def test_interpolation_like_oslo_config(tmp_path: Path) -> None:
    text = """[DEFAULT]
host = h
cost = $$5 and \\$6
unknown = $nothing ${nothing} $ ${
[g]
host = gh
own = $host
dotted = ${g.host}/$g.own
"""
    options = [("DEFAULT", "host"), ("DEFAULT", "cost"), ("g", "host"), ("g", "own"), ("g", "dotted")]
    conf, reference = config(text), theirs(tmp_path, [text], options)
    for section, key in options:
        group = reference if section == "DEFAULT" else reference[section]
        assert conf.get(section, key) == group[key], (section, key)
    assert config("[g]\nx = $DEFAULT.host\n[DEFAULT]\nhost = h\n").get("g", "x") == "$DEFAULT.host"
    assert conf.get("DEFAULT", "unknown") == "$nothing ${nothing} $ ${"


def test_defaults_serve_interpolation() -> None:
    entries = [ConfigEntry(file="/f", line=1, section="oslo_concurrency", key="lock_path", value="$state_path/lock")]
    conf = OsloConfig(entries, {("DEFAULT", "state_path"): "/var/lib/nova"})
    assert conf.get("oslo_concurrency", "lock_path") == "/var/lib/nova/lock"
    assert conf.get("DEFAULT", "state_path") == "/var/lib/nova"


def test_circles_end() -> None:
    deep = "".join(f"x{number} = $x{number + 1}$x{number + 1}\n" for number in range(100))
    conf = config(f"[a]\na = $b\nb = $a\n{deep}x100 = 1\n")
    assert "$" in str(conf.get("a", "a"))
    assert len(str(conf.get("a", "x0"))) < 1000


LINES = st.one_of(
    st.sampled_from(["[DEFAULT]", "[RBD]", "[rbd]", "[g]", "[]", "[x", "[x] # y", "", "  ", "# c", "; c", "\t# d"]),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["a", "b", "host", "", " a", "\ta", "a b"]),
        st.sampled_from(["=", ":", " = ", " : ", "==", ""]),
        st.sampled_from(["", "1", "'q'", '"q"', "'", "\"'", "a # b", "a = b", " v ", "$host", "${g.a}", "é", "x:y"]),
        st.sampled_from(["", "\r", " ", "\f", "\x1c"]),
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
TEXTS = st.lists(LINES, max_size=12).map("\n".join)


def parsed_by_oslo(path: Path, text: str) -> dict[str, dict[str, list[str]]] | None:
    path.write_text(text, encoding="utf-8", newline="")
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(str(path), sections).parse()
    except cfg.ParseError:
        return None
    return {name: options for name, options in sections.items() if options}


def parsed_by_us(text: str) -> dict[str, dict[str, list[str]]] | None:
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        for _, section, key, value in parse_oslo(text):
            sections.setdefault(section, {}).setdefault(key, []).append(value)
    except StepFailed:
        return None
    return sections


@pytest.fixture(scope="module")
def a_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oslo") / "any.conf"


@settings(deadline=None)
@given(text=TEXTS)
def test_files_are_read_as_oslo_config_reads_them(a_file: Path, text: str) -> None:
    assert parsed_by_us(text) == parsed_by_oslo(a_file, text)


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_as_oslo_config_reads_it(a_file: Path, text: str) -> None:
    assert parsed_by_us(text) == parsed_by_oslo(a_file, text)


@settings(deadline=None, max_examples=30)
@given(files=st.lists(TEXTS.filter(lambda text: parsed_by_us(text) is not None), min_size=1, max_size=3))
def test_values_are_those_of_oslo_config(tmp_path_factory: pytest.TempPathFactory, files: list[str]) -> None:
    options = [(section, key) for section in ("DEFAULT", "rbd", "g") for key in ("a", "b", "host")]
    reference = theirs(tmp_path_factory.mktemp("v"), files, options)
    several = theirs(tmp_path_factory.mktemp("m"), files, options, multi=True)
    conf = config(*files)
    for section, key in options:
        try:
            one = (reference if section == "DEFAULT" else reference[section])[key]
            many = (several if section == "DEFAULT" else several[section])[key]
        except (cfg.TemplateSubstitutionError, RecursionError):
            continue
        # an option that is known but not set becomes "" in a template, an unknown one stays
        if one is not None and "$" not in "".join(many):
            assert conf.get(section, key) == one or "$" in str(conf.get(section, key))
            assert list(conf.get_all(section, key)) == many or "$" in "".join(conf.get_all(section, key))


@settings(deadline=None)
@given(value=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_interpolation_never_fails(value: str) -> None:
    entry = ConfigEntry(file="/f", line=1, section="a", key="x", value=value)
    assert isinstance(OsloConfig([entry]).get("a", "x"), str)


PLAIN = st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="$\\")


@settings(deadline=None)
@given(value=st.text(PLAIN, min_size=1))
def test_a_written_value_comes_back(value: str) -> None:
    quoted = f'"{value}"'
    assert config(f"[a]\nx = {quoted}\n").get("a", "x") == value


def test_default_files_are_found_as_oslo_config_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".nova").mkdir(parents=True)
    for name in (".nova/nova-compute.conf", "nova.conf"):
        (home / name).write_text("[DEFAULT]\n")
    (home / "nova-compute.conf.d").mkdir()
    for name in ("b.conf", "a.conf", ".c.conf", "d.txt"):
        (home / "nova-compute.conf.d" / name).write_text("[DEFAULT]\n")
    monkeypatch.setenv("HOME", str(home))
    role = {"project": "nova", "prog": "nova-compute"}
    sources = Sources(role, Launch([], {}, str(home)))
    expected = cfg.find_config_files("nova", "nova-compute")
    folder = cfg.find_config_dirs("nova", "nova-compute")[0]
    assert sources.files == [*expected, os.path.join(folder, "a.conf"), os.path.join(folder, "b.conf")]  # noqa: PTH118


def test_default_folders_come_before_named_files(tmp_path: Path) -> None:
    home = tmp_path
    (home / "glance-api.conf.d").mkdir()
    (home / "glance-api.conf.d" / "x.conf").write_text("")
    (home / "glance-api.conf").write_text("")
    argv = ["/usr/bin/python3", "/usr/bin/glance-api", "--config-file=/g.conf"]
    sources = Sources({"project": "glance"}, Launch(argv, {}, str(home)))
    assert sources.files == [str(home / "glance-api.conf.d" / "x.conf"), "/g.conf"]
