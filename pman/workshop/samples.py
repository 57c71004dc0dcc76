"""Requests and settings to try the templates of an engine with, made of the examples in schema/.

Each sample is one that the engine takes: what its schema narrows is asked, not known here. `samples` are
few and have names that stay, for golden files; `pairs` are many, for a branch that none of them reaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from typing import Any

from pman import schema
from pman.errors import BadRequest, ConfigError
from pman.job import Job
from pman.settings import DECLARED, Settings, engine_schema, properties, written
from pman.translation import assumed
from pman.translation.inventory.docs import facts
from pman.translation.request import PROPERTIES, RequestParser
from pman.translation.translation import ASSUMED_FACTS
from pman.translation.variables import job_variables, site_variables

Choices = Mapping[str, Any]
"""Values of fields of a request, of settings and of facts that the engine states, by their names."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A job that an engine takes, and the site that it is for."""

    name: str
    """Good for a file, e.g. `everything-with-SLURM_RUNTIME-podman`."""

    request: Mapping[str, Any]
    job: Job
    settings: Settings
    facts: Mapping[str, Any]
    """The engine's statements on itself, the storebase included."""

    @property
    def body(self) -> bytes:
        return json.dumps(self.request, ensure_ascii=False).encode()

    def variables(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`job` and `site`, as templates get them."""
        return job_variables(self.job, self.settings), site_variables(self.settings, self.facts)


@cache
def samples(engine: str) -> tuple[Sample, ...]:
    """A plain job; each option alone; all options together, with each value of those that have several."""
    options = _options(engine)
    chosen: dict[str, Choices] = {"plain": {}}
    for option, values in options.items():
        for value in values:
            chosen[_name("", option, value, values)] = {option: value}
    chosen["everything"] = _filled(engine, {})
    for option, values in options.items():
        for value in values if len(values) > 1 or not _asks(option) else ():
            chosen[_name("everything-with-", option, value, values)] = _filled(engine, {option: value})
    return tuple(sample for name, choices in chosen.items() if (sample := _sample(engine, name, choices)))


def pairs(engine: str, words: Set[str]) -> Iterator[Sample]:
    """Each two values of two options, with nothing else and with all else.

    `words` are those of the templates: a setting that they do not name and whose values the engine does not
    narrow decides no branch of theirs, and is left out.
    """
    options = {name: values for name, values in _options(engine).items() if _decides(engine, name, words)}
    for one, other in combinations(reversed(options), 2):  # settings have more to do with each other
        for value in options[one]:
            for second in options[other]:
                both = {one: value, other: second}
                for choices in (both, _filled(engine, both)):
                    if sample := _sample(engine, f"{one}-{other}", choices):
                        yield sample


def _sample(engine: str, name: str, choices: Choices) -> Sample | None:
    """The plain request with these choices; None where the engine does not take them together."""
    request = {**_PLAIN, **{option: value for option, value in choices.items() if option in PROPERTIES}}
    given = tuple((option, written(option, choices[option])) for option in choices if option in DECLARED)
    if not (loaded := _settings(engine, given)) or not (job := _job(engine, json.dumps(request))):
        return None
    facts = {
        "storebase": loaded["STOREBASE"] or ASSUMED_FACTS["storebase"],
        **{option: choices.get(option, stated[0]) for option, stated in _facts(engine).items()},
    }
    return Sample(name, request, job, loaded, facts)


def _filled(engine: str, choices: Choices) -> Choices:
    """These choices with a value of every other option that asks for more, where the engine takes it too."""
    if not _sample(engine, "", choices):
        return choices
    for option, values in _options(engine).items():
        if option not in choices and _asks(option):
            more = {**choices, option: values[-1 if option in PROPERTIES else 0]}
            choices = more if _sample(engine, "", more) else choices
    return choices


@lru_cache(maxsize=1024)
def _settings(engine: str, given: tuple[tuple[str, str], ...]) -> Settings | None:
    """The settings with what is given, and with examples of what the engine cannot do without."""
    for needed in (_needed(engine), {}):  # what is needed at the first try spares another one
        try:
            environment = {**needed, "CONTAINER_ENV": engine, **dict(given)}
            return assumed.settings(environment, [engine], stand_ins=_EXAMPLES)[0]
        except ConfigError:
            continue
    return None


@cache
def _needed(engine: str) -> Mapping[str, str]:
    """Examples of the settings that an engine cannot do without where nothing else is set."""
    try:
        plain, _ = assumed.settings({"CONTAINER_ENV": engine}, [engine], stand_ins=_EXAMPLES)
    except ConfigError:
        return {}
    return {
        name: _EXAMPLES[name]
        for name, source in plain.sources.items()
        if source != "default" and name in _EXAMPLES
    }


@lru_cache(maxsize=1024)
def _job(engine: str, body: str) -> Job | None:
    try:
        return RequestParser(engine_schema(engine, "request")).parse(body)
    except BadRequest:
        return None


@cache
def _options(engine: str) -> dict[str, list[Any]]:
    """Lists what can be chosen for an engine: the values of each option that are not the plain ones."""
    return {**_request_options(), **_settings_options(engine), **_facts(engine)}


def _asks(option: str) -> bool:
    """Says whether an option adds to a job; the others are one way of several, or take something away."""
    declared = PROPERTIES.get(option) or DECLARED.get(option, {})
    return "enum" not in declared and _is_variable(declared)


def _is_variable(declared: Mapping[str, Any]) -> bool:
    """Says whether templates are given it."""
    return any(where.startswith(("job.", "site.")) for where in declared.get("x-reaches", ()))


def _decides(engine: str, option: str, words: Set[str]) -> bool:
    """Says whether a branch of templates with these words may go by an option."""
    declared = DECLARED.get(option)
    return (
        declared is None
        or "enum" in properties(engine_schema(engine, "settings")).get(option, {})
        or not words.isdisjoint(
            [option.lower(), *(where.partition(".")[2] for where in declared["x-reaches"])]
        )
    )


def _request_options() -> dict[str, list[Any]]:
    return {
        name: values
        for name, declared in PROPERTIES.items()
        if (values := [value for value in _values(declared) if value != _PLAIN.get(name)])
        and (len(_values(declared)) > 1 or name not in _REQUIRED or "x-unset" in declared)
    }


def _settings_options(engine: str) -> dict[str, list[Any]]:
    """The values of each setting that the templates of an engine may be given and that is not its default."""
    narrowed = properties(engine_schema(engine, "settings"))
    options = {}
    for name, declared in DECLARED.items():
        own = narrowed.get(name, {})
        default = own.get("default", declared.get("default"))
        chosen = "enum" in own or declared["type"] == "boolean" or _is_variable(declared)
        if {"*", engine} & {*declared["x-engines"]} and chosen and not declared.get("x-address"):
            values = own.get("examples") or own.get("enum") or _values(declared)
            if others := [value for value in values if value != default]:
                options[name] = others
    return options


@cache
def _facts(engine: str) -> Mapping[str, list[Any]]:
    return {name: _values(declared) for name, declared in facts(engine).items() if name != "storebase"}


def _values(declared: Mapping[str, Any]) -> list[Any]:
    return list(declared.get("enum") or declared.get("examples", ()))


_EXAMPLES = {name: written(name, one["examples"][0]) for name, one in DECLARED.items() if "examples" in one}
_REQUIRED = frozenset(schema.load("request.json")["required"])
_PLAIN: Mapping[str, Any] = {
    name: declared.get("x-unset", _values(declared)[0])
    for name, declared in PROPERTIES.items()
    if name in _REQUIRED
}
"""A request that asks for nothing that can be left out."""


def _name(prefix: str, option: str, value: object, values: list[Any]) -> str:
    if len(values) == 1:
        return f"{prefix}{option}"
    shown = value if isinstance(value, str) else str(values.index(value) + 1)
    return f"{prefix}{option}-{shown.replace(':', '_')}"
