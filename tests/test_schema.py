from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pman import schema
from pman.resources import SCHEMA
from pman.schema import MAX_FAULTS, faults, validator
from pman.translation.request import PROPERTIES

FILES = sorted(SCHEMA.rglob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SCHEMA)))
def test_every_shipped_schema_is_one_of_2020_12_with_a_name_and_a_title(file: Path) -> None:
    data = json.loads(file.read_text("utf-8"))

    Draft202012Validator.check_schema(data)
    assert data["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert data["$id"].startswith("urn:pman:")
    assert data["title"]


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_every_field_of_a_request_says_what_it_is_and_which_variables_carry_it(name: str) -> None:
    declared = PROPERTIES[name]

    assert declared.get("description") or declared["$ref"] == "#/$defs/directory"
    assert all(variable.startswith("job.") for variable in declared["x-reaches"])


def texts_of(wrong: dict[str, Any], instance: object, secrets: frozenset[str] = frozenset()) -> list[str]:
    return [f"{fault.path}: {fault.message}" for fault in faults(validator(wrong), instance, secrets)]


def test_a_fault_names_path_value_and_what_is_allowed() -> None:
    rule = {"properties": {"a": {"items": {"description": "a digit", "maximum": 9}}}}

    assert texts_of(rule, {"a": [1, 10]}) == ["$.a[1]: 10: a digit"]


def test_without_a_description_the_rule_itself_is_told() -> None:
    assert texts_of({"maximum": 9}, 10) == ["$: 10: must satisfy maximum: 9"]
    assert texts_of({"properties": {"a": False}}, {"a": True}) == ["$.a: true: not allowed at all"]


def test_a_near_miss_of_a_choice_is_suggested() -> None:
    assert texts_of({"enum": ["docker", "podman"]}, "dokcer") == [
        '$: "dokcer": use docker, podman (did you mean docker?)'
    ]


def test_a_key_that_is_not_known_is_named() -> None:
    rule = {"properties": {"when": {}}, "patternProperties": {"^x-": {}}, "additionalProperties": False}

    assert texts_of(rule, {"wen": 1, "x-a": 2, "zzzz": 3}) == [
        "$: wen (did you mean when?), zzzz is not known; use when"
    ]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^a$", "a", True),
        ("^a$", "a\n", False),
        ("^a$|^b$", "a\n", False),
        ("^(a$|b)", "a\n", False),
        (r"^a\$", "a$b", True),
        (r"^a\$$", "a$", True),
        (r"^a\$$", "a$\n", False),
        (r"^a\\$", "a\\\n", False),
        ("^[$]$", "$", True),
        (r"^[\]$]+$", "]$", True),
        ("a", "xax", True),
    ],
)
def test_the_end_in_a_pattern_is_the_very_end_as_json_schema_has_it(
    pattern: str, text: str, *, matches: bool
) -> None:
    assert validator({"pattern": pattern}).is_valid(text) is matches


@given(st.lists(st.integers(-5, 5)), st.integers(0, 3), st.integers(0, 6))
def test_items_are_what_the_specification_has_them(values: list[int], prefixes: int, most: int) -> None:
    rule = {"prefixItems": [{"minimum": -3}] * prefixes, "items": {"minimum": 0}, "maxItems": most}

    assert validator(rule).is_valid(values) is Draft202012Validator(rule).is_valid(values)


def test_of_thousands_of_wrong_items_the_first_are_told() -> None:
    found = texts_of({"items": {"type": "string"}}, list(range(100_000)))

    assert len(found) == MAX_FAULTS
    assert found[0].startswith("$[0]")


def test_a_length_in_bytes_counts_bytes() -> None:
    rule = {"maxBytes": 3}

    assert validator(rule).is_valid("aé")
    assert not validator(rule).is_valid("aaé")
    assert validator(rule).is_valid(["not a text"])


@given(st.text(min_size=1), st.text(), st.text())
def test_a_value_that_holds_a_secret_is_never_shown_whatever_is_around_it(
    secret: str, before: str, after: str
) -> None:
    value = {"b": [before + secret + after]}

    (told,) = texts_of(
        {"properties": {"a": {"description": "D", "type": "null"}}}, {"a": value}, frozenset([secret])
    )

    assert told == "$.a: D"


def test_an_engine_without_a_schema_narrows_nothing() -> None:
    from pman.settings import engine_schema

    assert engine_schema("nowhere", "request") == {}
    assert schema.load("request.json")["$id"] == "urn:pman:request"
