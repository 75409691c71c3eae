"""What lies at a path, and putting something else there so that nobody ever sees half of it."""

import contextlib
import difflib
import errno
import grp
import hashlib
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from fixtures.observe.collector.redact import Redactor

Json = Dict[str, Any]
State = Dict[str, Any]
LARGEST = 8 << 20
CONTEXT = 2
KEPT = "/var/lib/ceph-openstack-conformance"
ABSENT = {"kind": "absent"}
MANAGED = re.compile(
    r"(ansible|puppet|juju|chef|saltstack|kolla|tripleo|charm)\b.*\b(manage|maintain|generat|overwrit|control)"
    r"|\b(managed|maintained|generated|controlled) by\b|do not (edit|modify|change)",
    re.IGNORECASE,
)
HEAD_LINES = 15
ASSIGNMENT = re.compile(r"^([#;\s]*)([\w.-]+)(\s*[=:][ \t]*)(.*?)(\s*)$", re.DOTALL)


class Refused(Exception):
    """This host or path is not one where that can be done; says why."""


class Content(NamedTuple):
    """A file or folder, whole."""

    kind: str
    owner: str
    group: str
    mode: int
    data: bytes = b""

    def state(self) -> State:
        """What identifies it, without showing it."""
        told = {"kind": self.kind, "owner": self.owner, "group": self.group, "mode": "%04o" % self.mode}
        if self.kind == "file":
            told["sha256"] = hashlib.sha256(self.data).hexdigest()
        return told

    def text(self) -> str:
        """As text that any bytes survive."""
        return self.data.decode("utf-8", "surrogateescape")

    def with_text(self, text: str) -> "Content":
        """The same with another text."""
        return self._replace(data=text.encode("utf-8", "surrogateescape"))


def state_of(content: Optional[Content]) -> State:
    """Return what identifies what is at a path."""
    return content.state() if content else dict(ABSENT)


def read(path: str) -> Optional[Content]:
    """Return what is at a path, links followed; None where nothing is."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise Refused("%s: what should be a folder on the way there is none" % path)
    kind = "dir" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"
    if kind == "other" or (found.st_size > LARGEST and kind == "file"):
        raise Refused("%s: neither a folder nor a file of a size to repair" % path)
    data = b""
    if kind == "file":
        with open(path, "rb") as file:
            data = file.read()
    return Content(kind, _user(found.st_uid), _group(found.st_gid), stat.S_IMODE(found.st_mode), data)


def put(path: str, content: Optional[Content], tag: str) -> None:
    """Make a path be what it should be, whole or not at all, and on disk when this returns."""
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    new = os.path.join(folder, ".%s.%s" % (os.path.basename(path), tag))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # of a try that was killed
    if content is None:
        _remove(path)
    elif content.kind == "dir":
        _put_folder(path, content)
    else:
        _put_file(path, new, content)
    _sync(folder)


def _put_file(path: str, new: str, content: Content) -> None:
    existed = os.path.exists(path)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.data)
        if existed:
            _copy_labels(path, new)
        os.chown(new, _uid(content.owner), _gid(content.group))
        os.chmod(new, content.mode)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    if not existed:
        _label(path)


def _put_folder(path: str, content: Content) -> None:
    if not os.path.isdir(path):
        os.mkdir(path, 0o700)
        _label(path)
    os.chown(path, _uid(content.owner), _gid(content.group))
    os.chmod(path, content.mode)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        inside = [os.path.join(path, name) for name in sorted(os.listdir(path))]
        names = [os.path.basename(one) for one in inside if not _is_left_by_the_dead(one)]
        if names:
            # Never what somebody has put into it.
            some = ", ".join(names[:5]) + (" and %d more" % (len(names) - 5) if len(names) > 5 else "")
            raise OSError(errno.ENOTEMPTY, "it is not empty: %s" % some, path)
        for socket_of_the_dead in inside:
            os.unlink(socket_of_the_dead)
        os.rmdir(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _is_left_by_the_dead(path: str) -> bool:
    """Whether it is a socket on which nobody listens: who was killed could not remove it."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.settimeout(1)
        try:
            link.connect(path)
        except OSError as error:
            return error.errno == errno.ECONNREFUSED
    return False


def _copy_labels(path: str, new: str) -> None:
    """SELinux context and access list."""
    for name in os.listxattr(path):
        with contextlib.suppress(OSError):
            os.setxattr(new, name, os.getxattr(path, name))


def _label(path: str) -> None:
    restorecon = shutil.which("restorecon")
    if restorecon:
        subprocess.call([restorecon, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdigit() else _nobody(name)


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdigit() else _nobody(name)


def _nobody(name: str) -> int:
    raise Refused("no account or group %s on this host" % name)


# Backups


def keep(store: str, data: bytes) -> None:
    """Keep bytes for the way back, readable by root alone."""
    folder = os.path.dirname(store)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    new = store + ".new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, store)
    _sync(folder)


def kept(store: str) -> bytes:
    """Return what was kept."""
    try:
        with open(store, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise Refused("the copy %s is gone" % store)


# For people


def managed_by(content: Optional[Content]) -> str:
    """Return the line by which a tool claims a file, "" where none does."""
    if content is None or content.kind != "file":
        return ""
    head = content.text().splitlines()[:HEAD_LINES]
    return next((line.strip() for line in head if line[:1] in "#;/" and MANAGED.search(line)), "")


def difference(path: str, old: Optional[Content], new: Optional[Content]) -> List[str]:
    """Return the change as a person reads it: a unified diff without secrets, then owner and mode."""
    lines: List[str] = []
    if (old.data if old else b"") != (new.data if new else b""):
        redactor = Redactor(os.urandom(16))
        was, is_now = (shown(content, redactor).splitlines() if content else [] for content in (old, new))
        old_name, new_name = (path if content else "/dev/null" for content in (old, new))
        lines += difflib.unified_diff(was, is_now, old_name, new_name, n=CONTEXT, lineterm="")
    return lines + list(_attributes(path, old, new))


def _attributes(path: str, old: Optional[Content], new: Optional[Content]) -> Iterator[str]:
    if new is None:
        yield "%s: removed" % path
        return
    if old is None:
        yield "%s: new %s, %s:%s %04o" % (path, new.kind, new.owner, new.group, new.mode)
        return
    if (old.owner, old.group) != (new.owner, new.group):
        yield "%s: owner %s:%s -> %s:%s" % (path, old.owner, old.group, new.owner, new.group)
    if old.mode != new.mode:
        yield "%s: mode %04o -> %04o" % (path, old.mode, new.mode)


def shown(content: Content, redactor: Redactor) -> str:
    """Return a file's text with every secret in it hidden, keys as their digest."""
    return "".join(_shown_line(line, redactor) for line in content.text().splitlines(True))


def _shown_line(line: str, redactor: Redactor) -> str:
    found = ASSIGNMENT.match(line)
    if not found:
        return redactor.text(line)
    name, value = found.group(2), found.group(4)
    told = digest_of(value) if name == "key" else redactor.option(name, value)
    return found.group(1) + name + found.group(3) + told + found.group(5)


def digest_of(key: str) -> str:
    """Return how a cephx key is shown; "" is that of a user whom an earlier step of the plan makes."""
    if not key:
        return "key of the user that is yet to be made"
    return "key sha256:" + hashlib.sha256(key.encode()).hexdigest()[:16]


def private(text: str) -> Any:
    """A file that goes when it is closed; mkstemp closes it to others."""
    file = tempfile.NamedTemporaryFile("w", dir="/run", prefix="osc-")  # noqa: SIM115
    file.write(text)
    file.flush()
    return file
