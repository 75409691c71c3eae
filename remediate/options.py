"""Where an option of an OpenStack service is to be edited, and where nothing of it is ours to edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import need
from fixtures.facts.host import ConfigEntry
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.oslo import ENVIRONMENT, Name, OsloConfig, section_name
from fixtures.targets import service_of
from remediate.model import NeedsOperator, Option
from remediate.readiness import refuse_unready

PACKAGED = "/usr/"
"""Files below are the distribution's: the next upgrade replaces them."""


@dataclass(frozen=True)
class Configuration:
    """A service's configuration on a host, to be edited.

    Each method yields steps that restart the service, and raises NeedsOperator where the environment has the
    last word, the service reads no file of ours, it runs in a container, or it would not come back from the
    restart since something of Ceph is missing that is repaired first.
    """

    cloud: Cloud
    facts: Facts
    host: str
    role: Role

    @property
    def now(self) -> OsloConfig:
        """As the service reads it; raises NotMeasured where it was not read."""
        return config_of(self.facts.host(self.host), self.role)

    def set(self, section: str, key: str, value: str, *former: Name) -> Iterator[Option]:
        """Set an option where it has the last word, and take out what only looks like it.

        Args:
            section: The section.
            key: The option.
            value: What it is to be.
            former: Names under which older releases knew it.
        """
        self._refuse(section, key, value)
        yield self._step(self._file_for(section, self._winner(section, key, *former)), section, key, value)
        for entry in self._look_alikes(section, key):
            yield self._step(entry.file, entry.section, entry.key, None)

    def ensure(self, section: str, values: Mapping[str, str]) -> Iterator[Option]:
        """Set those options of a section that are not so already."""
        for key, value in values.items():
            if self.now.get(section, key) != value:
                yield from self.set(section, key, value)

    def unset(self, section: str, key: str, default: str | None = None) -> Iterator[Option]:
        """Take an option out of every file that has it.

        Where the distribution's own file has it too, it is set to its default instead.

        Args:
            section: The section.
            key: The option.
            default: What it is where it is unset; None where nothing does as well as its absence.
        """
        files = dict.fromkeys(entry.file for entry in self._entries() if _is(entry, section, key))
        if any(path.startswith(PACKAGED) for path in files):
            if default is None:
                raise NeedsOperator(f"{self.host}: [{section}] {key} is set by the distribution's file", *files)
            yield from self.set(section, key, default)
            return
        self._refuse(section, key, None)
        for path in files:
            yield self._step(path, section, key, None)

    def _step(self, path: str, section: str, key: str, value: str | None) -> Option:
        return Option(host=self.host, path=path, section=section, key=key, value=value, restarts=(self.role,))

    def _refuse(self, section: str, key: str, value: str | None) -> None:
        lines = (f"[{section}]", f"{key} = {value}" if value is not None else f"# {key} is taken out")
        refuse_container(self.facts, self.host, self.role, *lines)
        entry = self._winner(section, key)
        if entry is not None and entry.file == ENVIRONMENT:
            variable = f"OS_{section}__{key}".upper()
            raise NeedsOperator(f"{self.host}: {variable} of the environment of {self.role} has the last word", *lines)
        if self.role in CLIENT_ROLES:
            refuse_unready(self.cloud, self.facts, self.host, self.role, *lines)

    def _entries(self) -> tuple[ConfigEntry, ...]:
        service = service_of(self.facts.host(self.host), self.role)
        return need(service.entries, f"{self.host}: configuration of {self.role}")

    def _winner(self, section: str, key: str, *former: Name) -> ConfigEntry | None:
        return OsloConfig(self._entries()).entry(section, key, *former)

    def _file_for(self, section: str, winner: ConfigEntry | None) -> str:
        """The file that has the last word; else the last that has the section; else the service's first."""
        if winner is not None and not winner.file.startswith(PACKAGED):
            return winner.file
        files = self._files()
        later = files[files.index(winner.file) + 1 :] if winner and winner.file in files else files
        ours = [path for path in later if not path.startswith(PACKAGED)]
        if not ours:
            raise NeedsOperator(f"{self.host}: {self.role} reads no file that is not its distribution's")
        having = {entry.file for entry in self._entries() if section_name(entry.section) == section_name(section)}
        return next((path for path in reversed(ours) if path in having), ours[0])

    def _files(self) -> list[str]:
        """All files in reading order."""
        service = service_of(self.facts.host(self.host), self.role)
        named = (*service.config_files, *(entry.file for entry in self._entries()))
        return [path for path in dict.fromkeys(named) if path != ENVIRONMENT]

    def _look_alikes(self, section: str, key: str) -> Iterator[ConfigEntry]:
        """What somebody meant for the option and no service reads: other case, or dashes."""
        for entry in self._entries():
            meant = section_name(entry.section) == section_name(section) and entry.key.lower().replace("-", "_") == key
            if meant and entry.key != key and not entry.file.startswith(PACKAGED) and entry.file != ENVIRONMENT:
                yield entry


def _is(entry: ConfigEntry, section: str, key: str) -> bool:
    return entry.key == key and section_name(entry.section) == section_name(section) and entry.file != ENVIRONMENT


def refuse_container(facts: Facts, host: str, role: str, *lines: str) -> None:
    """Leave a service in a container to the tool that deployed it: it would write the files anew.

    Raises:
        NeedsOperator: it runs in one.
    """
    container = facts.host(host).inside.get(role)
    if container:
        raise NeedsOperator(
            f"{host}: {role} runs in the container {container}, whose files are its deployment tool's", *lines
        )
