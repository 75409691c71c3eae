"""The browser that visits the dashboard: clicks, types, looks into frames, and trusts whom it was told to."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fixtures.browser import NONE_HERE, BrowserError, Page, browser, key_of, program
from fixtures.facts.base import NotMeasured
from fixtures.scratch.dashboard import Visitor, log_in, visitors
from fixtures.scratch.project import Login
from fixtures.waiting import Pending, wait_until

CHROMIUM = program() or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NONE_HERE)
SECONDS = 20.0
PASSWORD = "not a secret"

FORM = """<title>Log in</title><form method="post" action="/auth/login/">
<div style="display: none"><input name="fake_password" id="fake"></div>
<input id="id_username" name="username" value="of before"><input id="id_password" name="password" type="password">
<button id="loginBtn">Sign in</button></form>"""
INSIDE = """<title>Instances</title><a href="/auth/logout/">Out</a>
<table><tr data-object-id="1"><td> one </td><td><button onclick="document.title='pressed one'">x</button></td></tr>
<tr data-object-id="2"><td>two</td><td><button onclick="document.title='pressed two'">x</button></td></tr></table>
<button id="off" disabled>off</button>
<button id="under">under</button><div style="position: fixed; inset: 50% 0 0 0; z-index: 9">over</div>
<select id="list" onchange="document.title=this.value"><option value="a">A</option><option value="b">B</option></select>
"""
PAGES = """<title>Images</title><table><tbody id="rows"></tbody><tfoot><tr><td>
<a ng-click="selectPage(currentPage - 1)" style="display: none">Prev</a>
<a ng-click="selectPage(currentPage + 1)" onclick="turn()">Next</a></td></tr></tfoot></table>
<script>let at = 0; const turn = () => document.querySelector("#rows").innerHTML =
  `<tr><td><a href="/ngdetails/OS::Glance::Image/${++at}?nav=x">image</a></td><td>${at}</td></tr>`; turn()</script>"""
# As Horizon's: when another kind of source is loaded, the first is chosen again, and what was taken is gone.
WIZARD = """<title>Launch</title><div class="modal-dialog"><select id="boot-source-type"></select>
<table class="transfer-allocated"></table><table class="transfer-available"></table></div><script>
const list = document.querySelector("select"), tables = document.querySelectorAll("table");
const row = name => `<tr><td>${name}</td><td class="actions_column"><button>x</button></td></tr>`;
const show = () => { tables[0].innerHTML = ""; tables[1].innerHTML = list.value === "volume" ? row("mine") : ""; };
const load = kind => { list.add(new Option(kind, kind)); list.value = "image"; show(); };
list.onchange = show;
let late = true;
tables[1].onclick = () => {
  tables[1].innerHTML = ""; tables[0].innerHTML = row("mine");
  if (late) { late = false; setTimeout(load, 0, "late"); }
};
load("image"); load("volume");
</script>"""
REFUSED = "<title>Log in</title><div class='alert-danger'>Invalid\ncredentials.</div>" + FORM
SCREEN = """<canvas width="4" height="4"></canvas><div id="status">Connected</div>
<script>document.querySelector("canvas").getContext("2d").fillRect(0, 0, 4, 4)</script>"""
BLANK = "<canvas width='4' height='4'></canvas><div id='status'>Something went wrong</div>"


class _Dashboard(http.server.BaseHTTPRequestHandler):
    screens: ClassVar[str] = ""
    silence: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/silent":
            self.silence.wait()
        inside = "session=in" in (self.headers.get("Cookie") or "")
        frame = f'<iframe src="{self.screens}"></iframe>' if self.screens else ""
        pages = {
            "/auth/login/": FORM,
            "/project/instances/": INSIDE,
            "/project/images/": PAGES,
            "/project/wizard/": WIZARD,
            "/project/instances/1/": f"<title>Console</title>{frame}",
            "/drawn": SCREEN,
            "/blank": BLANK,
        }
        if path == "/":
            self._answer(302, "", Location="/project/instances/" if inside else "/auth/login/?next=/")
        else:
            self._answer(200 if path in pages else 404, pages.get(path, "no such page"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if f"username=somebody&password={PASSWORD.replace(' ', '+')}" in body:
            self._answer(302, "", Location="/", **{"Set-Cookie": "session=in; Path=/"})
        else:
            self._answer(200, REFUSED)

    def _answer(self, status: int, body: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *told: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an authority of its own, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(path.with_name("cert.pem"))]
    subprocess.run(made, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_name("cert.pem").read_text())
    return path


@pytest.fixture(scope="module")
def https(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Dashboard) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser(CHROMIUM) as opened:
        yield opened.page()


@pytest.fixture
def inside(page: Page, port: int) -> Page:
    page.go(f"http://127.0.0.1:{port}/project/instances/")
    wait_until("the page is whole", lambda: page.value("document.readyState") == "complete" or Pending("not"), SECONDS)
    return page


def _title(page: Page) -> str:
    return str(page.value("document.title"))


def test_a_row_is_found_by_the_text_of_a_cell(inside: Page) -> None:
    assert inside.press("button", row="two") is True
    assert _title(inside) == "pressed two"


@pytest.mark.parametrize(
    ("css", "row", "why"),
    [
        ("#nowhere", "", "#nowhere: not there"),
        ("button", "three", "three: not there"),
        ("#off", "", "#off: not enabled"),
    ],
)
def test_what_nobody_could_click_on_is_not_clicked_on(css: str, row: str, why: str, inside: Page) -> None:
    assert inside.press(css, row=row) == Pending(why)


def test_what_is_covered_is_not_clicked_on(inside: Page) -> None:
    inside.value("document.querySelector('#under').style.cssText = 'position: fixed; top: 80%'")
    assert inside.press("#under") == Pending("#under: covered by something else")


def test_a_choice_is_made_by_its_value(inside: Page) -> None:
    assert inside.choose("#list", "b") is True
    assert _title(inside) == "b"
    assert inside.choose("#list", "c") == Pending("#list: no choice c")


def test_a_script_that_fails_says_so(page: Page) -> None:
    with pytest.raises(BrowserError, match="nothing is not defined"):
        page.value("nothing.at.all")


def test_an_address_without_an_answer_says_why(page: Page) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert "ERR_CONNECTION_REFUSED" in page.go(f"http://127.0.0.1:{nobody.getsockname()[1]}/")


def test_an_error_of_the_server_is_no_page(page: Page, port: int) -> None:
    assert page.go(f"http://127.0.0.1:{port}/nowhere") == "HTTP 404"
    assert page.go(f"http://127.0.0.1:{port}/") == ""


def test_a_change_of_this_machines_network_is_outlasted(page: Page, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = page.browser.ask
    changes = iter(["net::ERR_NETWORK_CHANGED", "net::ERR_NETWORK_CHANGED"])

    def ask(method: str, session: str = "", **params: Any) -> dict[str, Any]:
        error = next(changes, "") if method == "Page.navigate" else ""
        return {"errorText": error} if error else asked(method, session, **params)

    monkeypatch.setattr(page.browser, "ask", ask)
    assert page.go(f"http://127.0.0.1:{port}/") == ""


def test_a_server_that_is_silent_is_told(page: Page, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixtures.browser.SECONDS", 1.0)
    assert page.go(f"http://127.0.0.1:{port}/silent") == "no answer within 1 s"
    _Dashboard.silence.set()
    monkeypatch.undo()
    assert page.go(f"http://127.0.0.1:{port}/") == ""


def _login(password: str) -> Login:
    return Login("somebody", "Default", password)


def test_a_user_gets_in(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    with visitors(CHROMIUM, False, url) as page:
        somebody = log_in(page(), url, _login(PASSWORD), SECONDS)
        assert somebody.home == url
        assert somebody.shows("project/instances/", {"1", "2"}) == {"1": "one x", "2": "two x"}
        assert somebody.shows("project/images/", {"3"}) == {"1": "image 1", "2": "image 2", "3": "image 3"}
        # Another page is another visitor's.
        with pytest.raises(AssertionError, match=r"Log in: Invalid credentials\."):
            log_in(page(), url, _login("another"), 600.0)


def test_a_volume_is_taken_until_it_stays_so(page: Page, port: int) -> None:
    visitor = Visitor("member", page, f"http://localhost:{port}/", SECONDS)
    visitor.open("project/wizard/")
    visitor.until("project/wizard/", "the volume taken", lambda: visitor._take_volume("mine"))
    assert page.value("[...document.querySelectorAll('option')].map(it => it.value)") == ["image", "volume", "late"]
    assert page.value("document.querySelector('select').value") == "volume"


def test_a_login_that_is_refused_never_shows_the_password(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    with visitors(CHROMIUM, False, url) as page, pytest.raises(AssertionError) as told:
        log_in(page(), url, _login("the wrong one"), SECONDS)
    assert "the wrong one" not in str(told.value)


@pytest.mark.parametrize(
    ("screen", "why"),
    [("drawn", ""), ("blank", "no screen; it says: Something went wrong"), ("", "no console on the page")],
)
def test_a_console_is_seen_in_its_frame(screen: str, why: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another name is another site, of which a frame has a process of its own elsewhere.
    monkeypatch.setattr(_Dashboard, "screens", f"http://localhost:{port}/{screen}?token=secret" if screen else "")
    url = f"http://127.0.0.1:{port}/"
    with visitors(CHROMIUM, False, url) as page:
        somebody = replace(log_in(page(), url, _login(PASSWORD), SECONDS), timeout=SECONDS if not why else 2.0)
        expected: AbstractContextManager[Any] = pytest.raises(AssertionError, match=why) if why else nullcontext()
        with expected as told:
            somebody.console("1")
    assert "secret" not in str(getattr(told, "value", ""))


# ---------------------------------------------------------------------------- certificates


def test_a_certificate_of_ones_own_authority_is_trusted(https: str, certificate: Path) -> None:
    authority = str(certificate.with_name("cert.pem"))
    with visitors(CHROMIUM, authority, https) as page:
        assert log_in(page(), https, _login(PASSWORD), SECONDS).home == https


def test_authorities_may_be_a_folder(https: str, certificate: Path, tmp_path: Path) -> None:
    authority = certificate.with_name("cert.pem")
    (tmp_path / "cert.pem").write_text(authority.read_text())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    assert key_of(https, str(tmp_path)) == key_of(https, str(authority))


def test_a_certificate_that_nobody_vouches_for_is_told(https: str) -> None:
    with pytest.raises(AssertionError, match="certificate"), visitors(CHROMIUM, True, https):
        raise NotMeasured("it was let in")


def test_the_browser_itself_trusts_nobody_else(https: str) -> None:
    with browser(CHROMIUM) as opened:
        assert "ERR_CERT" in opened.page().go(https)


def test_a_certificate_of_another_name_is_not_trusted(https: str, certificate: Path) -> None:
    authority = str(certificate.with_name("cert.pem"))
    with pytest.raises(ssl.SSLError, match=r"mismatch|not valid"):
        key_of(https.replace("localhost", "127.0.0.1"), authority)


# ---------------------------------------------------------------------------- its end


def _expect_gone(home: Path) -> None:
    def look() -> bool | Pending:
        told = subprocess.run(["pgrep", "-f", str(home)], capture_output=True, text=True).stdout.split()
        return not (told or home.exists()) or Pending(f"{home}: processes {told}")

    wait_until("the browser is gone", look, SECONDS)


def test_nothing_of_it_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with browser(CHROMIUM) as opened:
        opened.page().go("about:blank")
        (home,) = tmp_path.iterdir()
    _expect_gone(home)


def test_it_goes_with_a_run_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import tempfile, time
from fixtures.browser import browser
tempfile.tempdir = {str(tmp_path)!r}
with browser({CHROMIUM!r}) as opened:
    opened.page().go("about:blank")
    print("there", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline() == b"there\n"
        (home,) = tmp_path.iterdir()
        run.kill()
    _expect_gone(home)
