"""A state.yaml, read once: what is written in it and what is wrong with it, then with what it extends."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import yaml
from jinja2 import BaseLoader
from jinja2.exceptions import TemplateNotFound

from pman import schema
from pman.errors import ConfigError
from pman.suggest import meant
from pman.translation.functions import FUNCTIONS
from pman.translation.languages.yaml import repeated
from pman.translation.sources import BUILTIN, SYNTAX, Mistake, place

UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""Raised by parsing YAML; ValueError for a date that does not exist."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, refusal or check."""

    source: Mapping[str, Any]
    file: str
    """The path of the file it is written in."""

    line: int

    @property
    def condition(self) -> str:
        return str(self.source.get("when", "true"))


@dataclass(frozen=True, slots=True, eq=False)
class StateSource:
    """One state.yaml as it is written; the same text of the same file is the same object."""

    name: str
    """The name by which it is extended: `docker/state.yaml`, or `builtin/docker/state.yaml`."""

    path: str
    content: Mapping[str, Any]
    """Empty where the file cannot be read; not as the schema has it where `mistakes` say so."""

    mistakes: tuple[Mistake, ...] = ()
    root: yaml.Node | None = None

    @property
    def extends(self) -> str | None:
        """Names the next file, also where something else is wrong with this one."""
        extended = self.content.get("extends")
        return extended if isinstance(extended, str) else None

    @property
    def exists(self) -> bool:
        """Holds also for a file that cannot be read."""
        return all(mistake.rule != "unknown-file" for mistake in self.mistakes)

    def line(self, *path: str | int) -> int:
        """Tells where a value stands, or what is nearest around it."""
        mark = place(self.root, path)
        return mark.line + 1 if mark else 1

    def rules(self, section: str) -> tuple[Rule, ...]:
        return tuple(
            Rule(rule, self.path, self.line(section, index))
            for index, rule in enumerate(self.content.get(section, ()))
        )


@dataclass(frozen=True, slots=True)
class StateFile:
    """A state.yaml with what it extends: its rules first, its values and fields in place of the others."""

    sources: tuple[StateSource, ...]

    def named(self, section: str) -> Mapping[str, str]:
        """Gives the expressions of `values`, `fields` or `applied`, by their names."""
        return dict(ChainMap(*(source.content.get(section, {}) for source in self.sources)))

    def rules(self, section: str = "rules") -> tuple[Rule, ...]:
        return tuple(rule for source in self.sources for rule in source.rules(section))


def read(search: BaseLoader, name: str) -> StateFile:
    """Raises ConfigError for what is wrong with the file, else with the nearest that it extends."""
    sources = lineage(search, name)
    for source in sources:
        if source.mistakes:
            raise ConfigError.of([mistake.fault for mistake in source.mistakes])
    return StateFile(sources)


def lineage(search: BaseLoader, name: str) -> tuple[StateSource, ...]:
    """Reads a state.yaml and those that it extends, the nearest first, as far as they can be found.

    What is wrong with each stands in its `mistakes`, an `extends` that leads nowhere or back as well.
    """
    sources: list[StateSource] = []
    next_name: str | None = name
    while next_name is not None:
        source = _source(search, next_name)
        lost = _extends_nothing(search, source, [*(below.name for below in sources), next_name])
        sources.append(replace(source, mistakes=(*source.mistakes, lost)) if lost else source)
        next_name = None if lost else source.extends
    return tuple(sources)


def _source(search: BaseLoader, name: str) -> StateSource:
    try:
        text, path, _ = search.get_source(SYNTAX, name)
    except TemplateNotFound:
        message = "it does not exist: the engine has no rules"
        return StateSource(name, "", {}, (Mistake("unknown-file", name, message),))
    except UnicodeDecodeError as error:
        message = f"no UTF-8: {error.reason} at byte {error.start}"
        return StateSource(name, "", {}, (Mistake("unreadable-file", name, message),))
    except OSError as error:
        return StateSource(name, "", {}, (Mistake("unreadable-file", name, str(error.strerror or error)),))
    return parsed(name, path or f"templates/{name}", text)


def _extends_nothing(search: BaseLoader, source: StateSource, names: list[str]) -> Mistake | None:
    """`names`: the file's own and those of the files that extend it."""
    extended = source.extends
    if extended is None:
        return None
    line, shipped = source.line("extends"), f"{BUILTIN}{extended.removeprefix(BUILTIN)}"
    if extended in names:
        message = f"templates/{extended} extends itself; the shipped one is {shipped}"
        return Mistake("rules-schema", source.name, message, source.path, line)
    # The file itself is asked for: a listing of templates does not follow links to directories.
    if not extended.endswith(".j2") and _source(search, extended).exists:
        return None
    others = [name for name in search.list_templates() if name != source.name and not name.endswith(".j2")]
    message, hint = f"templates/{extended}, which it extends, does not exist", meant(extended, sorted(others))
    return Mistake("unknown-template", source.name, message, source.path, line, hint)


@lru_cache(maxsize=256)
def parsed(name: str, path: str, text: str) -> StateSource:
    """Reads one file by itself; what it extends is not looked for."""
    try:
        return _parsed(name, path, text)
    except UNREADABLE as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        message = f"no YAML: {problem or error}"
        mistake = Mistake("rules-syntax", name, message, path, mark.line + 1 if mark else 0)
        return StateSource(name, path, {}, (mistake,))


def _parsed(name: str, path: str, text: str) -> StateSource:
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    if endless := _endless(root):
        mistake = Mistake("rules-syntax", name, "it holds itself, by an alias", path, _line(endless))
        return StateSource(name, path, {}, (mistake,))
    content = yaml.load(text, Loader=yaml.CSafeLoader)
    twice = [
        Mistake("rules-syntax", name, f"{key.value!r} stands twice; YAML drops the first", path, _line(key))
        for key in _twice(root)
    ]
    source = StateSource(name, path, content if isinstance(content, dict) else {}, (), root)
    mistakes = [*twice, *_against_schema(source, content), *_hiding_functions(source)]
    return replace(source, mistakes=tuple(dict.fromkeys(mistakes)))


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _endless(node: yaml.Node | None, around: tuple[yaml.Node, ...] = ()) -> yaml.Node | None:
    """Finds the first alias of what it stands in."""
    around = (*around, node) if node else around
    for part in _parts(node):
        if any(part is outer for outer in around):
            return part
        if endless := _endless(part, around):
            return endless
    return None


def _twice(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Finds keys that have stood in the same mapping before."""
    if isinstance(node, yaml.MappingNode):
        yield from repeated(node)
    for part in _parts(node):
        yield from _twice(part)


def _against_schema(source: StateSource, content: object) -> Iterator[Mistake]:
    for error in schema.errors(schema.validator(schema.load("state.json")), content):
        names = schema.unknown(error) if error.validator == "additionalProperties" else []
        line = source.line(*error.absolute_path, *names[:1])
        message, at = schema.message(error), schema.path_of(error)
        yield Mistake("rules-schema", source.name, message, source.path, line, at=at)


def _hiding_functions(source: StateSource) -> Iterator[Mistake]:
    """Finds values in whose reach no expression could call the function of their name."""
    values = source.content.get("values")
    for name in FUNCTIONS.keys() & (values if isinstance(values, dict) else {}).keys():
        message, line = f"a value cannot be named {name}: it is a function", source.line("values", name)
        yield Mistake("rules-schema", source.name, message, source.path, line, at=f"$.values.{name}")
