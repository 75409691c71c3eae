"""The pytest plugin: `--draft-cloud` writes a cloud file from what is there, `--check-cloud` tries one."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from drafting.decide import Draft, Value
from drafting.errors import DraftError
from drafting.inventory import Inventory, from_ansible, from_specs
from drafting.write import CONFIRM, MARK, flow, one_line, open_questions, text_of
from fixtures.cloud import CloudFileError, load_cloud
from fixtures.cloud.model import Reach


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add drafting a cloud file and trying one."""
    group = parser.getgroup("cloud")
    group.addoption(
        "--draft-cloud",
        type=Path,
        metavar="FILE",
        help="write a cloud file for the hosts that --host or --ansible-inventory name, and stop: they are reached "
        "(--ssh-config, --ssh-identity-file, --sudo), what runs there is read, and each value stands with where it "
        "was found; what the cloud does not answer is a TODO with the candidates. Changes nothing on the cloud; "
        "no secret is written. Exit code 1 while a question is open that the file cannot do without",
    )
    group.addoption(
        "--host",
        action="append",
        default=[],
        metavar="SPEC",
        help="with --draft-cloud: a host of the cloud or of Ceph, as ssh://[USER@]HOST[:PORT], local://, or a name "
        "that ssh knows; once for each host",
    )
    group.addoption(
        "--clouds-yaml",
        type=Path,
        metavar="FILE",
        help="with --draft-cloud: the clouds.yaml with an administrator's entry (default: where openstacksdk looks)",
    )
    group.addoption(
        "--draft-overwrite", action="store_true", help="with --draft-cloud: replace FILE if it is there already"
    )
    group.addoption(
        "--check-cloud",
        type=Path,
        metavar="FILE",
        help="validate a cloud file, try every connection that it names (hosts, sudo, python, containers, Ceph, "
        "OpenStack), say how many checks apply to how many targets and which do not and why, and stop; nothing is "
        "judged. Exit code 1 where something cannot be reached",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Draft or try a cloud file instead of a run if asked."""
    options = config.option
    if options.draft_cloud and options.check_cloud:
        raise pytest.UsageError("--draft-cloud and --check-cloud do not go together: draft, read, then check")
    if options.draft_cloud:
        return _draft(options.draft_cloud, config)
    if options.check_cloud:
        from drafting.check import check

        return check(options.check_cloud, config)
    return None


def _draft(path: Path, config: pytest.Config) -> int:
    from drafting.reading import cloud_name, drafted, left_out

    try:
        _refuse_target(path, overwrite=config.option.draft_overwrite)
        inventory = _inventory(config)
        draft = drafted(cloud_name(path), inventory, config.option.clouds_yaml, _tell)
        text = _usable(text_of(draft), path, draft)
        _write(path, text, overwrite=config.option.draft_overwrite)
    except DraftError as error:
        raise pytest.UsageError(f"--draft-cloud {path}: {error}") from None
    return _report(path, draft, [*left_out(inventory, draft), *inventory.left_out])


def _tell(line: str) -> None:
    print(line, flush=True)


def _inventory(config: pytest.Config) -> Inventory:
    options = config.option
    reach = Reach(
        ssh_config=_absolute(options.ssh_config), identity=_absolute(options.ssh_identity_file), sudo=options.sudo
    )
    if bool(options.host) == bool(options.ansible_inventory):
        raise DraftError("say which hosts: --host ssh://root@NAME for each, or --ansible-inventory FILE (one of both)")
    if options.host:
        return from_specs(options.host, reach)
    return from_ansible(Path(options.ansible_inventory), reach)


def _absolute(path: str | None) -> Path | None:
    return Path(path).expanduser().absolute() if path else None


def _refuse_target(path: Path, *, overwrite: bool) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise DraftError("is a folder" if path.is_dir() else "its folder is not there")
    if path.exists() and not overwrite:
        raise DraftError("is there already; choose another name, or say --draft-overwrite")


def _usable(text: str, path: Path, draft: Draft) -> str:
    """Return the text once it is known to load, but for the questions that are left."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".draft-") as folder:
        beside = Path(folder) / path.name
        beside.write_text(text, encoding="utf-8")
        try:
            load_cloud(beside)
        except CloudFileError as error:
            needed = any(question.required for _, question in open_questions(draft))
            problems = [line for line in str(error).splitlines() if not _is_open(line)]
            if problems or not needed:
                listed = "\n".join(line.replace(str(beside), "the draft") for line in problems or [str(error)])
                raise DraftError(f"what was found makes no cloud file:\n{listed}") from None
    return text


def _is_open(problem: str) -> bool:
    """Whether a problem is only that a key waits for its answer."""
    return "is missing and has no default" in problem or "found None: input should be a valid dictionary" in problem


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    """Write the file whole or not at all, and over no other that came meanwhile."""
    descriptor, beside = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(beside).chmod(0o644 & ~_umask())
        if overwrite:
            Path(beside).replace(path)
        else:
            os.link(beside, path)
    except FileExistsError:
        raise DraftError("came to be meanwhile; it was left alone") from None
    except OSError as error:
        raise DraftError(f"cannot be written: {error.strerror}") from None
    finally:
        with suppress(FileNotFoundError):
            Path(beside).unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _report(path: Path, draft: Draft, left: list[str]) -> int:
    """Say what a person has to look at."""
    weak = [(key, entry) for key, entry in draft.items() if isinstance(entry, Value) and entry.confirm]
    questions = list(open_questions(draft))
    needed = [it for it in questions if it[1].required]
    values = sum(isinstance(entry, Value) and entry.value is not None for entry in draft.values())
    print(f"\n{path}: {values} values found, {len(weak)} to confirm, {len(questions)} open ({len(needed)} needed)")
    for key, value in weak:
        print(f"  {CONFIRM} {'.'.join(key)}: {one_line(flow(value.value))}: {value.confirm}")
    for key, question in questions:
        print(f"  {MARK}{'' if question.required else ' (optional)'} {'.'.join(key)}: {question.question}")
        for candidate in question.candidates:
            print(f"      candidate: {one_line(candidate)}")
    if left:
        print(f"  left out, since nothing of a cloud was found or promised there: {', '.join(sorted(left))}")
    print(f"next: {'answer what is needed; ' if needed else ''}pytest --check-cloud {path}")
    sys.stdout.flush()
    return int(pytest.ExitCode.TESTS_FAILED if needed else pytest.ExitCode.OK)
