"""Edits of a host that can be taken back; sent as text to the host's own Python.

What is about to change is copied into a store folder first: a path with its owner, mode and
times (or the fact that nothing is there), or a cephx entity with its key and caps. Standard
library only, one file.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

ABSENT = ".absent"
COPY = ".copy"


def keep(store: Path, thing: str) -> None:
    """Copy a path, or a cephx entity, unless an earlier try has done so."""
    name = store / quote(thing, safe="")
    copy, absent = Path(f"{name}{COPY}"), Path(f"{name}{ABSENT}")
    if copy.is_symlink() or copy.exists() or absent.exists():
        return
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = store / "new"
    if not thing.startswith("/"):
        _run("ceph", "auth", "get", thing, "--format=json", "-o", str(new))
    elif Path(thing).is_symlink() or Path(thing).exists():
        _run("cp", "--archive", "--no-target-directory", thing, str(new))
    else:
        absent.touch()
        return
    new.rename(copy)


def put_back(store: Path) -> None:
    """Bring all that was kept back to what it was, and forget it."""
    for copy in sorted(store.glob(f"*{COPY}")):
        _put_back(copy, unquote(copy.name.removesuffix(COPY)))
    for absent in store.glob(f"*{ABSENT}"):
        _remove(Path(unquote(absent.name.removesuffix(ABSENT))))
    shutil.rmtree(store, ignore_errors=True)


def _put_back(copy: Path, thing: str) -> None:
    if not thing.startswith("/"):
        _put_back_user(copy)
        return
    path, new = Path(thing), Path(f"{thing}.kept")
    _remove(new)
    _run("cp", "--archive", "--no-target-directory", str(copy), str(new))
    if path.is_dir() and not path.is_symlink():
        _remove(path)
    new.replace(path)


def _put_back_user(copy: Path) -> None:
    # Not by export and import of a keyring: Ceph 16 does not read back caps with quotes that it wrote itself.
    user = json.loads(copy.read_text())[0]
    keyring = copy.with_name("keyring")
    keyring.touch(mode=0o600)
    # An import wants some caps.
    keyring.write_text(f"[{user['entity']}]\nkey = {user['key']}\ncaps mon = allow r\n")
    _run("ceph", "auth", "import", "-i", str(keyring))
    _run("ceph", "auth", "caps", user["entity"], *(word for cap in user["caps"].items() for word in cap))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_option(store: Path, patterns: Iterable[str], section: str, key: str, value: str | None) -> None:
    """Set an option in the file that has the last word on it; with None, take it out of all.

    Args:
        store: Where the files are kept as they were.
        patterns: The service's files, in its reading order.
        section: The section, spelt as in the files.
        key: The option.
        value: Its new value.
    """
    files = [path for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    for path in _concerned(files, section, key, value):
        keep(store, str(path))
        # In place: owner and mode stay.
        path.write_text(edited(path.read_text(), section, key, value))


def _concerned(files: list[Path], section: str, key: str, value: str | None) -> list[Path]:
    lines = {path: path.read_text().splitlines() for path in files}
    setting = [path for path in files if _places(lines[path], section, key)]
    if not files or (value is None and not setting):
        raise SystemExit(f"[{section}] {key} is set in none of {', '.join(map(str, files)) or 'no files'}")
    if value is None:
        return setting
    holding = [path for path in files if f"[{section}]" in lines[path]]
    return (setting or holding or files[:1])[-1:]


def edited(text: str, section: str, key: str, value: str | None) -> str:
    """Return an ini file's text with an option set, or with None taken out."""
    lines = text.splitlines()
    places = _places(lines, section, key)
    if value is None:
        lines = [line for number, line in enumerate(lines) if number not in places]
    elif places:
        lines[places[-1]] = f"{key} = {value}"
    elif f"[{section}]" in lines:
        lines.insert(lines.index(f"[{section}]") + 1, f"{key} = {value}")
    else:
        lines += ["", f"[{section}]", f"{key} = {value}"]
    return "\n".join([*lines, ""])


def _places(lines: list[str], section: str, key: str) -> list[int]:
    """Where an option is set, by line number."""
    found, here = [], False
    for number, line in enumerate(lines):
        if line.startswith("["):
            here = line.strip() == f"[{section}]"
        elif here and line.partition("=")[0].strip() == key:
            found.append(number)
    return found


def _run(*words: str) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")


def main(request: dict[str, Any]) -> None:
    """Carry out what a host is asked for."""
    store = Path(request["store"])
    for thing in request.get("keep", ()):
        keep(store, thing)
    if "option" in request:
        set_option(store, **request["option"])
    if request.get("put_back"):
        put_back(store)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
