from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pman.translation.jsontext import line_of, lines, without_env_values

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('a"\\\n{}[],: é', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"{[,: ', max_size=3), inner),
    max_leaves=15,
)


def marks(node: yaml.Node | None, path: str = "$") -> Iterator[tuple[str, int]]:
    """The same by YAML's parser, for what YAML and JSON write alike."""
    assert node is not None
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from marks(value, f"{path}.{key.value}")
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from marks(value, f"{path}[{index}]")


@given(values, st.sampled_from([None, 0, 1, 3]))
def test_every_value_stands_where_a_parser_of_yaml_finds_it(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)

    assert dict(lines(text)) == dict(marks(yaml.compose(text, Loader=yaml.SafeLoader)))


def test_tabs_and_empty_lines_are_counted_as_an_editor_counts() -> None:
    found = lines('\n{\n\t"a": [\n\n\t\t1,\r\n\t\t{"b": 2}]}')

    assert found == {"$": 2, "$.a": 3, "$.a[0]": 5, "$.a[1]": 6, "$.a[1].b": 6}


@pytest.mark.parametrize(("path", "line"), [("$.a", 2), ("$.b", 1), ("$.c.d", 0), ("$", 1)])
def test_what_is_missing_is_looked_for_in_the_object_that_lacks_it(path: str, line: int) -> None:
    assert line_of(path, lines('{\n"a": 1}')) == line


# --- without the values of env


def test_of_what_is_no_json_every_string_loses_its_value() -> None:
    request = '{"env": ["TOKEN=sesame-open", "A=\\"b", "C"],\n "args": ["D=e"],\n}'

    masked = '{"env": ["TOKEN=********", "A=********", "********"],\n "args": ["D=********"],\n}'
    assert without_env_values(request) == masked


SECRET = "sesame-open"  # noqa: S105  (of nothing)
WITH_SECRETS = [
    '{"env":[null,"TOKEN=sesame-open"]}',
    '{"env":["TOKEN\\u003dsesame-open", "A\\"=sesame-open=b", ["B=sesame-open"], "sesame-open"]}',
    '{"env":{"TOKEN":"sesame-open","A":{"B":["sesame-open", 1]}, "C=sesame-open": null}}',
    '{"\\u0065nv":["TOKEN=sesame-open"]}',
    '{"env":["A=sesame-open"],"env":["B=2"]}',
    '{"env":"TOKEN=sesame-open","jid":"a"}',
    '{"request":{" ENV ":["TOKEN=sesame-open"]}}',
    '{"environment":["TOKEN=sesame-open"]}',
]


@pytest.mark.parametrize("request_", WITH_SECRETS)
def test_no_shape_of_an_env_brings_a_value_of_it_to_sight(request_: str) -> None:
    assert SECRET not in without_env_values(request_)
    json.loads(without_env_values(request_))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.text().map(lambda text: f"{text}{SECRET}"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    env=_VALUES, others=st.dictionaries(st.sampled_from(["jid", "args", "a=b"]), st.integers() | st.text())
)
def test_what_is_not_of_env_stays_to_the_letter_and_at_its_line(env: Any, others: dict[str, Any]) -> None:
    text = json.dumps({**others, "env": env, "after": ["A=b", 1]}, indent=1)

    shown = without_env_values(text)

    assert SECRET not in shown
    assert {**json.loads(shown), "env": None} == {**others, "env": None, "after": ["A=b", 1]}
    assert shown.count("\n") == text.count("\n")
