"""Build the heartbeat guest: a raw disk that boots, beats and obeys, made of Debian packages only.

The disk, from byte 0 (`Layout` has the figures):

    0       FAT16 without a partition table: syslinux, kernel, initramfs
    32 MiB  reserved area of 8 MiB
              +0       command block, 4 KiB    +4 KiB   result block, 4 KiB
              +8 KiB   marker block, 4 KiB     +64 KiB  ring of 2032 records of 4 KiB
    40 MiB  free: patterns that a command asks for
    64 MiB  end of the plain image; what lies beyond is filled as `build` was asked

A disk that is attached later has the same area at byte 0, without the marker. The guest writes to
such a disk only if a command block stands there, or if one on its root disk names it (`on=`).
Formats: `fixtures.heartbeat`.
"""

import gzip
import hashlib
import json
import lzma
import os
import random
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Fill = Literal["zero", "random"]

MIB = 1 << 20
FAT_MIB = 32
IMAGE_MIB = 64
KERNEL = "linux-image-cloud-amd64"
BUSYBOX = "busybox-static"
DISK_MODULES = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod")
LATE_MODULES = ("button", "evdev", "virtio_net")
TOOLS = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
}
SYSLINUX_CFG = """\
DEFAULT guest
PROMPT 0
LABEL guest
 LINUX vmlinuz
 INITRD initrd.gz
 APPEND console=ttyS0 quiet loglevel=3 mitigations=off panic=10 cryptomgr.notests rcupdate.rcu_expedited=1
"""
FILL_SEED = 20250101


class GuestBuildError(RuntimeError):
    """The image cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Layout:
    """Where things stand on the root disk, in bytes; /init reads the same figures from /layout."""

    base: int = FAT_MIB * MIB
    header: int = 64 * 1024
    record: int = 4096
    slots: int = 2032
    area: int = 8 * MIB

    @property
    def marker(self) -> int:
        """Where the guest knows its root disk by."""
        return self.base + 2 * self.record

    def as_shell(self) -> str:
        """The figures as assignments."""
        return "".join(f"{key.upper()}={value}\n" for key, value in asdict(self).items())


LAYOUT = Layout()


@dataclass(frozen=True)
class Package:
    """One version of a Debian package as apt offers it."""

    name: str
    version: str
    sha256: str
    depends: str


@dataclass(frozen=True)
class Entry:
    """One member of the initramfs."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def build(cache: Path, size_mib: int = IMAGE_MIB, fill: Fill = "zero") -> Path:
    """Return the image `guest-<key>.raw` in `cache`, built if it is not there yet.

    A bigger image is the plain one, byte for byte, and then zeros (sparse) or incompressible
    bytes, the same ones each time.
    """
    if size_mib < IMAGE_MIB:
        raise GuestBuildError(f"the guest needs {IMAGE_MIB} MiB, asked for {size_mib}")
    _require_tools()
    cache.mkdir(parents=True, exist_ok=True)
    packages = {name: _resolve(name) for name in (KERNEL, BUSYBOX)}
    key = _key(packages)
    plain = _once(cache / f"guest-{key}.raw", lambda work: _plain(work, packages, cache))
    if size_mib == IMAGE_MIB:
        return plain
    return _once(cache / f"guest-{key}-{size_mib}-{fill}.raw", lambda work: _bigger(work, plain, size_mib, fill))


def _once(image: Path, make: Callable[[Path], Path]) -> Path:
    if not image.exists():
        with tempfile.TemporaryDirectory(dir=image.parent, prefix=".guest-") as work:
            _synced(make(Path(work))).replace(image)
    return image


def _synced(path: Path) -> Path:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
    return path


def _plain(work: Path, packages: Mapping[str, Package], cache: Path) -> Path:
    kernel = _unpack(_download(packages[KERNEL], cache), work / "kernel")
    busybox = _unpack(_download(packages[BUSYBOX], cache), work / "busybox")
    initrd = work / "initrd.gz"
    initrd.write_bytes(gzip.compress(_cpio(_initramfs(kernel, busybox)), mtime=0))
    disk = _boot_disk(work, _only(kernel.glob("boot/vmlinuz-*"), "kernel"), initrd)
    with disk.open("r+b") as file:
        file.truncate(IMAGE_MIB * MIB)
        file.seek(LAYOUT.marker)
        file.write(b"OSC-ROOT 1\n".ljust(LAYOUT.record, b"\n"))
    return disk


def _bigger(work: Path, plain: Path, size_mib: int, fill: Fill) -> Path:
    disk = work / "disk.raw"
    _run("cp", "--sparse=always", plain, disk)
    with disk.open("r+b") as file:
        file.truncate(size_mib * MIB)
        file.seek(IMAGE_MIB * MIB)
        file.writelines(_noise(size_mib - IMAGE_MIB) if fill == "random" else ())
    return disk


def _require_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool, path=_path())})
    if missing:
        raise GuestBuildError(f"missing tools: apt-get install -y --no-install-recommends {' '.join(missing)}")


def _path() -> str:
    """PATH with the folders that a plain user's lacks: mkfs.vfat is in one of them."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def _run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    full = {**os.environ, "PATH": _path(), **(env or {})}
    done = subprocess.run(words, cwd=cwd, env=full, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise GuestBuildError(f"{' '.join(words)} ended with {done.returncode}: {said}")
    return done.stdout


def _key(packages: Mapping[str, Package]) -> str:
    here = Path(__file__)
    sources = here.read_bytes() + here.with_name("init").read_bytes()
    parts = [package.sha256 for package in packages.values()]
    return hashlib.sha256(json.dumps(parts).encode() + sources).hexdigest()[:16]


# ---- packages


def _resolve(name: str) -> Package:
    """Ask apt for the candidate; a kernel's meta package is followed to the package that holds it."""
    package = _candidate(name)
    real = re.search(r"\blinux-image-\d\S*-cloud-\S+", package.depends)
    return _candidate(real.group()) if real else package


def _candidate(name: str) -> Package:
    try:
        text = _run("apt-cache", "show", "--no-all-versions", name, env={"LC_ALL": "C"})
    except GuestBuildError as error:
        raise GuestBuildError(f"apt does not know {name}: run apt-get update") from error
    fields = dict(re.findall(r"^(Version|SHA256|Depends): (.*)$", text, re.MULTILINE))
    if "SHA256" not in fields:
        raise GuestBuildError(f"apt knows {name} but cannot download it: run apt-get update")
    return Package(name, fields["Version"], fields["SHA256"], fields.get("Depends", ""))


def _download(package: Package, cache: Path) -> Path:
    kept = cache / f"{package.name}-{package.sha256[:16]}.deb"
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory(dir=cache, prefix=".deb-") as name:
        # apt's own user could not write into this folder.
        sandbox = "APT::Sandbox::User=root"
        _run("apt-get", "-o", sandbox, "download", f"{package.name}={package.version}", cwd=Path(name))
        deb = _only(Path(name).glob("*.deb"), package.name)
        found = hashlib.sha256(deb.read_bytes()).hexdigest()
        if found != package.sha256:
            raise GuestBuildError(f"{deb.name}: sha256 is {found}, apt promised {package.sha256}")
        deb.replace(kept)
    return kept


def _unpack(deb: Path, target: Path) -> Path:
    _run("dpkg-deb", "-x", deb, target)
    return target


def _only(paths: Iterable[Path], what: str) -> Path:
    found = sorted(paths)
    if len(found) != 1:
        raise GuestBuildError(f"expected one file for {what}, found {[str(p) for p in found]}")
    return found[0]


# ---- kernel modules


@dataclass(frozen=True)
class Modules:
    """The modules of one unpacked kernel package, which ships no modules.dep: depmod is its postinst's work."""

    files: Mapping[str, Path]
    builtin: frozenset[str]

    @classmethod
    def of(cls, kernel: Path) -> "Modules":
        """Find them in an unpacked package, whichever way its folders are merged."""
        root = _only([*kernel.glob("lib/modules/*"), *kernel.glob("usr/lib/modules/*")], "kernel modules")
        files = {_module_name(path): path for path in root.rglob("*.ko*")}
        lines = (root / "modules.builtin").read_text().split()
        return cls(files, frozenset(_module_name(Path(line)) for line in lines))

    def closure(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """The wanted modules and all they need, in loading order."""
        loaded: dict[str, bytes] = {}
        for name in wanted:
            self._add(name, loaded)
        return loaded

    def _add(self, name: str, loaded: dict[str, bytes]) -> None:
        if name in loaded or name in self.builtin:
            return
        if name not in self.files:
            raise GuestBuildError(f"the kernel package has no module {name}")
        data = _module_data(self.files[name])
        for needed in _module_depends(data):
            self._add(needed, loaded)
        loaded[name] = data


def _module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _module_data(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _module_depends(data: bytes) -> list[str]:
    found = re.search(rb"\0depends=([^\0]*)\0", data)
    names = found.group(1).decode() if found else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


# ---- initramfs


def _initramfs(kernel: Path, busybox: Path) -> Iterator[Entry]:
    modules = Modules.of(kernel)
    disk = modules.closure(DISK_MODULES)
    late = modules.closure((*DISK_MODULES, *LATE_MODULES))
    for folder in ("bin", "dev", "modules", "proc", "run", "sys"):
        yield Entry(folder, stat.S_IFDIR | 0o755)
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield _program("bin/busybox", _only(_busybox_binaries(busybox), BUSYBOX).read_bytes())
    program = Path(__file__).with_name("init").read_bytes()
    for name in ("init", "lease"):
        yield _program(name, program)
    yield _file("layout", LAYOUT.as_shell().encode())
    yield _file("modules/disk.order", _lines(disk))
    yield _file("modules/late.order", _lines(name for name in late if name not in disk))
    for name, data in late.items():
        yield _file(f"modules/{name}", data)


def _busybox_binaries(root: Path) -> list[Path]:
    return [path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.is_file()]


def _program(name: str, data: bytes) -> Entry:
    return Entry(name, stat.S_IFREG | 0o755, data)


def _file(name: str, data: bytes) -> Entry:
    return Entry(name, stat.S_IFREG | 0o644, data)


def _lines(words: Iterable[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()


def _cpio(entries: Iterable[Entry]) -> bytes:
    """Pack in the newc format; done here because a device node cannot be made without root."""
    members = [*entries, Entry("TRAILER!!!", 0)]
    return b"".join(_newc(number, entry) for number, entry in enumerate(members, start=1))


def _newc(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    size, (major, minor) = len(entry.data), entry.device
    fields = (inode, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


# ---- disk


def _boot_disk(work: Path, kernel: Path, initrd: Path) -> Path:
    disk = work / "disk.raw"
    config = work / "syslinux.cfg"
    config.write_text(SYSLINUX_CFG)
    _run("mkfs.vfat", "-F", "16", "-i", "05c00001", "-n", "OSCGUEST", "-C", disk, str(FAT_MIB * 1024))
    _run("mcopy", "-i", disk, kernel, "::vmlinuz")
    _run("mcopy", "-i", disk, initrd, config, "::")
    _run("syslinux", "--install", disk)
    return disk


def _noise(mib: int) -> Iterator[bytes]:
    source = random.Random(FILL_SEED)
    return (source.randbytes(MIB) for _ in range(mib))
