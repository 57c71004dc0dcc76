from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pman.translation.jsonlines import line_of, lines

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
