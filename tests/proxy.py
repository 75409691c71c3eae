"""An HTTP proxy that stands between the suite and a cloud's APIs, and behaves badly by rule."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

_HOP_BY_HOP: Final = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length"}
_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True)
class Answer:
    """What is answered in a service's place; without a status the connection is closed."""

    status: int = 0
    body: str = '{"error": {"message": "made up by a test"}}'
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Rule:
    """What becomes of requests that match a pattern of "METHOD URL"; this one lets them through."""

    matches: str

    def judge(self, request: Request) -> Request | Answer:
        """Return the request as it is to go on, or what is answered instead."""
        return self.act(request) if re.search(self.matches, str(request)) else request

    def act(self, request: Request) -> Request | Answer:
        """Return the same for a request that matches."""
        return request


@dataclass
class Refuse(Rule):
    """Answers the first `times` requests, or those of the first `seconds`, itself."""

    answer: Answer
    times: int | None = None
    seconds: float | None = None
    _first: float | None = None
    _count: int = 0

    def act(self, request: Request) -> Request | Answer:
        """Count, look at the clock, answer."""
        now = time.monotonic()
        self._first = self._first or now
        self._count += 1
        over = self.times is not None and self._count > self.times
        over |= self.seconds is not None and now - self._first > self.seconds
        return request if over else self.answer


@dataclass
class Expire(Rule):
    """Lets the token of the first request that matches be no good from then on."""

    _token: str = ""

    def judge(self, request: Request) -> Request | Answer:
        """Refuse the token wherever it is used."""
        token = request.headers.get("X-Auth-Token", "")
        if not self._token and re.search(self.matches, str(request)):
            self._token = token
        expired = token and token == self._token
        return Answer(401, '{"error": {"code": 401, "message": "The token has expired."}}') if expired else request


@dataclass
class Rewrite(Rule):
    """Asks for something else than was asked for."""

    old: bytes
    new: bytes

    def act(self, request: Request) -> Request | Answer:
        """Replace it in the body."""
        return replace(request, body=request.body.replace(self.old, self.new))


@dataclass(frozen=True)
class Seen:
    """A request that came by, when (on time.monotonic's clock), and the status that it got; 0 for none."""

    at: float
    request: str
    status: int


class Proxy(ThreadingHTTPServer):
    """Forwards what its rules let pass."""

    daemon_threads = True

    def __init__(self, *rules: Rule) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rules = rules
        self.seen: list[Seen] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What http_proxy is set to."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away; what they were owed is in `seen`."""

    def judge(self, request: Request) -> Request | Answer:
        """Ask the rules in their order."""
        with self._lock:
            for rule in self.rules:
                judged = rule.judge(request)
                if isinstance(judged, Answer):
                    return judged
                request = judged
        return request


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _serve(self) -> None:
        self._at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        judged = self.server.judge(Request(self.command, self.path, dict(self.headers), body))
        if isinstance(judged, Answer):
            self._say(judged)
        else:
            self._forward(judged)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _note(self, status: int) -> None:
        """Before it is sent: who has the answer may ask what was seen."""
        self.server.seen.append(Seen(self._at, f"{self.command} {self.path}", status))

    def _say(self, answer: Answer) -> None:
        if not answer.status:
            self._note(0)
            self.close_connection = True
            return
        headers = {"Content-Type": "application/json", **answer.headers}
        self._answer(answer.status, headers.items(), answer.body.encode())

    def _forward(self, request: Request) -> None:
        parts = urlsplit(request.url)
        connection = HTTPConnection(parts.netloc, timeout=_SECONDS)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        try:
            connection.request(
                request.method, parts._replace(scheme="", netloc="").geturl() or "/", request.body or None, headers
            )
            response: HTTPResponse = connection.getresponse()
            kept = [(key, value) for key, value in response.getheaders() if key.lower() not in _HOP_BY_HOP]
            self._answer(response.status, kept, response.read())
        except OSError:
            self._say(Answer())
        finally:
            connection.close()

    def _answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        self._note(status)
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def proxy(*rules: Rule) -> Iterator[Proxy]:
    """A proxy that runs for as long as the block."""
    with Proxy(*rules) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
