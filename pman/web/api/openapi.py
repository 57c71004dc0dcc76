"""The API's description: openapi.yaml with the schemas of schema/ as components, as JSON and as a page."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from quart import Quart, Response

from pman import __version__, schema
from pman.engine.previews import installed

HERE = Path(__file__).parent
COMPONENTS = "#/components/schemas/"
_METHODS = ("get", "post", "delete")
_REFUSALS = {"401": "Unauthorised", "403": "Forbidden", "429": "TooManyWrong"}
"""Answers that every route may give before it is called."""

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page has a style of its own, and nothing else."""


@cache
def document() -> Mapping[str, Any]:
    """OpenAPI 3.1. A schema of a request is a component of its own, with its parts as others."""
    source: dict[str, Any] = yaml.safe_load((HERE / "openapi.yaml").read_text("utf-8"))
    source["info"]["version"] = __version__
    source["components"]["schemas"].update(_components())
    for item in source["paths"].values():
        for operation in (operation for method, operation in item.items() if method in _METHODS):
            # Anybody may ask for health; but a browser, by a name of the site's only.
            refusals = {"403": "Forbidden"} if operation.get("security") == [] else _REFUSALS
            answers = {code: {"$ref": f"#/components/responses/{name}"} for code, name in refusals.items()}
            operation["responses"] = dict(sorted({**operation["responses"], **answers}.items()))
    described: dict[str, Any] = _renamed(source, _REFERENCES)
    return described


def _components() -> dict[str, Any]:
    request, api = (copy.deepcopy(dict(schema.load(name))) for name in ("request.json", "api.json"))
    parts = {f"Request_{name}": part for name, part in request.pop("$defs").items()}
    for name, declared in request["properties"].items():
        parts[f"Request_{name}"] = declared
    request["properties"] = {name: {"$ref": f"{COMPONENTS}Request_{name}"} for name in request["properties"]}
    engine = {"description": "an engine that is installed", "enum": installed()}
    api["$defs"]["RenderRequest"]["properties"]["engine"] = {"$ref": f"{COMPONENTS}Engine"}
    of_requests = _renamed(parts, {"#/$defs/": f"{COMPONENTS}Request_"})
    return {"Engine": engine, "Request": request, **of_requests, **api["$defs"]}


_REFERENCES = {
    "urn:pman:request#/properties/": f"{COMPONENTS}Request_",
    "urn:pman:request": f"{COMPONENTS}Request",
    "urn:pman:api#/$defs/": COMPONENTS,
    "#/$defs/": COMPONENTS,
}
"""How a reference begins, and how the one to a component does in its place; the first that fits is taken."""


def _renamed(value: Any, references: Mapping[str, str]) -> Any:
    """A copy with other references, and without the keywords that only pman reads."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            old = next(filter(value["$ref"].startswith, references), "")
            value = {**value, "$ref": references.get(old, "") + value["$ref"].removeprefix(old)}
        copied = {key: item for key, item in value.items() if key not in ("$id", "$schema")}
        return {key: _renamed(item, references) for key, item in copied.items()}
    return [_renamed(item, references) for item in value] if isinstance(value, list) else value


@cache
def page() -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(resolved=_resolved, kind=_kind, each=_each)
    return environment.get_template("reference.html.j2").render(
        api=document(), operations=list(_operations())
    )


def _operations() -> list[Mapping[str, Any]]:
    """Each with its path, its method, and all parameters and responses as they are."""
    return [
        {
            **operation,
            "path": path,
            "method": method.upper(),
            "parameters": [*map(_resolved, [*item.get("parameters", ()), *operation.get("parameters", ())])],
            "responses": {status: _resolved(response) for status, response in operation["responses"].items()},
        }
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    ]


def _resolved(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows a reference; any other value is returned as it is."""
    if "$ref" not in value:
        return value
    target: Any = document()
    for step in value["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**_resolved(target), "name_of_schema": value["$ref"].rpartition("/")[2]}


def _each(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of the items of a list; none of anything else. In Jinja, `items` is a method."""
    return value.get("items")


def _kind(value: Mapping[str, Any]) -> str:
    """The type of a schema in a word."""
    described = _resolved(value)
    if "enum" in described:
        return "one of " + ", ".join(map(str, described["enum"]))
    if "const" in described:
        return str(described["const"])
    if "anyOf" in described:
        return " or ".join(map(_kind, described["anyOf"]))
    kinds = described.get("type", "any value")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{words} of {_kind(described['items'])}" if "items" in described and "array" in words else words


def add_description(app: Quart) -> None:
    @app.get("/openapi.json")
    async def description() -> Mapping[str, Any]:
        return document()

    @app.get("/docs")
    async def reference() -> Response:
        return Response(page(), mimetype="text/html", headers={"Content-Security-Policy": POLICY})


def table() -> str:
    """The operations, for the docs."""
    lines = [
        f"| `{operation['method']} {operation['path']}` | {operation['summary']} |"
        for operation in _operations()
    ]
    return "\n".join(["### All operations", "", "| request | answer |", "|---|---|", *lines]) + "\n"
