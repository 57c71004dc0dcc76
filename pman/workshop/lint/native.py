"""Check a document against the schema of its engine's API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from referencing import Registry, Resource

from pman import schema
from pman.errors import ConfigError
from pman.job import Document
from pman.settings import engine_schema, properties
from pman.suggest import did_you_mean, nearest

KUBERNETES = "1.29"
"""The version of Kubernetes whose API is taken where none is named."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A value that the API would not take, or would drop without a word."""

    path: tuple[str | int, ...]
    rule: str
    message: str
    hint: str = ""

    @property
    def where(self) -> str:
        return schema.json_path(*self.path).removeprefix("$").removeprefix(".") or "the document"


class Unknown(Exception):
    """No schema is there for a document; the message says why."""

    rule, hint = "not-checked", ""


class NotInstalled(Unknown):
    """The schema is in the extra `lint`, which is not installed."""

    rule, hint = "schema-missing", "pip install kubernetes-validate"


def mistakes(engine: str, document: Document, kubernetes: str) -> list[Mistake]:
    """Lists the mistakes of a document by their paths; `kubernetes` is a version, e.g. 1.29.

    Raises Unknown; ConfigError for a version of Kubernetes that has no schema.
    """
    declared = engine_schema(engine, "documents")
    if schema.resolved(declared).get("x-schemas") == "kubernetes-validate":
        return _of_kubernetes(document.content, kubernetes)
    narrowed = properties(declared).get(document.name)
    if not narrowed:
        raise Unknown(f"no schema of {document.name} is known for {engine}")
    return _checked(schema.validator(narrowed), document.content)


def _checked(checker: Validator, content: object) -> list[Mistake]:
    return [mistake for error in schema.errors(checker, content) for mistake in _of_error(error)]


def _of_error(error: ValidationError) -> Iterator[Mistake]:
    if error.validator in ("oneOf", "anyOf") and error.context and (inner := best_match(error.context)):
        error = inner
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and error.validator_value is False:
        names = list(error.schema.get("properties", {})) if isinstance(error.schema, Mapping) else []
        otherwise = f"known here: {', '.join(names)}" if names else ""
        for name in schema.unknown(error):
            hint = did_you_mean(name, names, otherwise)
            yield Mistake((*path, name), "unknown-field", f"{name} is no field here", hint)
    elif error.validator == "required":
        name = schema.missing(error)
        yield Mistake(path, "wrong-value", f"{name} is missing", _sentence(error))
    else:
        yield Mistake(path, "wrong-value", _shown(error), _sentence(error))


def _shown(error: ValidationError) -> str:
    value = schema.as_text(error.instance, ascii_only=False)
    shown = value if len(value) < 60 else f"{value[:57]}..."
    if error.validator == "type":
        kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        return f"{shown} is not of type {' or '.join(map(str, kinds))}"
    if error.validator == "enum":
        return f"{shown} is not one of {', '.join(map(str, error.validator_value))}"  # type: ignore[arg-type]  # a list
    return f"{shown} does not satisfy {error.validator} {json.dumps(error.validator_value)[:80]}"


def _sentence(error: ValidationError) -> str:
    description = error.schema.get("description", "") if isinstance(error.schema, Mapping) else ""
    return re.split(r"\.\s", description, maxsplit=1)[0][:200]


def _of_kubernetes(content: object, version: str) -> list[Mistake]:
    if not isinstance(content, Mapping):
        return [Mistake((), "wrong-value", "it is no object of Kubernetes")]
    for name in ("apiVersion", "kind"):
        if not isinstance(content.get(name), str):
            return [Mistake((name,), "wrong-value", f"{name} is missing, or no text")]
    kind, api = content["kind"], content["apiVersion"]
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    directory = _kubernetes(version)
    file = directory / f"{kind.lower()}-{group}.json"
    if not file.is_file():
        return [_misspelt_object(directory, kind, api, group)]
    return _checked(_loaded(file), content)


def _misspelt_object(directory: Path, kind: str, api: str, group: str) -> Mistake:
    """Tells a misspelt kind or group. Raises Unknown for a resource of the site's own: it has no schema."""
    groups: dict[str, list[str]] = {}
    for path in directory.glob("*-*.json"):
        name, _, own = path.stem.partition("-")
        groups.setdefault(own, []).append(name)
    if group in groups:
        elsewhere = sorted(own for own, names in groups.items() if kind.lower() in names)
        otherwise = f"it is in {', '.join(elsewhere)}" if elsewhere else ""
        hint = did_you_mean(kind.lower(), groups[group], otherwise)
        return Mistake(("kind",), "wrong-value", f"{api} has no {kind}", hint)
    if near := nearest(group, groups, likeness=0.8):
        return Mistake(("apiVersion",), "wrong-value", f"there is no {api}", f"did you mean {near}?")
    raise Unknown(f"no schema of {kind} of {api} is known")


@cache
def _loaded(file: Path) -> Validator:
    """Compiles a schema with the definitions beside it."""
    own, beside = (
        Resource.from_contents(json.loads(path.read_text("utf-8")))
        for path in (file, file.with_name("_definitions.json"))
    )
    registry: Registry[Any] = own @ (beside @ Registry())
    return jsonschema.Draft202012Validator(own.contents, registry=registry)


@cache
def _kubernetes(version: str) -> Path:
    """Finds the directory with the closed schemas of a version."""
    try:
        from kubernetes_validate import utils  # type: ignore[import-untyped]  # noqa: PLC0415  (100 MB, so an extra)
    except ImportError:
        raise NotInstalled("the schemas of Kubernetes are not installed") from None
    versions = {utils.major_minor(full): full for full in utils.all_versions()}
    wanted = re.fullmatch(r"v?(\d+\.\d+)(?:\.\d+)?", version)
    if not wanted or wanted[1] not in versions:
        raise ConfigError(f"--kubernetes-version={version!r}: use {', '.join(versions)}")
    root = Path(utils.__file__).parent / "kubernetes-json-schema"
    return root / f"v{versions[wanted[1]]}-local-strict"
