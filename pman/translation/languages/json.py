"""JSON: a literal is a flow value of YAML and stands where YAML takes one; no key stands twice."""

from __future__ import annotations

import json

from pman.translation.languages import yaml
from pman.translation.languages.marks import ALONE, UnreadableError

WHY = ALONE
takes = yaml.takes


def literal(value: object) -> str:
    """A JSON value on one line. Raises TypeError, ValueError for what JSON has no word for."""
    return yaml.flow(value, "")


def documents(text: str) -> list[tuple[str, object, int]]:
    """The text, its content and 0. Raises UnreadableError."""
    try:
        return [(text, json.loads(text, object_pairs_hook=_once), 0)]
    except json.JSONDecodeError as error:
        before = text[: error.pos].rstrip()
        index = len(before) - 1 if before.endswith(",") and text[error.pos :][:1] in "}]" else error.pos
        raise UnreadableError(f"what it renders is no JSON: {error}", index) from error
    except KeyError as error:
        (key,) = error.args
        index = text.rindex(json.dumps(key, ensure_ascii=False))
        raise UnreadableError(f"what it renders is no JSON: {key!r} stands twice", index) from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Raises KeyError for a key that stands twice: JSON would drop the first without a word."""
    content: dict[str, object] = {}
    for key, value in pairs:
        if key in content:
            raise KeyError(key)
        content[key] = value
    return content
