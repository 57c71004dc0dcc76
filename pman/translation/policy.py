"""Checks a job against the site's own schema of jobs, PMAN_POLICY, in the site's words where it has some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Resource
from referencing.jsonschema import DRAFT202012

from pman import schema
from pman.errors import BadRequest, Fault
from pman.job import Document, Job
from pman.settings import engine_schema
from pman.translation import policyfile
from pman.translation.policyfile import compiled
from pman.translation.request import PROPERTIES

_HINT = "the site's policy (PMAN_POLICY) does not allow this job"


class _NoLimit(int):
    """A number that stands for no limit, as a request or an engine's document has it: above every maximum."""


def _maximum(
    keyword: str, checker: Validator, limit: object, value: object, around: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if isinstance(value, _NoLimit):
        yield ValidationError("it stands for no limit")
    else:
        yield from Draft202012Validator.VALIDATORS[keyword](checker, limit, value, around)


def _ref(checker: Validator, reference: str, value: object, around: object) -> Iterator[ValidationError]:
    """As jsonschema's own, which leaves it out of an error's path through the schema."""
    for error in Draft202012Validator.VALIDATORS["$ref"](checker, reference, value, around):
        error.relative_schema_path.appendleft("$ref")
        yield error


def _pattern(_: Validator, pattern: str, text: object, __: object) -> Iterator[ValidationError]:
    if isinstance(text, str) and not compiled(pattern).search(text):
        yield ValidationError(f"does not match {pattern}")


def _pattern_properties(
    checker: Any, patterns: Mapping[str, Any], value: Any, _: object
) -> Iterator[ValidationError]:
    for pattern, part in patterns.items() if isinstance(value, Mapping) else ():
        for name in filter(compiled(pattern).search, value):
            yield from schema.below(checker, value[name], part, name, pattern)


def _additional_properties(
    checker: Any, part: object, value: Any, around: Mapping[str, Any]
) -> Iterator[ValidationError]:
    for name in value.keys() - around.get("properties", {}).keys() if isinstance(value, Mapping) else ():
        if not any(compiled(pattern).search(name) for pattern in around.get("patternProperties", ())):
            yield from schema.below(checker, value[name], part, name)


_Checker: type[Validator] = extend(  # type: ignore[no-untyped-call]  # untyped in the stubs
    schema.PmanValidator,
    {
        "$ref": _ref,
        "maximum": partial(_maximum, "maximum"),
        "exclusiveMaximum": partial(_maximum, "exclusiveMaximum"),
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)


class Policy:
    """Compiled once for an engine. Raises ConfigError that names PMAN_POLICY."""

    def __init__(self, path: Path, engine: str) -> None:
        self._engine = engine
        self._schema = policyfile.read(path, engine)
        self._root = schema.registry().resolver_with_root(Resource.from_contents(self._schema, DRAFT202012))
        self._checker = _Checker(self._schema, registry=schema.registry())
        documents = engine_schema(engine, "documents")
        self._unlimited = [name.split(".") for name in schema.resolved(documents).get("x-no-limit", ())]

    def check(self, job: Job, variables: Mapping[str, Any], documents: Sequence[Document]) -> None:
        """Raises BadRequest for a job that the site does not allow.

        `variables`: the job as the templates see it, whose limits are those that hold.
        """
        request = {name: variables.get(name, getattr(job, name)) for name in PROPERTIES}
        unlimited = {name: _NoLimit() for name in ("cpu_limit", "memory_limit") if not request[name]}
        contents = [document.content or document.text for document in documents]
        subject = {
            "engine": self._engine,
            "request": {**request, "args_path_flags": list(job.args_path_flags), **unlimited},
            "documents": [self._marked(content) for content in contents],
        }
        secrets = frozenset(filter(None, (item.partition("=")[2] for item in variables["env"])))
        reasons = dict(self._reason(error, secrets) for error in schema.errors(self._checker, subject))
        if reasons:
            raise BadRequest("; ".join(dict.fromkeys(reasons.values())), _HINT, list(reasons))

    def _reason(self, error: ValidationError, secrets: frozenset[str]) -> tuple[Fault, str]:
        """An error, and its part of the message."""
        path = schema.path_of(error)
        if sentence := self._sentence(error):
            return Fault(path, sentence), sentence
        allowed = (
            f"{error.validator}: {error.validator_value}" if isinstance(error.instance, _NoLimit) else ""
        )
        wanted = f"no limit is not allowed; {allowed}" if allowed else schema.message(error, secrets)
        reason = f"not allowed by the site's policy: {wanted}"
        return Fault(path, reason), f"{path.removeprefix('$.')}: {reason}"

    def _sentence(self, error: ValidationError) -> str:
        """The errorMessage of the innermost schema around the keyword that failed; '' for none."""
        part: Any = self._schema
        resolver, sentence = self._root, ""
        for step in error.absolute_schema_path:
            if isinstance(part, Mapping):
                sentence = part.get("errorMessage", sentence)
            if step == "$ref":
                target = resolver.lookup(part[step])
                part, resolver = target.contents, target.resolver
            else:
                part = part[step]
        return str(sentence)

    def _marked(self, content: Any) -> Any:
        """A document in which numbers say that they stand for no limit."""
        for names in self._unlimited:
            content = _with_mark(content, names)
        return content


def _with_mark(content: Any, names: Sequence[str]) -> Any:
    if not names:
        return _NoLimit(content) if type(content) is int and content <= 0 else content
    if not isinstance(content, Mapping) or names[0] not in content:
        return content
    return {**content, names[0]: _with_mark(content[names[0]], names[1:])}
