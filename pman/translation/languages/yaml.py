"""YAML 1.1, as engines read it: a literal is a flow value on one line, which YAML 1.2 reads alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml

from pman.translation.languages.marks import ALONE, UnreadableError, checked

WHY = ALONE

# What a YAML reader may take raw inside double quotes: not DEL, C1, NEL, the line and paragraph
# separators, a byte order mark or noncharacters (YAML 1.1 c-printable, and what
# PyYAML and libyaml refuse). The rest is escaped as \uXXXX, which JSON and YAML both read;
# characters beyond U+FFFF stay raw, since YAML does not read JSON's surrogate pairs.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

# A YAML parser gives up on a key that has not ended after 1,024 characters unless '?' announces it.
_LONG_KEY = 1000


def literal(value: object) -> str:
    """JSON, but for very long keys. Raises TypeError, ValueError for what JSON has no word for."""
    return flow(value, "? ")


def flow(value: object, long_key: str) -> str:
    """A value in the words of JSON. `long_key` announces a key that is very long."""
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_pair(key, item, long_key) for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item, long_key) for item in value) + "]"
    if isinstance(value, float):
        # YAML 1.1 takes 1e+16 for a string and 1.0e+16 for a number; JSON takes both.
        mantissa, e, exponent = json.dumps(value, allow_nan=False).partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else f"{mantissa}{e}{exponent}"
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise TypeError(f"{type(value).__name__} has no literal in JSON or YAML")


def _pair(key: object, item: object, long_key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a string, not {key!r}")
    quoted = _string(key)
    return f"{long_key if len(quoted) > _LONG_KEY else ''}{quoted}: {flow(item, long_key)}"


def _string(text: str) -> str:
    quoted = json.dumps(checked(text), ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


_WHOLE = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*')""")
_YAML_COMMENT = re.compile(r"(?:^|\s)#")
_YAML_BEFORE = re.compile(r"(?:^|[\[{,]|(?:^|\s)[?-]\s|:\s)\s*$")
_YAML_AFTER = re.compile(r"[ \t]*(?:$|\n|[,\]}]|:(?:\s|$)|[ \t]#)")


def takes(texts: Sequence[str], literals: Sequence[str]) -> Iterator[bool]:
    """Says whether a value may stand between each two texts; a quoted text over several lines is not seen."""
    line = ""
    for before, after in zip(texts, [*texts[1:-1], texts[-1]], strict=False):
        line = (line + before).rpartition("\n")[2]
        rest = _WHOLE.sub("x", line)
        comment = _YAML_COMMENT.search(rest)
        alone = not set("\"'") & set(rest) and _YAML_BEFORE.search(rest) and _YAML_AFTER.match(after)
        yield bool(alone) if not comment else not set("\"'") & set(rest[: comment.start()])
        line += "x"


def documents(text: str) -> list[tuple[str, object, int]]:
    """The text, the content and the begin of each document. Raises UnreadableError."""
    try:
        contents = list(yaml.load_all(text, Loader=_Loader))
        parts = list(_split(text)) if len(contents) > 1 else [(text, 0)] * len(contents)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1} of the document: " if mark else ""
        problem = getattr(error, "problem", None) or "not readable"
        index = mark.index if mark else getattr(error, "position", 0)
        raise UnreadableError(f"what it renders is no YAML: {line}{problem}", index) from error
    return [
        (part, content, begin)
        for (part, begin), content in zip(parts, contents, strict=True)
        if content is not None
    ]


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice: YAML would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key in repeated(node):
            raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def repeated(node: yaml.MappingNode) -> Iterator[yaml.ScalarNode]:
    """The keys of a mapping that have stood in it before."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                yield key
            seen.add(key.value)


def _split(text: str) -> Iterator[tuple[str, int]]:
    """The text of each document, with the comments before it, and where it begins."""
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    marks = [event.end_mark for event in events if isinstance(event, yaml.DocumentEndEvent)]
    ends = [mark.index for mark in marks if mark]
    for begin, end in pairwise([0, *ends[:-1], len(text)]):
        part = text[begin:end].lstrip("\n").removeprefix("---\n")
        yield part, end - len(part)
