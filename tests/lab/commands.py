"""Every command that is begun on this machine, hosts of the lab included, with its arguments and environment."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# linux/netlink.h, linux/connector.h, linux/cn_proc.h
_NETLINK_CONNECTOR: Final = 11
_SO_RCVBUFFORCE: Final = 33
_CN_IDX_PROC: Final = 1
_CN_VAL_PROC: Final = 1
_LISTEN: Final = 1
_DONE: Final = 3
_EXEC: Final = 2
_MESSAGE: Final = struct.Struct("=IHHII")
_CONNECTOR: Final = struct.Struct("=IIIIHH")
_EVENT: Final = struct.Struct("=IIQII")
_BUFFER: Final = 16 << 20


@contextmanager
def commands_begun() -> Iterator[list[bytes]]:
    """Collect `cmdline` and `environ` of each process at its start, as the kernel tells of it; needs root."""
    begun: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR) as told:
        told.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        told.bind((0, _CN_IDX_PROC))
        told.settimeout(0.2)
        told.send(_listen())
        ended = threading.Event()
        thread = threading.Thread(target=_collect, args=(told, ended, begun))
        thread.start()
        try:
            yield begun
        finally:
            ended.set()
            thread.join()


def _listen() -> bytes:
    operation = struct.pack("=I", _LISTEN)
    asked = _CONNECTOR.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(operation), 0) + operation
    return _MESSAGE.pack(_MESSAGE.size + len(asked), _DONE, 0, 0, 0) + asked


def _collect(told: socket.socket, ended: threading.Event, begun: list[bytes]) -> None:
    while not ended.is_set():
        try:
            message = told.recv(1 << 16)
        except TimeoutError:
            continue
        kind, _, _, _, process = _EVENT.unpack_from(message, _MESSAGE.size + _CONNECTOR.size)
        if kind == _EXEC:
            begun += [_read(Path(f"/proc/{process}/cmdline")), _read(Path(f"/proc/{process}/environ"))]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
