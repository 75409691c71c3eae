from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from fixtures.observe.collector import emulators
from fixtures.observe.collector.accounts import UpgradeTry, upgrade_checks
from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.redact import Redactor
from fixtures.observe.collector.service import instances_fact
from fixtures.observe.collector.sources import Options
from fixtures.observe.collector.tools import Tools

SALT = b"salt"


def test_emulators_are_found_with_their_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = "Limit  Soft  Hard  Units\nMax processes  unlimited  9 processes \nMax open files  1024  4096  files \n"
    for pid, (name, command) in enumerate(
        {
            "qemu-system-x86": "/usr/bin/qemu-system-x86_64\0-name\0guest=instance-00000001,debug-threads=on\0-S\0",
            "qemu-kvm": "/usr/libexec/qemu-kvm\0-S\0-no-user-config\0-nodefaults\0",
            "libvirtd": "/usr/sbin/libvirtd\0",
        }.items(),
        10,
    ):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        for file, text in (("comm", name + "\n"), ("cmdline", command), ("limits", limits), ("fd/0", ""), ("fd/1", "")):
            (tmp_path / str(pid) / file).write_text(text)
    (tmp_path / "libvirtd.conf").write_text('#max_workers = 5\nmax_workers = 50 # more\nunix_sock_group = "libvirt"\n')
    monkeypatch.setattr(emulators, "PROC", str(tmp_path))
    (found,) = emulators.emulators_fact()
    assert found == {"guest": "instance-00000001", "open_files": 2, "max_files": 1024, "max_processes": None}
    daemon = emulators.daemon_fact(str(tmp_path), Redactor(SALT))
    assert (daemon["name"], daemon["max_files"]) == ("libvirtd", 1024)
    assert daemon["settings"] == {"max_workers": "50", "unix_sock_group": "libvirt"}


def test_settings_of_libvirt_hold_no_password(tmp_path: Path) -> None:
    (tmp_path / "qemu.conf").write_text(
        "vnc_password = \"XYZ12345\"\nmax_files = 32768\nnamespaces = [ ]\nuser = 'qemu'\n"
    )
    settings = emulators.settings_of(str(tmp_path / "qemu.conf"), Redactor(SALT))
    assert settings.pop("vnc_password").startswith("hmac:")
    assert settings == {"max_files": "32768", "user": "qemu"}
    assert emulators.settings_of(str(tmp_path / "none"), Redactor(SALT)) == {}


def test_a_certificate_tells_when_it_expires() -> None:
    assert emulators.expiry("notAfter=Feb  1 00:00:01 2027 GMT\n") == 1801440001.0
    with pytest.raises(StepFailed, match="not a date"):
        emulators.expiry("unable to load certificate")


def test_upgrade_checks_are_read_from_their_table() -> None:
    rule = "+------------------------------+"
    table = f"""{rule}
| Upgrade Check Results        |
{rule}
| Check: Cells v2              |
| Result: Success              |
| Details: None                |
{rule}
| Check: Service User Token    |
| Result: Failure              |
| Details:                     |
|   Service user token is      |
|   required.                  |
{rule}
"""
    assert list(upgrade_checks(table)) == [
        {"name": "Cells v2", "result": "Success", "details": "None"},
        {"name": "Service User Token", "result": "Failure", "details": "Service user token is required."},
    ]


def test_a_check_of_upgrades_has_longer_than_other_tools(tmp_path: Path) -> None:
    table = "echo '| Check: Cells v2 |'; echo '| Result: Success |'; echo '| Details: None |'"
    (tmp_path / "nova-status").write_text(f"#!/bin/sh\nsleep 1\n{table}\n")
    (tmp_path / "nova-status").chmod(0o755)
    role = {"account": pwd.getpwuid(os.getuid()).pw_name, "upgrade_check": ["nova-status"]}
    path = f"{tmp_path}:{os.environ['PATH']}"
    patient, hasty = UpgradeTry(role, Tools(path, 0.2, 10)), UpgradeTry(role, Tools(path, 0.2))
    with pytest.raises(StepFailed, match=r"nova-status: no answer within 0\.2 s"):
        hasty.read()
    assert [one["result"] for one in patient.read()] == ["Success"]


def test_instances_are_where_options_say(tmp_path: Path) -> None:
    (tmp_path / "i" / "cache").mkdir(parents=True)
    (tmp_path / "i" / "cache" / ("a" * 40)).write_text("x")
    entries = [
        {"section": "DEFAULT", "key": "state_path", "value": str(tmp_path)},
        {"section": "DEFAULT", "key": "instances_path", "value": "$state_path/i"},
        {"section": "image_cache", "key": "subdirectory_name", "value": "cache"},
    ]
    found = instances_fact(Options(entries))
    assert (found["path"], found["base_images"]) == (f"{tmp_path}/i", ["a" * 40])
    assert found["filesystem"]
