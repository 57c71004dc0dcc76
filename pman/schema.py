"""JSON Schema: every error of a value at once, with its path and what is allowed instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource

from pman.errors import ConfigError, Fault
from pman.resources import SCHEMA, packages
from pman.suggest import did_you_mean, one_of


def _max_bytes(_: Validator, limit: int, text: object, __: object) -> Iterator[ValidationError]:
    if isinstance(text, str) and len(text.encode("utf-8", "surrogatepass")) > limit:
        yield ValidationError(f"longer than {limit} bytes")


def _pattern(_: Validator, pattern: str, text: object, __: object) -> Iterator[ValidationError]:
    if isinstance(text, str) and not _compiled(pattern).search(text):
        yield ValidationError(f"does not match {pattern}")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """JSON Schema follows ECMA-262, where `$` is the very end; Python's also matches before a newline."""
    tokens = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)
    return re.compile(tokens.sub(lambda token: r"\Z" if token[0] == "$" else token[0], pattern))


def _properties(
    checker: Validator, properties: Mapping[str, Any], instance: object, _: object
) -> Iterator[ValidationError]:
    if isinstance(instance, Mapping):
        for name in properties.keys() & instance.keys():
            yield from below(checker, instance[name], properties[name], name, name)


def below(checker: Validator, value: Any, schema: Any, *steps: str) -> Iterator[ValidationError]:
    """Follows the specification; jsonschema's own forgets the path of what `false` forbids.

    `steps`: the value's name, and the schema's below the keyword where it has one.
    """
    for error in checker.evolve(schema=schema).iter_errors(value):
        error.relative_path.appendleft(steps[0])
        error.relative_schema_path.extendleft(steps[1:])
        yield error


MAX_FAULTS = 20
"""An array's items report no more errors than about this many: thousands of the same help nobody."""


def _items(
    validator: Validator, items: object, values: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """Follows the specification, with one validator for all items and an end to their errors."""
    if not isinstance(values, list) or len(values) > schema.get("maxItems", len(values)):
        return
    each, reported = validator.evolve(schema=items), 0
    for index in range(len(schema.get("prefixItems", ())), len(values)):
        for error in each.iter_errors(values[index]):
            error.relative_path.appendleft(index)
            yield error
            reported += 1
        if reported >= MAX_FAULTS:
            return


PmanValidator: type[Validator] = extend(  # type: ignore[no-untyped-call]  # untyped in the stubs
    Draft202012Validator,
    {"maxBytes": _max_bytes, "pattern": _pattern, "items": _items, "properties": _properties},
)


@cache
def load(name: str) -> Mapping[str, Any]:
    """Reads a shipped schema, by its path below schema/."""
    data: Mapping[str, Any] = json.loads((SCHEMA / name).read_text("utf-8"))
    return data


@cache
def registry() -> Registry[Any]:
    schemas = [json.loads(file.read_text("utf-8")) for file in sorted(SCHEMA.rglob("*.json"))]
    schemas += [schema for schema in _of_packages().values() if isinstance(schema, Mapping)]
    return Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)


def engines_settings() -> Mapping[str, Mapping[str, Any]]:
    """The settings that engines of other packages declare as theirs, by `x-engines` in schema/engines/."""
    schemas = [schema for schema in _of_packages().values() if isinstance(schema, Mapping)]
    return {name: declared for schema in schemas for name, declared in _settings(schema)}


def check_engine(engine: str) -> None:
    """Raises ConfigError for an engine whose package has a schema that cannot be used."""
    for file, schema in _of_packages().items():
        if file.stem == engine and isinstance(schema, str):
            raise ConfigError(f"the engine {engine} cannot be used: {file}: {schema}")


@cache
def _of_packages() -> Mapping[Path, Mapping[str, Any] | str]:
    """Reads schema/engines/ of other packages: each file's schema, or what is wrong with it."""
    files = (file for folder in packages() for file in sorted((folder / "schema/engines").glob("*.json")))
    schemas: dict[Path, Mapping[str, Any] | str] = {}
    for file in files:
        try:
            schemas[file] = _usable(json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            schemas[file] = str(error)
    return schemas


def _usable(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises an error that says what is missing, or that there is no JSON object where one has to be."""
    if not isinstance(schema["$id"], str):
        raise TypeError("$id is no text")
    for name, declared in _settings(schema):
        for word in ("type", "x-reaches"):
            if word not in declared:
                raise ValueError(f"the setting {name} has no {word}")
    return schema


def _settings(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    properties = schema.get("$defs", {}).get("settings", {}).get("properties", {})
    return ((name, declared) for name, declared in properties.items() if "x-engines" in declared)


def validator(schema: Mapping[str, Any]) -> Validator:
    return PmanValidator(schema, registry=registry())


def faults(checker: Validator, instance: Any, secrets: frozenset[str] = frozenset()) -> list[Fault]:
    """Lists every error of `instance` once, by their paths; no value that holds a secret is repeated."""
    every = (Fault(path_of(error), message(error, secrets)) for error in errors(checker, instance))
    return list(dict.fromkeys(every))


def errors(checker: Validator, instance: Any) -> list[ValidationError]:
    """Lists the errors of `instance` in the order of their paths."""
    return sorted(
        checker.iter_errors(instance),
        key=lambda error: [
            (step, "") if isinstance(step, int) else (-1, str(step)) for step in error.absolute_path
        ],
    )


def json_path(*steps: object) -> str:
    """Writes the path to a value by keys and indices, e.g. `$.args[3]`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def path_of(error: ValidationError) -> str:
    return json_path(*error.absolute_path, *([missing(error)] if error.validator == "required" else []))


def missing(error: ValidationError) -> str:
    names: list[str] = error.validator_value  # type: ignore[assignment]  # what `required` holds
    return next(name for name in names if error.message.startswith(repr(name)))


def message(error: ValidationError, secrets: frozenset[str] = frozenset()) -> str:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    wanted = schema.get("description")
    if error.validator == "required":
        properties = schema.get("properties", {})
        described = resolved(properties.get(missing(error), {})).get("description")
        return f"missing; {described or wanted or 'required'}"
    if error.validator == "enum":
        return _not_one_of(error, wanted, secrets)
    if error.validator in {"maxBytes", "maxLength"}:
        return f"too long: {wanted or error.message}"
    if error.validator == "additionalProperties" and error.validator_value is False:
        return _not_known(error)
    shown = _shown(error.instance, secrets)
    if error.validator is None:  # the schema `false`
        return f"{shown}: not allowed at all" if shown else "not allowed at all"
    rule = (
        wanted
        or f"must satisfy {error.validator}: {json.dumps(error.validator_value, ensure_ascii=False)[:500]}"
    )
    if error.validator in {"minimum", "maximum"} and {"minimum", "maximum"} <= schema.keys():
        rule = f"{rule}; allowed: {schema['minimum']} to {schema['maximum']}"
    return f"{shown}: {rule}" if shown else str(rule)


def _not_known(error: ValidationError) -> str:
    declared = list(cast(Mapping[str, Any], error.schema).get("properties", {}))
    questions = {name: did_you_mean(name, declared) for name in unknown(error)}
    names = [f"{name} ({question})" if question else name for name, question in questions.items()]
    return f"{', '.join(names)} is not known; use {', '.join(declared)}"


def unknown(error: ValidationError) -> list[str]:
    """Lists the names that a closed schema does not have; those of YAML need not be texts."""
    schema = cast(Mapping[str, Any], error.schema)
    declared, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [
        name
        for given in cast(Mapping[str, Any], error.instance)
        if (name := str(given)) not in declared and not any(re.search(pattern, name) for pattern in patterns)
    ]


def _not_one_of(error: ValidationError, wanted: str | None, secrets: frozenset[str]) -> str:
    choices: list[object] = error.validator_value  # type: ignore[assignment]  # what `enum` holds
    allowed = [str(value) for value in choices]
    parts = (_shown(error.instance, secrets), wanted, one_of(str(error.instance), allowed))
    return ": ".join(part for part in parts if part)


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lays what a schema says itself over what it refers to, by a `$ref` that is absolute or a request's."""
    if "$ref" not in schema:
        return schema
    target = registry().resolver("urn:pman:request").lookup(schema["$ref"]).contents
    return {**resolved(target), **{key: value for key, value in schema.items() if key != "$ref"}}


def _shown(value: object, secrets: frozenset[str]) -> str:
    text = as_text(value)
    if len(text) > 200 or (secrets and any(secret in one for one in texts(value) for secret in secrets)):
        return ""
    return text


def as_text(value: object, *, ascii_only: bool = True) -> str:
    """Writes a value as JSON; what only YAML has (a date, such a key, an alias of itself) as Python does."""
    try:
        return json.dumps(value, ensure_ascii=ascii_only, default=str)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def texts(value: object) -> Iterator[str]:
    """Walks through every text in a value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif value is not None:
        yield as_text(value)


def texts_at(key: str, value: object) -> Iterator[str]:
    """Walks through every text that stands at a key, in a value or in any part of it."""
    if isinstance(value, Mapping):
        if isinstance(value.get(key), str):
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from texts_at(key, part)
