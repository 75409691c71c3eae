"""The drafted cloud file as text: every key with the model's description, values with where they were found."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from drafting.decide import Draft, Entry, Open, Path, Value
from fixtures.cloud.model import Cloud

MARK: Final = "TODO"
CONFIRM: Final = "CONFIRM"
_HEAD: Final = """\
# Cloud file, drafted by `pytest --draft-cloud`. Read it once: what stands behind a # tells where a value was found.
# {confirm}: the cloud is so, and a person should say whether it is meant so. {mark}: it did not answer by itself.
# Then: pytest --check-cloud THIS_FILE; pytest --cloud THIS_FILE -m static
"""


def text_of(draft: Draft) -> str:
    """Return the file's text."""
    return _HEAD.format(mark=MARK, confirm=CONFIRM) + "".join(f"{line}\n" for line in _section(Cloud, (), draft, 0))


def _section(model: type[BaseModel], path: Path, draft: Draft, depth: int) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not depth:
            yield ""
        yield from _field(name, field, (*path, name), draft, depth)


def _field(name: str, field: FieldInfo, path: Path, draft: Draft, depth: int) -> Iterator[str]:
    indent = "  " * depth
    inner = _submodel(field)
    if path == ("hosts",):
        yield from _hosts(draft)
    elif path in draft:
        yield from _entry(name, field, draft[path], indent)
    elif inner is not None:
        yield from _subsection(name, inner, path, draft, depth)
    elif depth or not field.is_required():
        yield from _default(name, field, indent)


def _subsection(name: str, inner: type[BaseModel], path: Path, draft: Draft, depth: int) -> Iterator[str]:
    """A section is live where something below it is; otherwise all of it stands under comment."""
    indent = "  " * depth
    live = any(found[: len(path)] == path and _counts(it) for found, it in draft.items())
    doc = (inner.__doc__ or "").strip().splitlines()[0]
    if live:
        yield from (f"{indent}# {doc}", f"{indent}{name}:")
        yield from _section(inner, path, draft, depth + 1)
        return
    if depth:
        yield f"{indent}# {name}: …   # {doc}"
        return
    yield from (f"# {doc}", f"# {name}:")
    yield from (_commented(line) for line in _section(inner, path, draft, depth + 1))


def _counts(entry: Entry) -> bool:
    """Whether a section must be there for an entry: a value, or a question that needs its answer."""
    return entry.required if isinstance(entry, Open) else entry.value is not None


def _commented(line: str) -> str:
    bare = line.lstrip()
    return f"#   {bare.removeprefix('# ')}" if bare else "#"


def _entry(name: str, field: FieldInfo, entry: Entry, indent: str) -> Iterator[str]:
    if field.description:
        yield f"{indent}# {field.description}"
    if isinstance(entry, Open):
        yield from _wrapped(f"{MARK}{'' if entry.required else ' (optional)'}: {entry.question}", indent)
        yield from (line for it in entry.candidates for line in _wrapped(f"  candidate: {it}", indent))
        yield f"{indent}# {name}:"
        return
    if entry.confirm:
        yield from _wrapped(f"{CONFIRM}: {entry.confirm}", indent)
    shown = f"# {name}:" if entry.value is None else f"{name}: {flow(entry.value)}"
    yield f"{indent}{shown}" + (f"   # {one_line(entry.found)}" if entry.found else "")


def _wrapped(text: str, indent: str) -> Iterator[str]:
    yield f"{indent}# {one_line(text)}"


def one_line(text: str) -> str:
    """Return a text that cannot end a comment, whatever a host put into it."""
    return "".join(char if char.isprintable() else " " for char in text.replace("\n", " "))


def _default(name: str, field: FieldInfo, indent: str) -> Iterator[str]:
    default = "" if field.default in (None, PydanticUndefined) else f" {flow(_plain(field.default))}"
    told = f"   # {field.description}" if field.description else ""
    yield f"{indent}# {name}:{default}{told}"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return list(value) if isinstance(value, tuple) else value


def _submodel(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a key holds; none for lists and tables of them."""
    kinds = (field.annotation, *get_args(field.annotation))
    origin = getattr(field.annotation, "__origin__", None)
    found = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return None if origin in (dict, tuple) else next(found, None)


# ---------------------------------------------------------------------------- hosts


def _hosts(draft: Draft) -> Iterator[str]:
    yield from ("# The machines, under the names that reports use.", "hosts:")
    below = [path for path in draft if path[0] == "hosts" and len(path) == 2]
    for path in below:
        yield f"  {flow(path[1])}:"
        entry = draft[path]
        assert isinstance(entry, Value)
        yield from _host(entry.value, entry.found)


def _host(told: Mapping[str, Any], found: str) -> Iterator[str]:
    for key, value in told.items():
        if key == "roles":
            yield "    roles:"
            yield from (f"      - {role}   # {one_line(why)}" for role, why in value.items())
        else:
            yield f"    {key}: {flow(value)}"
    if found:
        yield from (f"    # {one_line(line)}" for line in found.splitlines())


def flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 1 << 20
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue().removesuffix("...\n").strip()


def open_questions(draft: Draft) -> Iterable[tuple[Path, Open]]:
    """Return what a person must still answer, the necessary first."""
    found = [(path, entry) for path, entry in draft.items() if isinstance(entry, Open)]
    return sorted(found, key=lambda it: not it[1].required)
