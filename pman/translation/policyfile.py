"""Reads the JSON Schema of PMAN_POLICY strictly: a word of it that pman would not heed is an error.

JSON Schema itself ignores what it does not know, so that a rule with a slip in it lets everybody in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import re2  # type: ignore[import-untyped]  # it ships no types
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from referencing import Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from pman import schema
from pman.errors import ConfigError, Fault
from pman.settings import KNOWN_ENGINES, engine_schema, properties
from pman.suggest import did_you_mean, nearest
from pman.translation.request import PROPERTIES

_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Their schemas are about the value that the schema around them is about."""

_EACH = ("items", "prefixItems", "contains")
_OTHERS = ("additionalProperties", "propertyNames", "unevaluatedItems")
_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_REMARKS = (
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
)
_DEAD = {"format", "$dynamicRef", "unevaluatedProperties"}
"""The first asserts nothing in JSON Schema; the last would match names by patterns that backtrack."""

KEYWORDS = sorted(
    {*Draft202012Validator.VALIDATORS, *_MAPS, *_SAME_VALUE, "minContains", "maxContains"} - _DEAD
    | {*_REMARKS, "maxBytes", "errorMessage"}
)
"""What a policy may say: JSON Schema 2020-12, and two keywords of pman's."""

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


def compiled(pattern: str) -> Any:
    """Compiles a pattern of RE2, whose time grows with the text alone. Raises re2.error."""
    return re2.compile(pattern, _OPTIONS)


class _Names(dict[str, "_Names"]):
    """The names that a value may have, each with those of its own value; "*": those of its items.

    `closed`: it has no others. Elsewhere only a near miss is surely a slip: engines know more than pman.
    """

    closed = False


_ANY = _Names()


def read(path: Path, engine: str) -> Any:
    """The schema of a site for the jobs of an engine. Raises ConfigError with all that is wrong in it."""
    try:
        policy = json.loads(path.read_text("utf-8"))
        Draft202012Validator.check_schema(policy, format_checker=FormatChecker(()))  # patterns: see below
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"PMAN_POLICY={str(path)!r}: {error}") from error
    except SchemaError as error:
        raise ConfigError(f"PMAN_POLICY={str(path)!r}: no JSON Schema: {error.message}") from error
    try:
        wrong = list(dict.fromkeys(_Reader(policy).faults(policy, "$", _names(engine))))
    except RecursionError as error:
        raise ConfigError(f"PMAN_POLICY={str(path)!r}: nested too deeply") from error
    if wrong:
        raise ConfigError.of([Fault("PMAN_POLICY", f"PMAN_POLICY={str(path)!r}: {each}") for each in wrong])
    return policy


def _names(engine: str) -> _Names:
    request = _Names({name: _Names() for name in PROPERTIES})
    documents = _Names({"*": _Names()})
    for document in properties(engine_schema(engine, "documents")).values():
        documents["*"].update(_declared(schema.registry().resolver(), document))
    names = _Names({"engine": _Names(), "request": request, "documents": documents})
    names.closed = request.closed = True
    return names


@cache
def _documents_names() -> frozenset[str]:
    """Every name in a document of any engine whose names pman knows."""
    resolver, names = schema.registry().resolver(), set[str]()
    parts = [
        _declared(resolver, document)
        for engine in KNOWN_ENGINES
        for document in properties(engine_schema(engine, "documents")).values()
    ]
    while parts:
        part = parts.pop()
        names.update(part)
        parts += part.values()
    return frozenset(names)


def _declared(resolver: Any, part: Any) -> _Names:
    """The names that a shipped schema declares."""
    while "$ref" in part:
        target = resolver.lookup(part["$ref"])
        part, resolver = target.contents, target.resolver
    names = _Names({name: _declared(resolver, each) for name, each in part.get("properties", {}).items()})
    if isinstance(part.get("items"), Mapping):
        names["*"] = _declared(resolver, part["items"])
    return names


class _Reader:
    def __init__(self, policy: Any) -> None:
        self._root = schema.registry().resolver_with_root(Resource.from_contents(policy, DRAFT202012))
        self._read = set[tuple[str, int]]()

    def faults(self, part: Any, path: str, names: _Names) -> Iterator[str]:
        """Everything in a schema for a value with these names that would not be heeded."""
        if not isinstance(part, Mapping):  # true, false
            return
        for keyword, value in part.items():
            at = f"{path}.{keyword}"
            if keyword not in KEYWORDS:
                question = did_you_mean(keyword, KEYWORDS, "use $comment for remarks")
                yield f"{at}: pman does not know this keyword and would not heed it; {question}"
            elif keyword in _MAPS:
                yield from self._map(keyword, value, at, names)
            elif keyword in _LISTS:
                for index, each in enumerate(value):
                    yield from self.faults(each, f"{at}[{index}]", _inner(keyword, names))
            elif keyword in (*_SAME_VALUE, *_EACH, *_OTHERS):
                yield from self.faults(value, at, _inner(keyword, names))
            else:
                yield from self._plain(keyword, value, at, names)

    def _map(self, keyword: str, parts: Mapping[str, Any], at: str, names: _Names) -> Iterator[str]:
        if keyword == "properties":
            yield from _unknown(parts, at, names)
        for name, each in parts.items():
            if keyword == "patternProperties":
                yield from _bad_pattern(name, at)
            inner = names.get(name, _ANY) if keyword == "properties" else _inner(keyword, names)
            yield from self.faults(each, f"{at}.{name}", inner)

    def _plain(self, keyword: str, value: Any, at: str, names: _Names) -> Iterator[str]:
        if keyword == "pattern":
            yield from _bad_pattern(value, at)
        elif keyword == "required":
            yield from _unknown(value, at, names)
        elif keyword == "dependentRequired":
            yield from _unknown([*value, *(name for each in value.values() for name in each)], at, names)
        elif keyword == "errorMessage" and not isinstance(value, str):
            yield f"{at}: use a text, the sentence that the scientist reads"
        elif keyword == "$ref" and value.startswith("urn:pman:"):
            yield f"{at}: a request is held to pman's own schemas anyway; write what is more"
        elif keyword == "$ref" and (value, id(names)) not in self._read:
            self._read.add((value, id(names)))
            try:
                target = self._root.lookup(value).contents
            except Unresolvable:
                yield f"{at}: {value!r} leads nowhere"
            else:
                yield from self.faults(target, f"{at}({value})", names)


def _inner(keyword: str, names: _Names) -> _Names:
    """The names of the value that the schemas of a keyword are about."""
    if keyword in _SAME_VALUE:
        return names
    return names.get("*", _ANY) if keyword in _EACH else _ANY


def _unknown(given: Iterable[str], at: str, names: _Names) -> Iterator[str]:
    for name in given:
        near = nearest(name, names, 0.6 if names.closed else 0.8)
        if name not in names and (names.closed or (near and name not in _documents_names())):
            question = f"did you mean {near}?" if near else f"use {', '.join(names)}"
            yield f"{at}: {name} is not there to be checked; {question}"


def _bad_pattern(pattern: str, at: str) -> Iterator[str]:
    try:
        compiled(pattern)
    except re2.error as error:
        words = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        yield f"{at}: {pattern!r} is no pattern of RE2, which has no (?!...), (?=...), \\1: {words}"
