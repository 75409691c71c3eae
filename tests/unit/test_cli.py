"""The `openstack` command is run with credentials that nobody else sees, and judged by what it prints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.facts.base import NotMeasured
from fixtures.scratch import cli

SCRIPT = """#!/bin/sh
[ "$1" = hang ] && exec sleep 9
[ "$1" = refuse ] && { echo "ConflictException: 409: in use" >&2; exit 1; }
[ "$1" = silent ] && { echo "Unable to establish connection to http://x" >&2; exit 1; }
[ "$1" = prose ] && { echo done; exit 0; }
echo "{\\"typed\\": \\"$*\\", \\"mode\\": \\"$(stat -c %a "$OS_CLIENT_CONFIG_FILE")\\", \\"entry\\": \\"$OS_CLOUD\\","
echo " \\"other\\": \\"$OS_PASSWORD\\", \\"file\\": \\"$OS_CLIENT_CONFIG_FILE\\"}"
"""


def _connection(password: str) -> Any:
    auth = {"auth_url": "http://x/v3", "username": "me", "password": password}
    config = SimpleNamespace(
        config={"auth": auth},
        get_requests_verify_args=lambda: ("/etc/ssl/own.pem", None),
        get_region_name=lambda: "one",
        get_interface=lambda: None,
    )
    return cast(Any, SimpleNamespace(config=config))


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "openstack"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    monkeypatch.setattr(cli, "_PROGRAM", path)
    monkeypatch.setenv("OS_PASSWORD", "of-the-shell")
    return path


def test_credentials_are_in_a_file_of_ones_own_that_goes() -> None:
    with cli.logged_in(5, tenant=_connection("s3cret")) as users:
        told = users["tenant"]("server", "list")
        assert '"password": "s3cret"' in Path(told["file"]).read_text()
    assert told["typed"] == "server list -f json"
    assert (told["mode"], told["entry"], told["other"]) == ("600", "tenant", "")
    assert not Path(told["file"]).exists()


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("refuse", AssertionError, "409: in use"),
        ("silent", NotMeasured, "Unable to establish"),
        ("prose", AssertionError, "JSON"),
        ("hang", AssertionError, "not done after 0.5 s"),
    ],
)
def test_what_goes_wrong_is_told_with_the_line(word: str, error: type[Exception], said: str) -> None:
    with cli.logged_in(0.5, me=_connection("x")) as users, pytest.raises(error, match=f"openstack {word}") as caught:
        users["me"](word)
    assert said in str(caught.value)


def test_without_the_command_it_is_not_measured(program: Path) -> None:
    program.unlink()
    with cli.logged_in(5, me=_connection("x")) as users, pytest.raises(NotMeasured, match="python-openstackclient"):
        users["me"]("server", "list")
