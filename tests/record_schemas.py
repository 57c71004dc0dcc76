"""Writes schema/native/ from what the engines publish: closed, and with no more than a check needs.

    python -m tests.record_schemas docker swagger.yaml     # moby's api/swagger.yaml of API 1.41 (20.10)
    python -m tests.record_schemas slurm openapi.json      # GET /openapi/v3 of slurmrestd, 0.0.38
    python -m tests.record_schemas podman DIRECTORY        # the sources of Podman 5.8.2, with vendor/

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


GO_SOURCES = (
    "vendor/go.podman.io/storage/pkg/idtools/*.go",
    "vendor/go.podman.io/storage/types/*.go",
    "vendor/go.podman.io/image/v5/manifest/docker_schema2.go",
    "vendor/go.podman.io/common/libnetwork/types/*.go",
    "vendor/github.com/opencontainers/runtime-spec/specs-go/config.go",
    "libpod/define/healthchecks.go",
    "pkg/specgen/*.go",
)
"""Where the structs of a SpecGenerator are; of two of one name, the later one counts."""

_GO_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_GO_FIELD = re.compile(r'^\t([\w, ]*?)\s*([*\[\]\w.]+)(?:\s+`json:"([^",]*)[^`]*`)?(?:\s*//.*)?$')
_GO_TYPES: Mapping[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "float64": {"type": "number"},
    "IP": {"type": "string"},
    "HardwareAddr": {"type": "string"},
    "NamespaceMode": {"type": "string"},
    "LinuxNamespaceType": {"type": "string"},
    "LinuxPersonalityDomain": {"type": "string"},
    "LinuxPersonalityFlag": {"type": "string"},
    "FileMode": {"type": "integer"},
    "Signal": {"type": "integer"},
    "Duration": {"type": "integer"},
    "HealthCheckOnFailureAction": {"type": "integer"},
}


class GoStructs:
    """Types of Go as they are read from JSON: null stands for no list, no object and nothing at a pointer."""

    def __init__(self, sources: Iterator[str]) -> None:
        self._structs = {found[1]: found[2] for text in sources for found in _GO_STRUCT.finditer(text)}

    def taken(self, root: str) -> dict[str, Any]:
        """A struct and those that it refers to, as the $defs of a schema."""
        taken = {root: self._struct(root)}
        while missing := set(_references(taken)) - taken.keys():
            taken |= {name: self._struct(name) for name in sorted(missing)}
        return taken

    def _struct(self, name: str) -> dict[str, Any]:
        return {
            "description": "an object",
            "type": ["object", "null"],
            "properties": dict(self._fields(name)),
            "additionalProperties": False,
        }

    def _fields(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        comment: list[str] = []
        for line in self._structs[name].splitlines():
            if line.strip().startswith("//"):
                comment.append(line.strip(" \t/"))
                continue
            told, comment = _sentence("\n".join(comment)), []
            found = _GO_FIELD.match(line)
            if not found or found[3] == "-":
                continue
            embedded = found[2].rpartition(".")[2] if not found[1] else ""
            if embedded in self._structs:
                yield from self._fields(embedded)
            for field in filter(None, found[1].split(", ")):
                if field[0].isupper():
                    schema = self._type(found[2])
                    words = "; ".join(filter(None, [schema.get("description", ""), told]))
                    yield found[3] or field, {**({"description": words} if words else {}), **schema}

    def _type(self, go: str) -> dict[str, Any]:
        if go.startswith("*"):
            inner = self._type(go[1:])
            nothing = isinstance(inner.get("type"), str)
            return {**inner, "type": [inner["type"], "null"]} if nothing else inner
        if go.startswith("[]"):
            return {"type": ["array", "null"], "items": self._type(go[2:])}
        if found := re.fullmatch(r"map\[\w+\](.+)", go):
            return {"type": ["object", "null"], "additionalProperties": self._type(found[1])}
        name = go.rpartition(".")[2]
        if re.fullmatch(r"u?int\d*", name):
            return {"type": "integer"}
        return _GO_TYPES.get(name) or {"$ref": f"#/$defs/{name}"}


def _podman(sources: Path) -> dict[str, Any]:
    files = (file for pattern in GO_SOURCES for file in sorted(sources.glob(pattern)))
    return {
        "title": "Body of POST /libpod/containers/create, Podman's own API",
        "$comment": "Taken by tests/record_schemas.py from the sources of Podman 5.8.2 (Apache 2.0).",
        "$defs": GoStructs(file.read_text("utf-8") for file in files).taken("SpecGenerator"),
    }


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


if __name__ == "__main__":
    engine, source = sys.argv[1], Path(sys.argv[2])
    found = (
        _podman(source) if engine == "podman" else {"docker": _docker, "slurm": _slurm}[engine](_read(source))
    )
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:pman:native:{engine}"}
    target = SCHEMA / "native" / f"{engine}.json"
    target.write_text(json.dumps({**head, **found}, indent=1, ensure_ascii=False) + "\n", "utf-8")
