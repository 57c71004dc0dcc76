"""Checks a state.yaml: its names and fields as they are written, then what it makes of recorded states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, nodes
from jinja2.exceptions import TemplateError

from pman.errors import ConfigError, EngineUnreachable
from pman.resources import STATES, TEMPLATES, shipped_name
from pman.suggest import meant, nearest
from pman.translation.fields import FieldReader
from pman.translation.functions import FUNCTIONS
from pman.translation.overrides import RULES
from pman.translation.render import loader
from pman.translation.rules import ANSWERED, FAILURES, SECTIONS, Rules, Section, compiled, unknown_names
from pman.translation.statefile import StateSource, lineage
from pman.workshop.lint.findings import Finding, has_errors, of_mistake
from pman.workshop.lint.trial import CLOSE, SYNTAX, Trial, path_of
from pman.workshop.samples import samples

SHIPPED = tuple(sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir()))

Place = tuple[str | int, ...]
"""Where a text stands in a state.yaml, e.g. `("rules", 3, "when")`."""


def of_engine(search: BaseLoader, engine: str) -> list[Finding]:
    """Finds all that is wrong with the rules of an engine, its own and those that it extends."""
    sources = lineage(search, f"{engine}/{RULES}")
    findings = list(_as_written(sources))
    if has_errors(findings):
        return findings
    try:
        rules = compiled(engine, search)
    except ConfigError as error:
        return [*findings, Finding("rules-syntax", str(error), f"{engine}/{RULES}")]
    trial = Trial(engine, sources[0].path)
    natives = recorded_states(engine)
    for state, native in natives.items():
        findings += trial.add(rules, state, native)
    if trial.decided:
        findings += trial.findings()
    if engine in SHIPPED and not shipped_name(sources[0].path):
        findings += trial.changed(compiled(engine, loader()), natives)
    return findings if has_errors(findings) else [*findings, *_failing(rules, sources, natives, engine)]


def recorded_states(engine: str) -> dict[str, Any]:
    """Reads the native states of an engine, by their names."""
    files = sorted((STATES / engine).glob("*.json"))
    return {file.stem: json.loads(file.read_text("utf-8"))["native"] for file in files}


def _as_written(sources: Sequence[StateSource]) -> Iterator[Finding]:
    for index, source in enumerate(sources):
        yield from map(of_mistake, source.mistakes)
        if any(mistake.rule != "unknown-template" for mistake in source.mistakes):
            return  # its content is not as the schema has it
        inherited = [name for other in sources[:index:-1] for name in other.content.get("values", {})]
        yield from _unknown_names(source, inherited)
        yield from _fields_never_seen(source, _seen(Path(source.path).parent.name))


def _texts(source: StateSource) -> Iterator[tuple[Place, str]]:
    """Lists every expression and message with its place."""
    for section in ("values", "fields", "applied"):
        for name, text in source.content.get(section, {}).items():
            yield (section, name), text
    for section in ("rules", "refusals", "checks"):
        for index, rule in enumerate(source.content.get(section, ())):
            for word in ("when", "message", "hint"):
                if word in rule:
                    yield (section, index, word), rule[word]


def _is_expression(place: Place) -> bool:
    return place[-1] not in ("message", "hint") or len(place) == 2


def _usable(place: Place, inherited: Sequence[str], own: Sequence[str]) -> list[str]:
    """Lists the names that a text may use: a value those before it, and those of what the file extends."""
    values = [*inherited, *own]
    match place:
        case ("values", name):
            return ["native", *inherited, *own[: own.index(str(name))]]
        case ("fields", name):
            return ["native", *values, *(() if name in ANSWERED else ("site",))]
        case ("applied", _):
            return ["native", *values, "held"]
        case ("rules", *_):
            return ["native", *values]
        case ("refusals", *_):
            return ["native"]
    return ["native", "site"]


def _unknown_names(source: StateSource, inherited: Sequence[str]) -> Iterator[Finding]:
    own = list(source.content.get("values", {}))
    for place, text in _texts(source):
        usable, line = _usable(place, inherited, own), source.line(*place)
        try:
            names = unknown_names(text, usable, is_expression=_is_expression(place))
        except TemplateError as error:
            message = f"{'.'.join(map(str, place))}: {error.message}"
            yield Finding("rules-expression", message, source.path, line, text[:200])
        else:
            for name in names:
                hint = meant(name, sorted([*usable, *FUNCTIONS]))
                yield Finding("unknown-name", f"{name} is not known", source.path, line, hint)


_Seen = dict[str, "_Seen"]
"""The fields that recorded states have, all together."""


def _seen(engine: str) -> _Seen:
    seen: _Seen = {}
    for native in recorded_states(engine).values():
        _see(seen, native)
    return seen


def _see(seen: _Seen, value: object) -> None:
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        _see(seen.setdefault(str(name), {}), inner)


def _fields_never_seen(source: StateSource, seen: _Seen) -> Iterator[Finding]:
    """A field of `native` that no recorded state has and that is nearly one that some have."""
    for place, text in _texts(source):
        if place[0] not in ("values", "fields", "rules"):
            continue
        for name, others in _misspelt_fields("{{ " + text + " }}" if _is_expression(place) else text, seen):
            message = f"{name} is in no recorded state, so it is never there"
            if near := nearest(name.rpartition(".")[2], others, CLOSE):
                hint = f"did you mean {near}?"
                yield Finding("unknown-word", message, source.path, source.line(*place), hint)


def _misspelt_fields(template: str, seen: _Seen) -> Iterator[tuple[str, list[str]]]:
    """Finds the first unknown part of each path, and what there is in its place."""
    try:
        tree = SYNTAX.parse(template)
    except TemplateError:  # has a finding of its own
        return
    for node in tree.find_all(nodes.Getattr):
        path, inner = path_of(node), seen
        for index, name in enumerate(path[1:] if path[:1] == ("native",) else ()):
            if name not in inner:
                yield ".".join(path[: index + 2]), list(inner)
                break
            inner = inner[name]


def _failing(
    rules: Rules, sources: Sequence[StateSource], natives: Mapping[str, Any], engine: str
) -> Iterator[Finding]:
    """Finds each of `fields` and `applied` that stops for a recorded state, in the file that decides it."""
    site = samples(engine)[0].variables()[1]
    together = FieldReader(rules)

    @cache
    def alone(section: Section, name: str) -> tuple[Rules, FieldReader]:
        only = rules.only(section, name)
        return only, FieldReader(only)

    for state, native in natives.items():
        if not (failure := _failure(rules, together, native, site)):
            continue
        fields = [(section, name) for section in SECTIONS for name in rules.written[section]]
        failures = [(*field, _failure(*alone(*field), native, site)) for field in fields]
        failing = [each for each in failures if each[-1]]
        for section, name, own in failing:
            message = f"{section}.{name} stops for the recorded state {state}: {own}"
            source = next(source for source in sources if name in source.content.get(section, {}))
            yield Finding("field-fails", message, source.path, source.line(section, name))
        if not failing:
            message = f"it stops for the recorded state {state}: {failure}"
            yield Finding("field-fails", message, sources[0].path)


def _failure(rules: Rules, reader: FieldReader, native: Mapping[str, Any], site: Mapping[str, Any]) -> str:
    """Says what keeps the answer from being made; '' where it is made."""
    try:
        reader.read(rules.read("job", native), native, site)
        list(reader.applied(native, {}, reader.masking(native, site)))
    except EngineUnreachable:  # by a rule: there is no answer to add anything to
        return ""
    except ConfigError as error:
        return str(error.__cause__ or error)
    except FAILURES as error:
        return f"{type(error).__name__}: {error}"
    return ""
