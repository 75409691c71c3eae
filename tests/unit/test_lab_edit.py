"""Edits of a host are taken back byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import edit

CONF = "[DEFAULT]\n# debug = true\ndebug = false\n\n[rbd]\nrbd_pool = volumes\nrbd_user=cinder\n"


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("rbd", "rbd_pool", "rbd", CONF.replace("= volumes", "= rbd")),
        ("rbd", "rbd_user", None, CONF.replace("rbd_user=cinder\n", "")),
        ("rbd", "depth", "0", CONF.replace("[rbd]\n", "[rbd]\ndepth = 0\n")),
        ("DEFAULT", "rbd_pool", "rbd", CONF.replace("[DEFAULT]\n", "[DEFAULT]\nrbd_pool = rbd\n")),
        ("other", "key", "value", f"{CONF}\n[other]\nkey = value\n"),
    ],
)
def test_an_option_is_set_and_nothing_else(section: str, key: str, value: str | None, expected: str) -> None:
    assert edit.edited(CONF, section, key, value) == expected


def test_of_an_option_set_twice_the_last_one_counts() -> None:
    assert edit.edited("[s]\nk = 1\nk = 2\n", "s", "k", "3") == "[s]\nk = 1\nk = 3\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "main.conf").write_text("[rbd]\nrbd_pool = volumes\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "50.conf").write_text("[rbd]\nrbd_pool = volumes\nrbd_user = cinder\n")
    (tmp_path / "conf.d" / "60.conf").write_text("[DEFAULT]\nbackup_driver = x\n")
    return [str(tmp_path / "main.conf"), str(tmp_path / "conf.d" / "*.conf"), str(tmp_path / "absent.conf")]


def _texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.conf"))}


@pytest.mark.parametrize(
    ("section", "key", "value", "touched"),
    [
        ("rbd", "rbd_pool", "rbd", {"conf.d/50.conf"}),
        ("rbd", "rbd_pool", None, {"main.conf", "conf.d/50.conf"}),
        ("rbd", "depth", "0", {"conf.d/50.conf"}),
        ("DEFAULT", "backup_driver", "y", {"conf.d/60.conf"}),
        ("elsewhere", "key", "value", {"main.conf"}),
    ],
)
def test_the_file_with_the_last_word_is_edited_and_put_back(
    files: list[str], tmp_path: Path, section: str, key: str, value: str | None, touched: set[str]
) -> None:
    store, before = tmp_path / "store", _texts(tmp_path)
    edit.set_option(store, files, section, key, value)
    after = _texts(tmp_path)
    assert {name for name in before if after[name] != before[name]} == touched
    edit.put_back(store)
    assert _texts(tmp_path) == before
    assert not store.exists()


def test_an_option_that_is_not_set_cannot_be_taken_away(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"\[rbd\] flatten is set in none of"):
        edit.set_option(tmp_path / "store", files, "rbd", "flatten", None)


def test_a_file_comes_back_with_mode_and_times(tmp_path: Path) -> None:
    store, path = tmp_path / "store", tmp_path / "a b%c"
    path.write_bytes(b"\0key")
    path.chmod(0o640)
    os.utime(path, (1, 2))
    edit.keep(store, str(path))
    path.write_text("other")
    path.chmod(0o644)
    edit.keep(store, str(path))
    edit.put_back(store)
    found = path.stat()
    assert (path.read_bytes(), found.st_mode & 0o777, found.st_mtime) == (b"\0key", 0o640, 2)


def test_what_was_moved_away_comes_back_and_what_was_not_there_goes(tmp_path: Path) -> None:
    store, path, link = tmp_path / "store", tmp_path / "file", tmp_path / "link"
    link.symlink_to("nowhere")
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    new = tmp_path / "new"
    path.write_text("text")
    for thing in (path, link, folder, new):
        edit.keep(store, str(thing))
    path.rename(new)
    path.symlink_to(new)
    link.unlink()
    (folder / "inner").rmdir()
    edit.put_back(store)
    assert not path.is_symlink() and path.read_text() == "text"
    assert (str(link.readlink()), (folder / "inner").is_dir(), new.exists()) == ("nowhere", True, False)
    edit.put_back(store)


def test_keys_are_kept_where_only_root_can_look(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    edit.keep(tmp_path / "store", str(tmp_path / "file"))
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
