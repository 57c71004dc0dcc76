from __future__ import annotations

import json
import math
import subprocess
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from pman.translation.languages.json import literal as json_literal
from pman.translation.languages.shell import literal as shell_literal
from pman.translation.languages.yaml import literal as yaml_literal

# Texts that have ended a string early somewhere, in some language.
HOSTILE = [
    "",
    " ",
    "'",
    '"',
    "\\",
    "''",
    '\\"',
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\x1b[31m",
    "\x7f",
    "\x80",
    "\x85",
    "\x9f",
    "\xa0",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\ufffe",
    "\uffff",
    "\U0001f9e0",
    "\U0010ffff",
    "# no comment",
    "a: b",
    "- a",
    "? a",
    "&a",
    "*a",
    "!tag",
    "%d",
    "|",
    ">",
    "@",
    "`id`",
    "{}",
    "[]",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "$(id)",
    "${HOME}",
    "$HOME",
    "~{x}",
    "null",
    "true",
    "yes",
    "1e16",
    "0x10",
    "1_000",
    "12:30:45",
    "2024-01-01",
    "---",
    "...",
    "<<",
    "=",
    "&#39;",
    "<b>",
    "-n",
    "~",
    "a b",
    "*",
    "!!",
    ";rm -rf /",
    "EOF\n",
]

texts = st.one_of(st.sampled_from(HOSTILE), st.text(), st.lists(st.sampled_from(HOSTILE)).map("".join))
scalars = st.one_of(
    texts, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
keys = st.one_of(
    texts, st.integers(990, 1100).map("k".__mul__), st.integers(300, 400).map("\x85\u2028".__mul__)
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4))
)


def same(found: object, given: object) -> bool:
    """Equal, types included: 1 is not 1.0 here, nor True."""
    if isinstance(given, dict):
        return (
            isinstance(found, dict)
            and list(found) == list(given)
            and all(map(same, found.values(), given.values()))
        )
    if isinstance(given, list):
        return isinstance(found, list) and len(found) == len(given) and all(map(same, found, given))
    return type(found) is type(given) and found == given


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
@given(value=values)
def test_any_value_comes_back_from_its_yaml_literal_as_it_was(loader: Any, value: object) -> None:
    literal = yaml_literal(value)

    assert same(yaml.load(literal, Loader=loader), value)  # noqa: S506  (a safe one, in a parameter)


@given(values)
def test_any_value_comes_back_from_its_json_literal_as_it_was(value: object) -> None:
    assert same(json.loads(json_literal(value)), value)


@given(values)
def test_a_literal_is_one_line_so_that_it_may_stand_in_a_comment(value: object) -> None:
    for literal in (yaml_literal(value), json_literal(value)):
        assert len(literal.splitlines()) == 1


@given(values)
def test_a_literal_stands_anywhere_in_a_flow_collection(value: object) -> None:
    literal = yaml_literal(value)

    assert same(yaml.load(f"[{literal}, {{a: {literal}}}]", Loader=yaml.CSafeLoader), [value, {"a": value}])


@given(st.dictionaries(keys, scalars))
def test_a_key_of_any_length_is_a_key(value: dict[str, object]) -> None:
    assert same(yaml.load(f"top: {yaml_literal(value)}", Loader=yaml.CSafeLoader), {"top": value})


def words_of(lines: list[str]) -> list[list[str]]:
    """What a real shell makes of each line's words; one shell for all of them."""
    script = "".join(f'set -- {line}\nprintf "%s\\0" "$#" "$@"\n' for line in lines)
    said = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert not said.stderr
    parts = iter(said.stdout.decode().split("\0")[:-1])
    return [[next(parts) for _ in range(int(count))] for count in parts]


shell_texts = texts.filter(lambda text: "\0" not in text)


@given(st.lists(st.lists(shell_texts, max_size=5), min_size=20, max_size=40))
@settings(max_examples=30)
def test_a_real_shell_reads_back_exactly_the_words_that_were_quoted(given: list[list[str]]) -> None:
    assert words_of([shell_literal(words) for words in given]) == given


def test_a_real_shell_reads_back_every_hostile_text_and_a_number() -> None:
    given = [text for text in HOSTILE if "\0" not in text]

    assert words_of([shell_literal(given), shell_literal(-5)]) == [given, ["-5"]]


@pytest.mark.parametrize("literal", [json_literal, yaml_literal, shell_literal])
@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\ud83d\ude00"])
def test_half_a_surrogate_pair_is_refused_since_no_language_can_carry_it(literal: Any, text: str) -> None:
    with pytest.raises(ValueError, match="half a surrogate pair"):
        literal([text])


@pytest.mark.parametrize("literal", [json_literal, yaml_literal])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_none_is_refused(literal: Any, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        literal(value)


@pytest.mark.parametrize("literal", [json_literal, yaml_literal, shell_literal])
@pytest.mark.parametrize("value", [object(), b"bytes", {1: "a"}, {"a": {2}}])
def test_what_has_no_literal_is_refused_with_its_type(literal: Any, value: object) -> None:
    with pytest.raises(TypeError, match=r"has no literal|must be a string"):
        literal(value)


@pytest.mark.parametrize("value", [True, None, 1.5, {"a": "b"}, ["a", None]])
def test_a_shell_has_words_only(value: object) -> None:
    with pytest.raises(TypeError, match="has no literal in a shell"):
        shell_literal(value)


def test_a_word_of_a_shell_cannot_hold_nul() -> None:
    with pytest.raises(TypeError, match="NUL"):
        shell_literal("a\0b")


@pytest.mark.parametrize("number", [1e16, 1e-7, -1e300, 5e-324, 1.5e22, 0.1, -0.0, 1e15])
def test_a_float_is_a_number_in_yaml_too_whatever_its_size(number: float) -> None:
    assert yaml.load(yaml_literal(number), Loader=yaml.CSafeLoader) == number


def test_text_that_is_marked_as_html_is_quoted_as_any_other() -> None:
    marked = Markup('it\'s <b> & "c"')

    assert json.loads(json_literal([marked])) == [str(marked)]
    assert words_of([shell_literal([marked])]) == [[str(marked)]]
