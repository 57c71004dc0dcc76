"""Writes schema/native/ from what the engines publish: closed, and with no more than a check needs.

    python -m tests.record_schemas docker swagger.yaml     # moby's api/swagger.yaml of API 1.41 (20.10)
    python -m tests.record_schemas slurm openapi.json      # GET /openapi/v3 of slurmrestd, 0.0.38

The published ones are open: an engine drops a field that it does not know, or refuses it only with the job.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pman.resources import SCHEMA

SUBPATH = {
    "description": "a string; Source path inside the volume, from API 1.45 on; before, all of it is mounted",
    "type": "string",
}
"""A field that is newer than the published ones, and that pman sends to engines that have it only."""

_KEPT = ("enum", "minimum", "maximum", "required")
_KINDS = {
    "integer": "a whole number",
    "string": "a string",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "number": "a number",
}


class Published:
    """A document of OpenAPI 2 or 3, of which some definitions are taken."""

    def __init__(self, definitions: Mapping[str, Any], prefix: str = "", *, null: bool = False) -> None:
        """`null`: whether it stands for no list and no object, as it does where Go reads it."""
        self._definitions = definitions
        self._prefix = prefix
        self._null = null

    def taken(self, roots: Mapping[str, Any]) -> dict[str, Any]:
        """`roots` and what they refer to, as the $defs of a schema."""
        taken = {name: self._converted(schema) for name, schema in roots.items()}
        while missing := set(_references(taken)) - taken.keys():
            for name in sorted(missing):
                taken[name] = self._converted(self._definitions[self._prefix + name])
        return taken

    def _converted(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{self._name(schema['$ref'])}"}
        merged = self._merged(schema)
        kind = merged.get("type") or ("object" if "properties" in merged else "")
        found: dict[str, Any] = {}
        if told := "; ".join(filter(None, [_KINDS.get(kind, ""), _sentence(merged.get("description", ""))])):
            found["description"] = told
        if kind:
            nothing = self._null and kind in ("array", "object")
            found["type"] = [kind, "null"] if nothing or merged.get("x-nullable") else kind
        found |= {word: merged[word] for word in _KEPT if word in merged}
        if "items" in merged:
            found["items"] = self._converted(merged["items"])
        if kind == "object":
            found |= self._fields(merged)
        return found

    def _fields(self, merged: Mapping[str, Any]) -> dict[str, Any]:
        properties = {name: self._converted(schema) for name, schema in merged.get("properties", {}).items()}
        others = merged.get("additionalProperties", not properties)
        found = {"properties": properties} if properties else {}
        return {
            **found,
            "additionalProperties": self._converted(others) if isinstance(others, dict) else others,
        }

    def _merged(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """With all that it is made of."""
        merged: dict[str, Any] = {word: value for word, value in schema.items() if word != "allOf"}
        for part in schema.get("allOf", ()):
            whole = self._merged(
                self._definitions[self._prefix + self._name(part["$ref"])] if "$ref" in part else part
            )
            merged["properties"] = {**merged.get("properties", {}), **whole.get("properties", {})}
            merged.setdefault("type", whole.get("type", "object"))
        return merged

    def _name(self, reference: str) -> str:
        return reference.rpartition("/")[2].removeprefix(self._prefix)


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _sentence(text: str) -> str:
    """The first one, as words of a message."""
    first = re.split(r"(?<=[a-z)`])\.(?:\s|$)|\n\n|:\n", text.strip(), maxsplit=1)[0]
    first = re.sub(r"\s+", " ", first.replace("<br />", " ").replace("**", "")).strip(" .:")
    return first if len(first) < 160 else ""


def _docker(published: Mapping[str, Any]) -> dict[str, Any]:
    assert published["info"]["version"] == "1.41"
    bodies = {
        "container": published["paths"]["/containers/create"]["post"]["parameters"],
        "service": published["paths"]["/services/create"]["post"]["parameters"],
    }
    roots = {
        name: next(part["schema"] for part in parts if part["in"] == "body") for name, parts in bodies.items()
    }
    taken = Published(published["definitions"], null=True).taken(roots)
    container = taken["TaskSpec"]["properties"]["ContainerSpec"]["properties"]
    container["Healthcheck"] = container["HealthCheck"]  # what the engine itself writes; it reads both
    options = taken["Mount"]["properties"]["VolumeOptions"]["properties"]
    options["Subpath"] = SUBPATH
    return {
        "title": "Bodies of POST /containers/create and /services/create, Docker Engine API 1.41",
        "$comment": "Taken by tests/record_schemas.py from api/swagger.yaml of moby 20.10.24 (Apache 2.0).",
        "$defs": taken,
    }


def _slurm(published: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "v0.0.38_"
    definitions = published["components"]["schemas"]
    return {
        "title": "The `job` of POST /slurm/v0.0.38/job/submit, job_desc_msg of slurmrestd",
        "$comment": "Taken by tests/record_schemas.py from GET /openapi/v3 of slurmrestd 22.05.",
        "$defs": Published(definitions, prefix).taken({"job": definitions[f"{prefix}job_properties"]}),
    }


if __name__ == "__main__":
    engine, file = sys.argv[1:]
    found = {"docker": _docker, "slurm": _slurm}[engine](yaml.safe_load(Path(file).read_text("utf-8")))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:pman:native:{engine}"}
    target = SCHEMA / "native" / f"{engine}.json"
    target.write_text(json.dumps({**head, **found}, indent=1, ensure_ascii=False) + "\n", "utf-8")
