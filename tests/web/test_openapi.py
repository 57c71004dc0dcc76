"""The description says what the app does, and its schemas are those of schema/."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from pman import schema
from pman.engine.engine import Engine
from pman.translation.request import PROPERTIES
from pman.web.api.openapi import document, page
from pman.web.app import create_app
from tests.a_job import a_request, settings_of


class Configured:
    """As far as the routes need an engine before a request."""

    settings = settings_of()


APP = create_app(cast(Engine, Configured()))

DESCRIBED = {
    (path, method)
    for path, item in document()["paths"].items()
    for method in item.keys() & {"get", "post", "put", "patch", "delete"}
}


def test_the_description_is_openapi() -> None:
    assert document()["openapi"].startswith("3.1.")
    assert not list(OpenAPIV31SpecValidator(document()).iter_errors())


def test_every_route_of_the_api_is_described_and_nothing_else_is() -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in APP.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/api/", "/healthz", "/readyz", "/openapi.json", "/docs"))
    }

    assert routes == DESCRIBED


def test_every_operation_is_described_by_the_name_of_its_function() -> None:
    names = {
        operation["operationId"]
        for item in document()["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    }

    assert names <= {rule.endpoint for rule in APP.url_map.iter_rules()}


def test_a_request_is_described_by_its_schema_and_not_once_more() -> None:
    schemas = document()["components"]["schemas"]

    assert list(schemas["Request"]["properties"]) == list(PROPERTIES)
    for name, declared in PROPERTIES.items():
        assert schemas[f"Request_{name}"].get("description") == declared.get("description")
    assert not schema.faults(schema.validator(_whole("Request")), a_request())
    assert schema.faults(schema.validator(_whole("Request")), a_request(env=["x"]))[0].path == "$.env[0]"


def _whole(name: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}


def test_no_reference_leads_elsewhere() -> None:
    text = json.dumps(document())

    assert "urn:pman" not in text
    assert set(re.findall(r'"\$ref": "(#/components/\w+/)', text)) <= {
        "#/components/schemas/",
        "#/components/responses/",
        "#/components/parameters/",
    }


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.elsewhere: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        for name in ("href", "src"):
            if link := given.get(name):
                (self.links if link.startswith("#") else self.elsewhere).append(link)


@pytest.fixture(scope="module")
def seen() -> _Seen:
    found = _Seen()
    found.feed(page())
    return found


def test_the_page_shows_every_operation_and_every_link_leads_somewhere(seen: _Seen) -> None:
    assert len(seen.ids) == len(set(seen.ids))
    assert {link.removeprefix("#") for link in seen.links} <= set(seen.ids)
    assert len(DESCRIBED) == page().count('class="operation"')


def test_the_page_needs_no_script_and_nothing_from_elsewhere(seen: _Seen) -> None:
    assert "script" not in seen.tags
    assert seen.elsewhere == ["openapi.json"]


async def test_both_are_served() -> None:
    client = APP.test_client()

    assert await (await client.get("/openapi.json")).get_json() == document()
    response = await client.get("/docs")
    assert response.mimetype == "text/html"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
