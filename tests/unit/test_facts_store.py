"""Stored facts: written whole and for their owner alone, read with clear words about what is wrong."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recorded
from fixtures.facts import store
from fixtures.facts.base import SCHEMA
from fixtures.facts.run import Facts
from fixtures.facts.store import FILE, FactsFileError, load_facts, save_facts

FACTS = load_facts(recorded.folder("default"))
TREE: dict[str, Any] = json.loads((recorded.folder("default") / FILE).read_text())
SMALL = TREE | {"hosts": {name: TREE["hosts"][name] for name in ("compute1", "controller")}}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2))


def _written(folder: Path, text: str | bytes) -> Path:
    (folder / FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def _refusal(folder: Path) -> str:
    with pytest.raises(FactsFileError) as caught:
        load_facts(folder)
    return str(caught.value).replace(f"{folder}/", "")


def test_what_was_stored_is_read_again(tmp_path: Path) -> None:
    save_facts(FACTS, tmp_path)
    assert load_facts(tmp_path) == FACTS


def test_stored_facts_are_their_owners_alone(tmp_path: Path) -> None:
    path = save_facts(FACTS, tmp_path / "deep" / "er")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_there_stays_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    path = save_facts(FACTS, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_facts_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(tmp_path, "older")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FactsFileError, match="cannot be written: No space left on device"):
        save_facts(FACTS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).read_text() == "older"


def test_a_folder_that_cannot_be_is_told_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FactsFileError, match=r"file/x: facts cannot be stored here: Not a directory"):
        store.prepare_folder(tmp_path / "file" / "x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "facts.json:1: is not whole, or not JSON: Expecting value"),
        ('{"schema_version": 1,\n "hosts": {', "facts.json:2: is not whole, or not JSON"),
        (b'{"a": "\xff"}', "facts.json: is not UTF-8 text (byte 7)"),
        ("[1]", "facts.json: holds a list, not facts"),
        ("[" * 100_000, "facts.json: is not JSON that facts are made of"),
        ("{}", "facts.json: facts of no schema_version; this suite understands version 1: record them anew"),
        ('{"schema_version": 2}', "facts.json: facts of version 2; this suite understands version 1"),
        ('{"schema_version": true}', "facts.json: facts of version True"),
        ('{"schema_version": 1}', "facts.json: these are not facts: observed_at: Field required; hosts: Field"),
        (json.dumps(TREE | {"observed_at": 1e300}), "observed_at: Input should be less than"),
        (json.dumps(TREE | {"hosts": {"x": {"name": "x"}}}), "hosts.x."),
    ],
)
def test_what_is_wrong_is_said(text: str | bytes, said: str, tmp_path: Path) -> None:
    assert said in _refusal(_written(tmp_path, text))


def test_the_version_is_the_one_that_is_written() -> None:
    assert TREE["schema_version"] == SCHEMA


def test_missing_facts_say_how_they_are_made(tmp_path: Path) -> None:
    assert _refusal(tmp_path) == "facts.json: is not there (pytest --cloud FILE --save-facts DIR makes it)"


def test_a_fifo_in_place_of_facts_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert _refusal(tmp_path) == "facts.json: is not a file"


def test_a_flaw_is_told_without_what_stands_there(tmp_path: Path) -> None:
    tree = TREE | {"cloud": ["CANARY"], "CANARY2": "CANARY"}
    assert "CANARY" not in _refusal(_written(tmp_path, json.dumps(tree))).replace("CANARY2:", "")


def _places(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value, whole lists by their first item only."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, list) else ()
    return [path] * bool(path) + [place for key, value in items for place in _places(value, (*path, key))]


def _replaced(tree: Any, path: tuple[str | int, ...], value: object) -> Any:
    if not path:
        return value
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _replaced(tree[path[0]], path[1:], value)
    return copy


@given(place=st.sampled_from(_places(SMALL)), value=JSON)
def test_facts_with_anything_anywhere_are_read_or_refused(
    place: tuple[str | int, ...], value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _written(tmp_path_factory.mktemp("facts"), json.dumps(_replaced(SMALL, place, value)))
    _read_or_refused(folder)


@given(data=st.binary(max_size=64), at=st.integers(min_value=0, max_value=len(json.dumps(SMALL))))
def test_torn_and_hostile_files_are_read_or_refused(
    data: bytes, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = json.dumps(SMALL).encode()
    _read_or_refused(_written(tmp_path_factory.mktemp("facts"), text[:at] + data))


def _read_or_refused(folder: Path) -> None:
    with contextlib.suppress(FactsFileError):
        found = load_facts(folder)
        assert isinstance(found, Facts)
        assert found.now.year < 10000
