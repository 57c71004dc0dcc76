"""Tries the `fields` and `applied` of a state.yaml, of which answers are made, on recorded states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import BaseLoader

from pman.errors import ConfigError, EngineUnreachable
from pman.translation.fields import FieldReader
from pman.translation.overrides import RULES
from pman.translation.rules import FAILURES, SECTIONS, Rules, compiled
from pman.translation.statefile import lineage
from pman.workshop.lint.findings import Finding
from pman.workshop.lint.states import recorded_states
from pman.workshop.samples import samples


def of_engine(search: BaseLoader, engine: str) -> Iterator[Finding]:
    """Finds each that stops for a state, at its line, in rules in which nothing else is wrong."""
    rules = compiled(engine, search)
    reader = FieldReader(rules)
    site = samples(engine)[0].variables()[1]
    reported: set[tuple[str, str]] = set()
    for state, native in recorded_states(engine).items():
        if not (together := _failure(rules, reader, native, site)):
            continue
        alone: dict[tuple[str, str], str] = {
            (section, name): failure
            for section in SECTIONS
            for name in rules.written[section]
            if (failure := _failure(one := rules.only(section, name), FieldReader(one), native, site))
        }
        for at, failure in (alone or {("", ""): together}).items():
            if at not in reported:
                reported.add(at)
                name = ".".join(filter(None, at)) or "it"
                message = f"{name} stops for the recorded state {state}: {failure}"
                yield Finding("field-fails", message, *_place(search, engine, at))


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


def _place(search: BaseLoader, engine: str, at: tuple[str, str]) -> tuple[str, int]:
    """Names the nearest file that has it, which decides, and the line."""
    section, name = at
    sources = lineage(search, f"{engine}/{RULES}")
    for source in sources:
        if name in source.content.get(section, {}):
            return source.path, source.line(section, name)
    return sources[0].path, 0
