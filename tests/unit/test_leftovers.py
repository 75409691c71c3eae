"""What services leave on a host, on a constructed tree: the lab's kernel maps no image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fixtures.observe.collector import leftovers


def test_files_in_folders_and_by_pattern_are_told(tmp_path: Path) -> None:
    (tmp_path / "conversion/deep").mkdir(parents=True)
    (tmp_path / "conversion/deep/tmp1").write_bytes(b"image")
    (tmp_path / "brickrbd_1").write_text("key")
    (tmp_path / "other").write_text("not asked for")
    (tmp_path / "conversion/link").symlink_to("deep/tmp1")
    os.mkfifo(tmp_path / "conversion/fifo")
    os.utime(tmp_path / "brickrbd_1", (0, 1000))
    patterns = [str(tmp_path / name) for name in ("conversion", "brickrbd_*", "absent")]
    found = {Path(told["path"]).name: told for told in leftovers.leftovers_fact(patterns)}
    assert found.keys() == {"tmp1", "brickrbd_1"}
    assert (found["tmp1"]["size"], found["brickrbd_1"]["mtime"]) == (5, 1000)


def test_a_file_in_use_is_told_so(tmp_path: Path) -> None:
    with (tmp_path / "busy").open("w"):
        (tmp_path / "left").touch()
        found = {Path(told["path"]).name: told["open"] for told in leftovers.leftovers_fact([str(tmp_path)])}
    assert found == {"busy": True, "left": False}


def test_of_very_many_files_some_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "MOST", 3)
    for nth in range(9):
        (tmp_path / str(nth)).touch()
    assert len(leftovers.leftovers_fact([str(tmp_path)])) == 3


def test_images_that_the_kernel_has_mapped_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "DEVICES", str(tmp_path))
    assert leftovers.krbd_fact() == []
    (tmp_path / "0").mkdir()
    (tmp_path / "0/pool").write_text("volumes\n")
    (tmp_path / "0/name").write_text("volume-1\n")
    assert leftovers.krbd_fact() == ["volumes/volume-1"]
