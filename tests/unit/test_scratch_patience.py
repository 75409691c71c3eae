"""How patient journeys are with APIs that are busy, away, or forget a token."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from openstack.exceptions import HttpException, SDKException, raise_from_response

from fixtures.facts.base import NotMeasured
from fixtures.scratch import patience
from fixtures.scratch.judging import EXCUSES, asking
from fixtures.scratch.patience import PatientAdapter
from fixtures.scratch.resources import FileBody
from tests.proxy import Answer, Proxy, Refuse, proxy

OK = Refuse(".", Answer(200, "done"))
AWAY = Answer()
BUSY = Answer(429, headers={"Retry-After": "1"})
GONE = Answer(503)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 3.0)
    monkeypatch.setattr(patience, "_LITTLE", 0.1)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.mount("http://", PatientAdapter())
        yield made


def _statuses(server: Proxy) -> list[int]:
    return [seen.status for seen in server.seen]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("answer", [BUSY, GONE])
def test_what_was_put_off_is_asked_again(session: requests.Session, method: str, answer: Answer) -> None:
    with proxy(Refuse(".", answer, times=1), OK) as server:
        assert session.request(method, server.url).text == "done"
    first, second = server.seen
    assert _statuses(server) == [answer.status, 200]
    if "Retry-After" in answer.headers:
        assert second.at - first.at >= 1


@pytest.mark.parametrize(("method", "times"), [("GET", 3), ("DELETE", 3), ("POST", 1)])
def test_only_what_creates_nothing_is_repeated_over_a_broken_connection(
    session: requests.Session, method: str, times: int
) -> None:
    with proxy(Refuse(".", AWAY, times=2), OK) as server:
        try:
            told = session.request(method, server.url).text
        except requests.ConnectionError:
            told = "broken"
    assert (told, len(server.seen)) == ("broken" if times == 1 else "done", times)


def test_a_service_that_nobody_started_yet_is_waited_for(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def serve() -> None:
        time.sleep(0.5)
        server.bind(("127.0.0.1", port))
        server.listen()
        heard, _ = server.accept()
        heard.recv(1 << 16)
        heard.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        heard.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with server:
        assert session.post(f"http://127.0.0.1:{port}").status_code == 202
        thread.join()


def test_patience_ends_and_is_not_had_twice(session: requests.Session) -> None:
    with proxy(Refuse(".", GONE)) as server:
        begun = time.monotonic()
        assert session.get(server.url).status_code == 503
        once = time.monotonic() - begun
        assert session.get(server.url).status_code == 503
        twice = time.monotonic() - begun - once
    assert once <= 3.5
    assert twice < 0.5


def test_nobody_waits_for_an_hour(session: requests.Session) -> None:
    begun = time.monotonic()
    with proxy(Refuse(".", Answer(429, headers={"Retry-After": "3600"}))) as server:
        assert session.get(server.url).status_code == 429
    assert time.monotonic() - begun < 1
    assert len(server.seen) == 1


def test_a_store_that_takes_no_writes_is_not_asked_again(session: requests.Session, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(b"x" * 1000)
    with proxy(Refuse(".", GONE)) as server:
        assert session.put(server.url, data=FileBody(file)).status_code == 503
    assert len(server.seen) == 1


def test_a_file_is_sent_whole_each_time(session: requests.Session, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(bytes(range(256)) * 9000)
    body, got = FileBody(file), []

    class Keep(Refuse):
        def act(self, request: Any) -> Any:
            got.append(request.body)
            return super().act(request)

    with proxy(Keep(".", BUSY, times=1), OK) as server:
        assert session.put(server.url, data=body).text == "done"
        assert session.put(server.url, data=body).text == "done"
    assert got == [file.read_bytes()] * 3


def _answer(status: int, message: str, **headers: str) -> SDKException:
    with proxy(Refuse(".", Answer(status, f'{{"x": {{"message": "{message}"}}}}', headers))) as server:
        try:
            raise_from_response(requests.get(server.url))
        except HttpException as error:
            return error
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("status", "message", "headers"),
    [
        (401, "The token has expired.", {}),
        (403, "Quota exceeded for cores: Requested 1", {}),
        (413, "VolumeLimitExceeded: Maximum number of volumes allowed (0) exceeded for quota 'volumes'.", {}),
        (429, "Too many requests", {"Retry-After": "7"}),
        (503, "No server is available", {}),
    ],
)
def test_what_could_not_be_asked_is_not_measured(status: int, message: str, headers: dict[str, str]) -> None:
    later = " (Retry-After: 7)" if headers else ""
    said = re.escape(f"a new volume: HTTP {status}: {message}{later}")
    with pytest.raises(NotMeasured, match=f"^{said}$"), asking("a new volume", expected="it", remedy="x"):
        raise _answer(status, message, **headers)


@pytest.mark.parametrize(
    ("status", "message", "excuses"),
    [
        (403, "Policy does not allow this", EXCUSES),
        (500, "The server has either erred", EXCUSES),
        (503, "Insufficient permissions on image storage media", EXCUSES - {503}),
    ],
)
def test_an_error_that_a_service_answers_is_the_clouds(status: int, message: str, excuses: frozenset[int]) -> None:
    with (
        pytest.raises(AssertionError, match=f"found HTTP {status}: {message}; expected it"),
        asking("a new image", expected="it", remedy="x", excuses=excuses),
    ):
        raise _answer(status, message)
