"""Reads the settings from the environment and .env, once, at start; schema/settings.json declares them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from jsonschema.protocols import Validator
from referencing.exceptions import Unresolvable

from pman import schema
from pman.errors import ConfigError, Fault
from pman.suggest import nearest, one_of

SETTINGS = schema.load("settings.json")
DECLARED: Mapping[str, Mapping[str, Any]] = {**schema.engines_settings(), **SETTINGS["properties"]}
"""Every variable: pman's, and those that an engine of another package declares in its own schema."""

KNOWN_ENGINES = {engine for declared in DECLARED.values() for engine in declared["x-engines"]} - {"*"}
"""The engines that the settings speak of, installed or not."""

MASK = "********"
"""Stands where a secret would be shown."""

_TRUE, _FALSE = ("yes", "true", "on", "1", "y", "t"), ("no", "false", "off", "0", "n", "f")

TOKENS = ("AUTH_TOKEN", "AUTH_READ_TOKEN")
"""The settings that let callers in; of them, AUTH_TOKEN may change something."""

_GUESSED = (
    "password", "passwort", "passphrase", "changeme", "change-me", "letmein", "secret", "default",
    "example", "qwertyuiop", "qwertzuiop", "asdfgh", "yxcvbn", "zxcvbn", "qwerty", "qwertz", "admin",
    "token", "pfcon", "chris", "pman", "test",
)  # fmt: skip
_NEW_TOKEN = "make one with `openssl rand -hex 32`"  # noqa: S105  (none)

_MAX_ID = 2**31
"""A user or group of a container has a number below this one (runc)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective configuration. A variable that is not set and has no default is None."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    """Where each value came from: environment, .env or default."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def engine(self) -> str:
        return str(self.values["CONTAINER_ENV"])

    def is_set(self, name: str) -> bool:
        """Says whether a variable asks for something that its default does not."""
        return self.values[name] not in (None, DECLARED[name].get("default"))

    def shown(self, name: str) -> str:
        """The value as text for a person, a secret masked; '' where there is none."""
        value = self.values[name]
        return "" if value is None else _masked(name, written(name, value))


def written(name: str, value: object) -> str:
    """Writes a value as the environment has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _separator(name).join(map(str, value))
    return str(value)


def _masked(name: str, text: str) -> str:
    return MASK if DECLARED[name].get("x-secret") else text


def _separator(name: str) -> str:
    return str(DECLARED[name].get("x-separator", ","))


def listed(name: str, text: str) -> list[str]:
    """Splits a setting that is a list, as the environment has it, into its items."""
    return [item.strip() for item in text.split(_separator(name)) if item.strip()]


def load(environ: Mapping[str, str], engines: Sequence[str], dotenv: Path | None = None) -> Settings:
    """Raises ConfigError with every variable that is wrong: its name, its value and what is allowed."""
    file = dotenv_values(dotenv) if dotenv and dotenv.is_file() else {}
    texts, sources = _texts({"environment": environ, ".env": file})
    values: dict[str, Any] = {}
    faults = [*_misspelt(file), *_misspelt(name for name in environ if name.startswith("PMAN_"))]
    for name, text in texts.items():
        try:
            values[name] = _parse(name, text.strip())
        except ValueError as error:
            faults.append(_fault(name, text, str(error)))
    engine = values.setdefault("CONTAINER_ENV", DECLARED["CONTAINER_ENV"]["default"])
    if engine not in engines:
        raise ConfigError.of([*faults, _fault("CONTAINER_ENV", engine, one_of(engine, engines))])
    schema.check_engine(engine)
    for declared in (properties(engine_schema(engine, "settings")), DECLARED):  # the engine's own first
        defaults = {name: each["default"] for name, each in declared.items() if "default" in each}
        values = {**defaults, **values}
    named = {fault.path for fault in faults}
    for checker in _checkers(engine):
        wrong = [(_variable(fault), fault) for fault in schema.faults(checker, values)]
        faults += [_from_schema(name, texts, fault) for name, fault in wrong if name not in named]
        named |= {name for name, _ in wrong}
    if len({values.get(name) for name in TOKENS} - {None}) < sum(name in values for name in TOKENS):
        faults.append(_fault(TOKENS[1], values[TOKENS[1]], "it is AUTH_TOKEN; use another one"))
    if not faults and (too_small := _unfinished(values)):
        faults.append(too_small)
    if faults:
        raise ConfigError.of(faults)
    return Settings(
        values={name: values.get(name) for name in DECLARED},
        sources={name: sources.get(name, "default") for name in DECLARED},
    )


def _unfinished(values: Mapping[str, Any]) -> Fault | None:
    """Faults bounds of all requests together that one request may exceed."""
    most, one = values["HTTP_UNFINISHED_BYTES"], values["HTTP_BODY_BYTES"] + values["HTTP_HEADER_BYTES"]
    if most >= one:
        return None
    problem = f"use at least HTTP_BODY_BYTES + HTTP_HEADER_BYTES, {one}"
    return _fault("HTTP_UNFINISHED_BYTES", most, problem)


def _texts(given: Mapping[str, Mapping[str, str | None]]) -> tuple[dict[str, str], dict[str, str]]:
    """Finds the text of each variable that is set, and its source: the first of `given` that has it.

    An empty value counts as none: compose files pass those on.
    """
    texts, sources = dict[str, str](), dict[str, str]()
    for name in DECLARED:
        for source, variables in given.items():
            if name not in texts and (text := variables.get(name)) and text.strip():
                texts[name], sources[name] = text, source
    return texts, sources


def _misspelt(names: Iterable[str]) -> Iterator[Fault]:
    """Faults names that are nearly a variable of pman's; one that is far from all is somebody else's."""
    for name in names:
        if name not in DECLARED and (near := nearest(name, DECLARED, likeness=0.85)):
            yield Fault(name, f"{name} is not known; did you mean {near}?")


@cache
def _checkers(engine: str) -> tuple[Validator, Validator]:
    """Compiles what settings must satisfy, the engine's own first: of a choice it allows less."""
    return schema.validator(engine_schema(engine, "settings")), schema.validator(SETTINGS)


@cache
def engine_schema(engine: str, part: str) -> Mapping[str, Any]:
    """Refers to a part of an engine's schema, e.g. `request` or `settings`; {} where it has none."""
    reference = f"urn:pman:engines:{engine}#/$defs/{part}"
    try:
        schema.registry().resolver().lookup(reference)
    except Unresolvable:
        return {}
    return {"$ref": reference}


def properties(narrowing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Gathers the properties of a schema, with those of the schema that it refers to."""
    own: Mapping[str, Any] = narrowing.get("properties", {})
    if "$ref" not in narrowing:
        return own
    return {**properties(schema.registry().resolver().lookup(narrowing["$ref"]).contents), **own}


def _fault(name: str, text: str, problem: str) -> Fault:
    return Fault(name, f"{name}={_masked(name, text)!r}: {problem}")


def _variable(fault: Fault) -> str:
    return re.split(r"[.\[]", fault.path.removeprefix("$."))[0]


def _from_schema(name: str, texts: Mapping[str, str], fault: Fault) -> Fault:
    if name not in texts:
        return Fault(name, f"{name} is not set: {fault.message.removeprefix('missing; ')}")
    _, _, problem = fault.message.partition(": ")
    return _fault(name, texts[name], problem or fault.message)


def _parse(name: str, text: str) -> object:
    kind = DECLARED[name]["type"]
    if kind == "integer":
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError("use a whole number")
        return int(text)
    if kind == "boolean":
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError("use yes or no")
        return text.lower() in _TRUE
    if kind == "array":
        items = listed(name, text)
        return [_addresses(item) for item in items] if name == "TRUSTED_PROXIES" else items
    if kind == "object":
        return _pairs(text)
    if name == "CONTAINER_USER":
        _check_ranges(text)
    if name in TOKENS:
        _check_strength(text)
    return text


def _addresses(text: str) -> str:
    """An address or a network in its one form: 10.0.0.1/8 is 10.0.0.0/8. Raises ValueError."""
    return str(ipaddress.ip_network(text, strict=False) if "/" in text else ipaddress.ip_address(text))


def _check_strength(token: str) -> None:
    """Raises ValueError for what may be guessed: words, rows of the alphabet or of keys, a piece repeated."""
    if len(token) < 16:
        return  # the schema says so
    if token in f"{token}{token}"[1:-1]:
        raise ValueError(f"a piece of it, repeated; {_NEW_TOKEN}")
    rest, lower = "", token.lower()
    while lower:  # without what is guessed in one go
        guessed = next((word for word in _GUESSED if lower.startswith(word)), lower[0])
        rest += "" if len(guessed) > 1 else guessed
        lower = lower[len(guessed) :]
    steps = [ord(after) - ord(before) for before, after in pairwise(rest)]
    if len(set(rest)) < 6 or sum(abs(step) <= 1 for step in steps) > len(rest) / 2:
        raise ValueError(f"easy to guess; {_NEW_TOKEN}")


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for item in filter(None, map(str.strip, text.split(","))):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ValueError(f"{item!r} is not KEY=VALUE; use KEY=VALUE,KEY=VALUE")
        pairs[key] = value
    return pairs


def _check_ranges(text: str) -> None:
    for part in text.split(":"):
        low, dash, high = part.partition("-")
        if dash and low.isdigit() and high.isdigit() and int(low) > int(high):
            raise ValueError(f"the range {part} is empty: use LOW-HIGH")
        for number in (low, high):
            if number.isdigit() and int(number) >= _MAX_ID:
                raise ValueError(f"{number} is no user or group: use numbers below {_MAX_ID}")
