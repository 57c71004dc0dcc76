"""Requests and settings to try the templates of an engine with, made of the examples in schema/.

Each sample is one that the engine takes: what its schema narrows is asked, not known here. `samples` are
few and have names that stay, for golden files; `pairs` are many, for a branch that none of them reaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from pman import schema, settings
from pman.errors import BadRequest, ConfigError
from pman.job import Job
from pman.settings import DECLARED, Settings, engine_schema, properties, written
from pman.translation.request import PROPERTIES, RequestParser
from pman.translation.translation import ASSUMED_FACTS
from pman.translation.variables import job_variables, site_variables

TOLD: Mapping[str, Any] = schema.load("variables.json")["properties"]["site"]["properties"]
"""What engines tell besides the settings, as variables of `site`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a field of a request, of a setting, or of what the engine tells."""

    option: str
    value: Any


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    """For a file, e.g. `everything-with-SLURM_RUNTIME-podman`."""

    request: Mapping[str, Any]
    environ: Mapping[str, str]
    """The settings, CONTAINER_ENV included, as the environment has them."""

    told: Mapping[str, Any]
    """What the engine tells, the storebase included."""

    @property
    def engine(self) -> str:
        return self.environ["CONTAINER_ENV"]

    @property
    def body(self) -> bytes:
        return json.dumps(self.request, ensure_ascii=False).encode()

    @property
    def settings(self) -> Settings:
        return settings.load(self.environ, [self.engine])

    @property
    def job(self) -> Job:
        return RequestParser(engine_schema(self.engine, "request")).parse(self.body)

    def variables(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`job` and `site`."""
        return job_variables(self.job, self.settings), site_variables(self.settings, self.told)


@cache
def samples(engine: str) -> tuple[Sample, ...]:
    """A plain job; each option alone; all options together, with each value of those that have several."""
    maker = _Maker(engine)
    chosen: dict[str, tuple[Choice, ...]] = {"plain": ()}
    for option, values in maker.choices.items():
        for value in values:
            chosen[_name("", option, value, values)] = (Choice(option, value),)
    chosen["everything"] = maker.filled(())
    for option, values in maker.choices.items():
        for value in values if len(values) > 1 or not _asks(option) else ():
            chosen[_name("everything-with-", option, value, values)] = maker.filled((Choice(option, value),))
    return tuple(
        sample for name, choices in chosen.items() if (sample := maker.sample(name, choices)) is not None
    )


def pairs(engine: str) -> Iterator[Sample]:
    """Each two values of two options, with nothing else and with all else."""
    maker = _Maker(engine)
    for one, other in combinations(reversed(maker.choices), 2):  # settings have more to do with each other
        for value in maker.choices[one]:
            for second in maker.choices[other]:
                both = (Choice(one, value), Choice(other, second))
                for choices in (both, maker.filled(both)):
                    sample = maker.sample(f"{one}-{other}", choices)
                    if sample is not None:
                        yield sample


class _Maker:
    """What can be chosen for one engine."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._parser = RequestParser(engine_schema(engine, "request"))
        self.choices: dict[str, list[Any]] = {**_of_requests(), **_of_settings(engine), **_of_engines(engine)}

    def sample(self, name: str, choices: tuple[Choice, ...]) -> Sample | None:
        """None where the engine does not take these together."""
        request = {
            **_PLAIN,
            **{choice.option: choice.value for choice in choices if choice.option in PROPERTIES},
        }
        environ = self._environ(
            tuple((c.option, written(c.option, c.value)) for c in choices if c.option in DECLARED)
        )
        if environ is None or not self._taken(json.dumps(request)):
            return None
        told = {option: values[0] for option, values in _of_engines(self._engine).items()}
        told |= {choice.option: choice.value for choice in choices if choice.option in told}
        storebase = environ.get("STOREBASE", ASSUMED_FACTS["storebase"])
        return Sample(name, request, environ, {"storebase": storebase, **told})

    def filled(self, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """With a value of every other option that asks for more, where the engine takes it as well."""
        if self.sample("", choices) is None:
            return choices
        for option, values in self.choices.items():
            if option not in {choice.option for choice in choices} and _asks(option):
                more = (*choices, Choice(option, values[-1 if option in PROPERTIES else 0]))
                choices = more if self.sample("", more) is not None else choices
        return choices

    @cache  # noqa: B019  (a maker lives as long as one list of samples)
    def _environ(self, given: tuple[tuple[str, str], ...]) -> Mapping[str, str] | None:
        """With what the engine cannot do without."""
        environ = {"CONTAINER_ENV": self._engine, **dict(given)}
        try:
            settings.load(environ, [self._engine])
        except ConfigError as error:
            missing = {fault.path for fault in error.faults} - environ.keys()
            environ |= {name: written(name, _examples(name, {})[0]) for name in missing if name in DECLARED}
            try:
                settings.load(environ, [self._engine])
            except ConfigError:
                return None
        return environ

    @cache  # noqa: B019  (as above)
    def _taken(self, body: str) -> bool:
        try:
            self._parser.parse(body)
        except BadRequest:
            return False
        return True


def _asks(option: str) -> bool:
    """Whether it adds to a job; the others are one way of several, or take something away."""
    declared = PROPERTIES.get(option) or DECLARED.get(option, {})
    reaches = declared.get("x-reaches", ())
    return "enum" not in declared and any(where.startswith(("job.", "site.")) for where in reaches)


def _of_requests() -> dict[str, list[Any]]:
    """The values of each field that are not the plain one."""
    return {
        name: values
        for name, declared in PROPERTIES.items()
        if (values := [value for value in _values(declared) if value != _PLAIN.get(name)])
        and (len(_values(declared)) > 1 or name not in _REQUIRED or "x-unset" in declared)
    }


def _of_settings(engine: str) -> dict[str, list[Any]]:
    """The values of each setting that the templates of an engine may be given and that is not its default."""
    narrowed = properties(engine_schema(engine, "settings"))
    found = {}
    for name, declared in DECLARED.items():
        own = narrowed.get(name, {})
        default = own.get("default", declared.get("default"))
        variable = any(where.startswith(("job.", "site.")) for where in declared["x-reaches"])
        chosen = "enum" in own or declared["type"] == "boolean" or variable
        if {"*", engine} & {*declared["x-engines"]} and chosen and not declared.get("x-address"):
            values = own.get("examples") or own.get("enum") or declared.get("enum") or _examples(name, own)
            if others := [value for value in values if value != default]:
                found[name] = others
    return found


def _of_engines(engine: str) -> dict[str, list[Any]]:
    return {
        name: list(declared["enum"])
        for name, declared in TOLD.items()
        if engine in declared.get("x-engines", [engine]) and "enum" in declared
    }


def _examples(name: str, own: Mapping[str, Any]) -> list[Any]:
    return list(own.get("examples") or DECLARED[name].get("examples", ()))


def _values(declared: Mapping[str, Any]) -> list[Any]:
    return list(declared.get("enum") or declared.get("examples", ()))


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
    told = value if isinstance(value, str) else str(values.index(value) + 1)
    return f"{prefix}{option}-{told.replace(':', '_') if isinstance(told, str) else told}"
